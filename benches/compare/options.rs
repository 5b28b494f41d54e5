//! What is asked for on the command line.

use std::collections::BTreeSet;
use std::path::PathBuf;

pub const HELP: &str = "\
cargo bench --bench compare -- [FAMILY...] [OPTIONS]

families: hydrate events visible boot recovery cost growth (all of them, where none is named)

  --rounds N    as often, 5 where not said; each figure is the median of its rounds
  --quick       small sizes and one round: shows that everything runs, measures nothing
  --complete    also the slow cases: 20,000 files on disk, large stored archives at 100 Mbit/s on disk
  --parent FILE an older preview-agent, for example the parent commit's: one more contender in the same rounds
  --out FILE    also write the Markdown there; what stands in FILE between its markers of notes is kept

The Markdown goes to standard output, progress to standard error.";

/// Rounds of each comparison where none are named.
const ROUNDS: usize = 5;

/// A chapter of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Hydrate,
    Events,
    Visible,
    Boot,
    Recovery,
    Cost,
    Growth,
}

impl Family {
    pub const ALL: [Family; 7] = [
        Family::Hydrate,
        Family::Events,
        Family::Visible,
        Family::Boot,
        Family::Recovery,
        Family::Cost,
        Family::Growth,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Family::Hydrate => "hydrate",
            Family::Events => "events",
            Family::Visible => "visible",
            Family::Boot => "boot",
            Family::Recovery => "recovery",
            Family::Cost => "cost",
            Family::Growth => "growth",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Options {
    pub families: BTreeSet<Family>,
    pub rounds: usize,
    pub quick: bool,
    pub complete: bool,
    pub out: Option<PathBuf>,
    /// An older binary to compare with.
    pub parent: Option<PathBuf>,
    /// As it was typed, to be typed again.
    pub command: String,
}

/// What the program is to be.
pub enum Wanted {
    Measure(Options),
    Help,
    /// The parent of a contender, whose time and memory it tells.
    Child(Vec<String>),
    /// A contender: the agent's hydration with another limit on the archive, in bytes.
    Hydrate {
        url: String,
        dir: PathBuf,
        limit: u64,
    },
}

impl Options {
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Wanted, String> {
        // Cargo's own argument, of every benchmark.
        let args: Vec<String> = args.filter(|arg| arg != "--bench").collect();
        match args.first().map(String::as_str) {
            Some("--as-parent-of") => return Ok(Wanted::Child(args[1..].to_vec())),
            Some("--as-hydration") => {
                let [url, dir, limit] = &args[1..] else { return Err("--as-hydration URL DIR LIMIT".into()) };
                let limit = limit.parse().map_err(|_| format!("{limit:?} is no limit"))?;
                return Ok(Wanted::Hydrate { url: url.clone(), dir: dir.into(), limit });
            }
            _ => {}
        }
        let mut options = Options {
            families: BTreeSet::new(),
            rounds: ROUNDS,
            quick: false,
            complete: false,
            out: None,
            parent: None,
            command: format!("cargo bench --bench compare -- {}", args.join(" ")),
        };
        let mut rounds = None;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} takes a value"));
            match arg.as_str() {
                "--help" | "-h" => return Ok(Wanted::Help),
                "--quick" => options.quick = true,
                "--complete" => options.complete = true,
                "--parent" => options.parent = Some(binary(value()?)?),
                "--out" => options.out = Some(value()?.into()),
                "--rounds" => {
                    let text = value()?;
                    rounds = Some(
                        text.parse()
                            .ok()
                            .filter(|rounds| *rounds > 0)
                            .ok_or_else(|| format!("--rounds takes a number above 0, not {text:?}"))?,
                    );
                }
                name => match Family::ALL.into_iter().find(|family| family.name() == name) {
                    Some(family) => _ = options.families.insert(family),
                    None => return Err(format!("{name:?} is neither a family nor an option (--help)")),
                },
            }
        }
        if options.families.is_empty() {
            options.families = Family::ALL.into();
        }
        options.rounds = rounds.unwrap_or(if options.quick { 1 } else { ROUNDS });
        Ok(Wanted::Measure(options))
    }
}

/// The path of a binary, absolute: contenders are started in other directories.
fn binary(named: String) -> Result<PathBuf, String> {
    std::fs::canonicalize(&named).map_err(|error| format!("--parent: {named}: {error}"))
}
