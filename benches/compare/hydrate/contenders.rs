//! Who hydrates.

use std::path::Path;
use std::time::Instant;

use super::cases::Case;
use super::{floor, raised};
use crate::agent::{self, Agent};
use crate::bench::clients;
use crate::content::{self, File};
use crate::measured::{self, Measured};
use crate::scratch::Place;
use crate::server::Speed;
use crate::tools::{self, Tools, python};

pub use crate::flow::{AGENT, PARENT};
pub const NODE: &str = "Node, axios, JSZip";
pub const BSDTAR: &str = "`curl \\| bsdtar`";
pub const FLOOR: &str = "floor, one thread";
pub const DOWNLOAD: &str = "the download alone";

/// One way to get there.
pub struct Contender {
    pub name: &'static str,
    /// Tools that must be on the machine.
    pub needs: &'static [&'static str],
    on: On,
    how: fn(&Run, &Path) -> Measured,
}

/// Where it makes sense.
#[derive(PartialEq, Eq)]
enum On {
    Any,
    /// Archives that the container accepts: the limit of a binary cannot be raised.
    WithinLimit,
    /// Without a download there is no line that could be slow.
    Unthrottled,
    /// Nothing is written.
    Line,
}

/// What is to be hydrated.
pub struct Run<'a> {
    pub url: String,
    /// Bytes of the archive.
    pub archive: u64,
    pub files: &'a [File],
}

/// In the order of the tables.
pub const ALL: [Contender; 9] = [
    Contender { name: AGENT, needs: &[], on: On::Any, how: by_agent },
    Contender { name: PARENT, needs: &[tools::PARENT], on: On::WithinLimit, how: by_parent },
    Contender { name: NODE, needs: &["node", "npm"], on: On::Any, how: by_node },
    Contender { name: BSDTAR, needs: &["curl", "bsdtar"], on: On::Any, how: by_bsdtar },
    Contender { name: "curl, then unzip", needs: &["curl", "unzip"], on: On::Any, how: by_unzip },
    Contender { name: "Python, zipfile", needs: &["python3"], on: On::Any, how: by_python },
    Contender { name: FLOOR, needs: &[], on: On::Unthrottled, how: |run, dir| floor::one_thread(run.files, dir) },
    Contender {
        name: "floor, all cores",
        needs: &[],
        on: On::Unthrottled,
        how: |run, dir| floor::all_cores(run.files, dir),
    },
    Contender { name: DOWNLOAD, needs: &["curl"], on: On::Line, how: by_nobody },
];

impl Run<'_> {
    /// Whether the container's agent takes an archive of this size.
    fn is_within_limit(&self) -> bool {
        self.archive <= zip_stream::Limits::default().compressed
    }
}

impl Contender {
    pub fn is_of(&self, case: Case, run: &Run, tools: &Tools) -> bool {
        let fits = match self.on {
            On::Any => true,
            On::WithinLimit => run.is_within_limit(),
            On::Unthrottled => case.speed == Speed::Unthrottled,
            On::Line => case.speed == Speed::Line,
        };
        fits && tools.lacks(self.needs).is_none()
    }

    /// Once, into a new directory, which is looked through afterwards.
    pub fn measure(&self, place: Place, run: &Run) -> Measured {
        let temp = place.dir();
        place.settle();
        let measured = (self.how)(run, temp.path());
        if self.on != On::Line {
            content::verify(run.files, &agent::project(temp.path()), self.name);
        }
        measured
    }
}

/// The container's own limit on an archive decides whether it is the real binary.
fn by_agent(run: &Run, dir: &Path) -> Measured {
    if !run.is_within_limit() {
        return raised::measure(&run.url, dir, run.archive);
    }
    by_binary(agent::built(), run, dir)
}

fn by_parent(run: &Run, dir: &Path) -> Measured {
    by_binary(agent::parent(), run, dir)
}

fn by_binary(binary: &Path, run: &Run, dir: &Path) -> Measured {
    let env = agent::session(run.url.clone());
    let started = Instant::now();
    let mut agent = Agent::start_of(binary, dir, &env);
    agent.wait_for("hydrate_done");
    let seconds = started.elapsed().as_secs_f64();
    let peak = Some(measured::peak_of(agent.pid()));
    agent.stop();
    Measured { seconds, peak }
}

fn by_node(run: &Run, dir: &Path) -> Measured {
    let script = clients().join("hydrate.mjs");
    measured::run(["node".as_ref(), script.as_os_str(), run.url.as_ref(), made(dir).as_os_str()])
}

fn by_python(run: &Run, dir: &Path) -> Measured {
    let script = clients().join("hydrate.py");
    measured::run([python().as_ref(), script.as_os_str(), run.url.as_ref(), made(dir).as_os_str()])
}

fn by_bsdtar(run: &Run, dir: &Path) -> Measured {
    shell(r#"curl -sSf "$1" | bsdtar -xf - -C "$2/project""#, run, dir)
}

fn by_unzip(run: &Run, dir: &Path) -> Measured {
    shell(r#"curl -sSf -o "$2/snapshot.zip" "$1" && unzip -q "$2/snapshot.zip" -d "$2/project""#, run, dir)
}

fn by_nobody(run: &Run, dir: &Path) -> Measured {
    shell(r#"curl -sSf -o /dev/null "$1""#, run, dir)
}

/// A line of shell, with the URL as `$1` and the directory as `$2`.
fn shell(line: &str, run: &Run, dir: &Path) -> Measured {
    made(dir);
    measured::run(["sh".as_ref(), "-c".as_ref(), line.as_ref(), "sh".as_ref(), run.url.as_ref(), dir.as_os_str()])
}

fn made(dir: &Path) -> std::path::PathBuf {
    let project = agent::project(dir);
    std::fs::create_dir_all(&project).expect("a directory");
    project
}
