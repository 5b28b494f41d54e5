//! The real binary under random faults, each run from a seed: when they stop, directory and database are equal, by a
//! comparison that the test makes itself.

use std::time::{Duration, Instant};

use crate::support::world::World;
use crate::support::{Agent, eventually};
use local_backend::{BulkEntry, Cut, FaultRate, FaultSettings, Faults, FileContent, Store};

const SEEDS: u64 = 20;
const CHANGES: u64 = 120;
const PATHS: u64 = 30;

/// SplitMix64, so that a seed means the same run everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    fn chance(&mut self) -> FaultRate {
        FaultRate::with_probability(self.below(40) as f64 / 100.0)
    }
}

fn path(random: &mut Random) -> String {
    let n = random.below(PATHS);
    format!("src/dir{}/file{n}.ts", n % 5)
}

fn content(random: &mut Random, change: u64) -> FileContent {
    match random.below(20) {
        0 => FileContent::Binary((0..=255).cycle().take(5_000 + change as usize).collect()),
        1 => FileContent::Text("large ".repeat(60_000) + &change.to_string()),
        _ => FileContent::Text(format!("change {change}")),
    }
}

/// One transaction; a delete of what is not there is refused, which is as good as any other.
fn change(store: &Store, random: &mut Random, n: u64) {
    match random.below(10) {
        0..=5 => drop(store.upsert(&path(random), content(random, n), None, "test")),
        6..=7 => drop(store.delete(&path(random), None, "test")),
        _ => {
            let mut entries = std::collections::BTreeMap::new();
            for _ in 0..1 + random.below(8) {
                let content = (random.below(4) > 0).then(|| content(random, n));
                entries.insert(path(random), content);
            }
            let entry = |(path, content)| BulkEntry { path, content, expected_version: None };
            drop(store.bulk(entries.into_iter().map(entry).collect(), "test"));
        }
    }
}

/// Switches other faults on; answers a word for each kind.
fn trouble(faults: &Faults, random: &mut Random) -> &'static str {
    match random.below(8) {
        0 => faults.drop_broadcasts(random.chance()),
        1 => faults.double_broadcasts(random.chance()),
        2 => faults.reorder_broadcasts(random.chance()),
        3 => faults.delay_broadcasts(Duration::from_millis(random.below(80))),
        4 => {
            faults.cut(if random.below(2) == 0 { Cut::Abruptly } else { Cut::Code(1012) });
            return "cut";
        }
        5 => {
            faults.fail_reads([500, 503, 429, 0][random.below(4) as usize], FaultRate::next(random.below(3)));
            return "reads fail";
        }
        6 => {
            faults.page_rows(Some(1 + random.below(5) as u32));
            return "small pages";
        }
        _ => {
            faults.delay_reads(Duration::from_millis(random.below(100)));
            return "slow reads";
        }
    }
    "events"
}

#[test]
fn equal_after_every_seed() {
    let mut times = Vec::new();
    for seed in 1..=SEEDS {
        let took = run(seed);
        println!("seed {seed}: equal {took:?} after the faults stopped");
        times.push(took);
    }
    times.sort();
    println!("{SEEDS} seeds: median {:?}, longest {:?}", times[times.len() / 2], times[times.len() - 1]);
}

/// How long it took from the end of the faults until both were equal.
fn run(seed: u64) -> Duration {
    let world = World::new();
    let agent = world.agent();
    let faults = world.backend().faults();
    faults.seed(seed);
    let mut random = Random(seed);
    let mut kinds = std::collections::BTreeSet::new();
    for n in 0..CHANGES {
        if n % 8 == 0 {
            kinds.insert(trouble(&faults, &mut random));
        }
        change(&world.store(), &mut random, n);
        std::thread::sleep(Duration::from_millis(random.below(8)));
    }
    assert!(kinds.len() > 1, "seed {seed} is too kind: {kinds:?}");
    faults.set(FaultSettings::default());
    let stopped = Instant::now();
    eventually(&format!("seed {seed}: the directory equals the database"), || world.equal(&agent));
    stopped.elapsed()
}

#[test]
fn a_deaf_channel_is_noticed() {
    let world = World::new();
    let mut agent = world.agent();
    agent.wait_for("catch_up");
    world.save("src/App.tsx", "everybody was told");
    agent.wait_until("the event", |event| event["event_type"] == "file_applied" && event["version"] == 2);
    world.backend().faults().stall_joined();
    let started = Instant::now();
    world.save("src/App.tsx", "nobody was told");
    agent.wait_until("a catch-up", |event| event["event_type"] == "catch_up" && event["files"] == 1);
    world.in_sync(&agent);
    println!("deaf channel noticed after {:?}", started.elapsed());
}

#[test]
fn a_burst_of_ten_thousand_events_arrives_whole() {
    let world = World::new();
    let agent = world.agent();
    let started = Instant::now();
    for n in 0..10_000 {
        world.save(&format!("burst/file{}.txt", n % 500), &format!("{n}"));
    }
    world.in_sync(&agent);
    let peak = peak_memory(&agent);
    println!("10,000 events on disk after {:?}; peak {} MiB", started.elapsed(), peak >> 20);
    assert!(peak < MOST_MEMORY, "{peak} bytes");
}

#[test]
fn five_hundred_events_a_second_for_a_minute_arrive_whole() {
    let world = World::new();
    let agent = world.agent();
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    for n in 0..30_000 {
        let due = started + Duration::from_millis(2) * n;
        match due.checked_duration_since(Instant::now()) {
            Some(early) => std::thread::sleep(early),
            None => longest = longest.max(due.elapsed()),
        }
        let name = if n % 50 == 0 { format!("load/new{n}.txt") } else { format!("load/file{}.txt", n % 300) };
        world.save(&name, &format!("event {n}"));
    }
    let sent = started.elapsed();
    world.in_sync(&agent);
    let (settled, peak) = (started.elapsed() - sent, peak_memory(&agent));
    println!(
        "30,000 events in {sent:?} (the test at most {longest:?} late), equal {settled:?} later; peak {} MiB",
        peak >> 20
    );
    assert!(peak < MOST_MEMORY, "{peak} bytes");
}

/// Far above what a burst takes and far below what holding every event would, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

/// The largest resident size of the agent until now, in bytes.
fn peak_memory(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
