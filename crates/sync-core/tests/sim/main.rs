//! Days of lost, doubled, late and cut traffic in virtual time, from a seed. Whenever the faults stop, the tree must
//! equal the table, as the simulator compares them.
//!
//! `SIM_SEEDS=20000` makes it a long run, `SIM_SEED=17` runs that seed alone. `SIM_EXPECT=difference` inverts the
//! test, for a core that was broken on purpose: it passes as soon as tree and table differ or a path goes back.
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]

mod breakages;
mod database;
mod faults;
mod inject;
mod random;
mod server;
mod shell;
mod summary;
mod tree;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use faults::{Faults, Setting};
use summary::Summary;
use world::World;

/// Seeds in the ordinary run.
const SEEDS: u64 = 500;
/// Transactions under faults, a seed: so many times so many, with a rest after each.
const RESTS: u64 = 13;
const COMMITS: u64 = 40;
/// A rest ends when the tree has equalled the table for so long, in virtual time; the last one takes all of `TO_HEAL`.
const SETTLED: Duration = Duration::from_secs(45);
/// Kinds of fault that must be injected, for each seed.
const KINDS: usize = 5;
/// The longest, in virtual time, that the tree may take to equal the table once the faults have stopped: two reads of
/// the head, and the longest backoff before each.
const TO_HEAL: Duration = Duration::from_secs(600);

/// A seed of [`a_listing_torn_by_a_restore_is_not_taken_for_a_wrong_digest`].
const TORN_LISTING: u64 = 705;

/// Why a seed failed.
#[derive(Debug)]
enum Failure {
    /// Tree and table differ.
    Difference(String),
    /// A path went back to an older version.
    Regression(String),
    Other(String),
}

/// Runs one seed.
fn run(seed: u64) -> Result<Summary, Failure> {
    let setting = Setting::of(seed);
    let faults = Faults::of(seed, &setting);
    let attempt = catch_unwind(AssertUnwindSafe(|| run_with(seed, setting, faults)));
    attempt.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        Err(Failure::Other(format!("seed {seed}: panicked: {text}")))
    })
}

fn run_with(seed: u64, setting: Setting, faults: Faults) -> Result<Summary, Failure> {
    let mut world = World::new(seed, setting.clone(), faults.clone());
    let mut times = Vec::new();
    let result = lives(&mut world, &mut times);
    let described = |what: &str| {
        let (injected, counts, status) = (&world.injected, &world.counts, world.status());
        format!("seed {seed}: {what}\n{setting:?}\n{faults:?}\n{injected:?}\n{counts:?}\n{status:?}")
    };
    result.map_err(|failure| match failure {
        Failure::Difference(what) => Failure::Difference(described(&what)),
        Failure::Regression(what) => Failure::Regression(described(&what)),
        Failure::Other(what) => Failure::Other(described(&what)),
    })?;
    Ok(Summary {
        seeds: 1,
        commits: vec![world.counts.remove("commits").unwrap_or(0)],
        kinds: vec![world.injected.len() as u64],
        foreign: world.tree.foreign_intact() as u64,
        settings: world.setting.names().into_iter().map(|name| (name, 1)).collect(),
        injected: world.injected,
        counts: world.counts,
        times,
    })
}

fn lives(world: &mut World, times: &mut Vec<Duration>) -> Result<(), Failure> {
    for rests in 1..=RESTS {
        world.start_faults(COMMITS);
        while world.left > 0 {
            world.run_until(world.now.after(Duration::from_secs(1)));
        }
        times.push(rest(world, if rests < RESTS { SETTLED } else { TO_HEAL })?);
    }
    if world.goes_only_forward() && !world.tree.regressions.is_empty() {
        return Err(Failure::Regression(world.tree.regressions.join("\n")));
    }
    let mut broken = world.tree.violations.clone();
    if !world.tree.foreign_is_intact() {
        broken.push("a file of others was touched".into());
    }
    if !world.tree.stage.is_empty() {
        broken.push(format!("left on the stage: {:?}", world.tree.stage));
    }
    if world.faults.restore == 0 && world.faults.digest == 0 && world.counts.contains_key("repairs") {
        broken.push("the table was wrong until the digest said so".into());
    }
    if world.injected.len() < KINDS {
        broken.push(format!("only {} kinds of fault injected", world.injected.len()));
    }
    if !broken.is_empty() {
        return Err(Failure::Other(broken.join("\n")));
    }
    rejoin(world)
}

