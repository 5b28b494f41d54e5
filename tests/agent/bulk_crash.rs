//! A crash of the real binary between two renames of one bulk: the next start makes it whole.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::world::World;
use crate::support::{Agent, eventually};
use local_backend::{BulkEntry, FileContent};

/// Files of the bulk: enough that its renames take longer than a look at the directory.
const FILES: usize = 2_000;
/// Bulks until one was caught half applied.
const ATTEMPTS: usize = 20;

fn name(n: usize) -> String {
    format!("bulk/file{n:04}.ts")
}

/// What the bulk of this round writes; every tenth file goes and comes by turns.
fn content(round: usize, n: usize) -> Option<String> {
    (!n.is_multiple_of(10) || round.is_multiple_of(2)).then(|| format!("round {round}, file {n}"))
}

fn bulk(round: usize) -> Vec<BulkEntry> {
    let was_there = |n: usize| round > 0 && content(round - 1, n).is_some();
    let entry = |n: usize| {
        let content = content(round, n).map(FileContent::Text);
        (content.is_some() || was_there(n)).then(|| BulkEntry { path: name(n), content, expected_version: None })
    };
    (0..FILES).filter_map(entry).collect()
}

/// How many files of the bulk are as its round says.
fn applied(project: &Path, round: usize) -> usize {
    let is = |n: usize| fs::read_to_string(project.join(name(n))).ok() == content(round, n);
    (0..FILES).filter(|n| is(*n)).count()
}

/// Waits until about a third of the round's renames are done; false where the whole bulk is there already.
fn begun(project: &Path, round: usize) -> bool {
    let is = |n: usize| fs::read_to_string(project.join(name(n))).ok() == content(round, n);
    let until = Instant::now() + crate::support::DEADLINE;
    while !is(FILES / 3 + 1) {
        assert!(Instant::now() < until, "the bulk never began");
        std::thread::sleep(Duration::from_micros(200));
    }
    !is(FILES - 1)
}

/// Waits until the state file speaks of the database's head: the next start is one from kept state.
fn state_is_kept(world: &World, agent: &Agent) {
    let file = agent.dir().join(".preview-agent/state");
    let head = format!("\"revision\":{}", world.store().head().revision);
    eventually("the state is kept", || fs::read_to_string(&file).is_ok_and(|state| state.contains(&head)));
}

#[test]
fn is_repaired_at_the_next_start() {
    let world = World::new();
    world.store().bulk(bulk(0), "test").unwrap();
    let mut agent = world.agent();
    for round in 1..=ATTEMPTS {
        state_is_kept(&world, &agent);
        world.store().bulk(bulk(round), "test").unwrap();
        let project = agent.project();
        let half = begun(&project, round);
        // KILL, as a crash.
        let dir = agent.crash();
        let there = applied(&project, round);
        agent = world.start().in_dir(dir).run();
        agent.wait_for("hydrate_kept");
        world.in_sync(&agent);
        if half && (1..FILES).contains(&there) {
            println!("round {round}: killed with {there} of {FILES} files renamed; equal after the next start");
            return;
        }
        println!("round {round}: killed with {there} of {FILES} files renamed");
    }
    panic!("no bulk of {ATTEMPTS} was caught half applied");
}
