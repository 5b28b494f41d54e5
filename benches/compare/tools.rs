//! What the contenders need, and whether it is there.

use std::collections::BTreeMap;
use std::process::Command;

use crate::options::Options;

/// Each with the argument that makes it say its version.
const KNOWN: [(&str, &str); 7] = [
    ("node", "--version"),
    ("npm", "--version"),
    ("curl", "--version"),
    ("bsdtar", "--version"),
    ("unzip", "-v"),
    ("python3", "--version"),
    ("strace", "-V"),
];

/// What the parent commit's contender needs: a binary that the option of this name names.
pub const PARENT: &str = "--parent";

/// The tools of this machine with their versions.
pub struct Tools(BTreeMap<&'static str, Option<String>>);

impl Tools {
    pub fn look(options: &Options) -> Tools {
        let mut tools: BTreeMap<_, _> = KNOWN.map(|(name, argument)| (name, version(name, argument))).into();
        if options.parent.is_some() {
            tools.insert(PARENT, Some(String::new()));
        }
        Tools(tools)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Option::is_some)
    }

    /// Whether a contender with these needs has a row: one that nothing was named for has none.
    pub fn concerns(&self, needs: &[&str]) -> bool {
        !needs.contains(&PARENT) || self.has(PARENT)
    }

    /// The first of these that is not there.
    pub fn lacks<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| !self.has(name))
    }

    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(|(_, version)| version.is_none()).map(|(name, _)| *name)
    }

    /// Name and version of what is there and says one.
    pub fn versions(&self) -> Vec<String> {
        let said = self.0.iter().filter_map(|(name, version)| Some((name, version.as_deref()?)));
        said.filter(|(_, version)| !version.is_empty()).map(|(name, version)| format!("{name} {version}")).collect()
    }
}

/// The interpreter itself: what is found first may be a script of a version manager, which takes longer than the work.
pub fn python() -> String {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if said.is_empty() { "python3".into() } else { said }
}

/// The first word of the answer that begins with a digit, as most programs put it.
fn version(name: &str, argument: &str) -> Option<String> {
    let output = Command::new(name).arg(argument).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = said.split_whitespace().map(|word| word.trim_start_matches('v'));
    let version = { word }.find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    Some(version.unwrap_or_default().to_owned())
}