/// The faults stop: how long it takes until the tree equals the table, and stays so for at least `settled`.
fn rest(world: &mut World, settled: Duration) -> Result<Duration, Failure> {
    world.calm = true;
    let stopped = world.now;
    let mut equal_after: Option<Duration> = None;
    while world.now.since(stopped) < TO_HEAL {
        let status = world.status();
        let known = status.current && status.pending_files.is_empty();
        if known && equal_after.is_some_and(|equal| world.now.since(stopped) >= equal + settled) {
            break;
        }
        world.run_until(world.now.after(Duration::from_millis(500)));
        match (world.difference(), equal_after) {
            (None, None) => equal_after = Some(world.now.since(stopped)),
            (Some(_), Some(_)) => equal_after = None,
            _ => {}
        }
    }
    if let Some(difference) = world.difference() {
        return Err(Failure::Difference(difference));
    }
    let status = world.status();
    if !status.pending_files.is_empty() || !status.current {
        return Err(Failure::Other("equal, but the agent does not know it".into()));
    }
    Ok(equal_after.unwrap_or(TO_HEAL))
}

/// What is saved while the channel is away is read at the rejoin, not only at the next read of the head.
fn rejoin(world: &mut World) -> Result<(), Failure> {
    world.cut_and_commit();
    let cut = world.now;
    while !(world.now.since(cut) > Duration::from_secs(1) && world.has_streamed_for(Duration::from_secs(2))) {
        world.run_until(world.now.after(Duration::from_millis(100)));
        if world.now.since(cut) > TO_HEAL {
            return Err(Failure::Other("not joined again".into()));
        }
    }
    world.difference().map_or(Ok(()), |difference| Err(Failure::Difference(format!("after the rejoin: {difference}"))))
}

/// Runs seeds on every core; stops early where `enough` says so of a failure.
fn run_all(seeds: Range<u64>, enough: impl Fn(&Failure) -> bool + Sync) -> (Summary, Vec<Failure>) {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let work = || {
        let (mut sum, mut failures) = (Summary::default(), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match run(seed) {
                Ok(one) => sum.add(one),
                Err(failure) => {
                    stop.fetch_or(enough(&failure), Ordering::Relaxed);
                    failures.push(failure);
                }
            }
        }
        (sum, failures)
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("panics are caught")).collect()
    });
    let (mut sum, mut failures) = (Summary::default(), Vec::new());
    for (part, failed) in parts {
        sum.add(part);
        failures.extend(failed);
    }
    (sum, failures)
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}

/// A backup that is restored between two pages makes a listing that was never true. The assertions say whether the seed
/// still does that: where the simulator draws its random numbers otherwise, `breakages/torn_listing_accepted` finds
/// another one.
#[test]
fn a_listing_torn_by_a_restore_is_not_taken_for_a_wrong_digest() {
    let summary = run(TORN_LISTING).unwrap_or_else(|failure| panic!("{failure:#?}"));
    for event in ["restores_between_pages", "repeated_repairs"] {
        assert!(summary.counts.contains_key(event), "the seed has no {event}: {:?}", summary.counts);
    }
}

#[test]
fn after_the_faults_the_tree_equals_the_table() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let broken_on_purpose = match std::env::var("SIM_EXPECT").as_deref() {
        Ok("difference") => true,
        Ok(other) => panic!("SIM_EXPECT is unknown: {other}"),
        Err(_) => false,
    };
    let differs = |failure: &Failure| matches!(failure, Failure::Difference(_) | Failure::Regression(_));
    let (mut sum, failures) = run_all(seeds, |failure| broken_on_purpose && differs(failure));
    if broken_on_purpose {
        let found = failures.iter().find(|failure| differs(failure));
        let Some(Failure::Difference(what) | Failure::Regression(what)) = found else {
            panic!("tree and table were equal over {} seeds; {} failed otherwise", sum.seeds, failures.len());
        };
        let lines: Vec<&str> = what.lines().take(1).collect();
        return println!("tree and table differ: {}", lines.join(" "));
    }
    sum.print();
    for failure in &failures {
        println!("{failure:#?}\n");
    }
    assert!(failures.is_empty(), "{} seeds failed", failures.len());
}
