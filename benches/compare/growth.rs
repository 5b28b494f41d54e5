//! What becomes of the times when there is more to do: nothing may grow faster than n log n.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::agent::{self, Agent};
use crate::archive::{self, Method};
use crate::bench::Bench;
use crate::content;
use crate::flow::{AGENT, ALL, Flow};
use crate::recovery::recover;
use crate::report::{Report, Table, time};
use crate::scratch::Place;
use crate::served::Served;
use crate::server::{Server, Speed};
use crate::stats::median;

/// Bytes of each file.
const SIZE: usize = 4096;
/// Times that are this much above n log n are flagged: less is noise.
const TOLERANCE: f64 = 1.5;

/// What is done with so many files, and how long it took in seconds.
struct Work {
    name: &'static str,
    run: fn(usize) -> f64,
}

const WORKS: [Work; 5] = [
    Work { name: "hydration", run: hydration },
    Work { name: "one transaction", run: transaction },
    Work { name: "catching up, since the join", run: |files| recover(AGENT, files).joined },
    Work { name: "full listing, without a snapshot", run: listing },
    Work { name: "start with kept state", run: kept },
];

pub fn measure(bench: &Bench, report: &mut Report) {
    let sizes = bench.size([1000, 2000, 5000, 10_000], [20, 40, 100, 200]);
    report.heading("Growth");
    report.text(&format!(
        "Time for each file of {SIZE} bytes. A row is flagged where its largest time is more than {TOLERANCE} times what n log n\n\
         makes of its smallest."
    ));
    let columns: Vec<_> = sizes.iter().map(|size| format!("{size} files")).collect();
    let columns = ["".to_owned()].into_iter().chain(columns).chain(["growth".to_owned()]);
    let mut table = Table::new(&columns.collect::<Vec<_>>());
    for work in &WORKS {
        let mut times = [const { Vec::new() }; 4];
        for round in 0..bench.options.rounds {
            bench.say(&format!("{}, round {round}", work.name));
            sizes.into_iter().zip(&mut times).for_each(|(size, times)| times.push((work.run)(size)));
        }
        let times = times.map(|times| median(&times));
        let each = sizes.into_iter().zip(times).map(|(size, seconds)| time(seconds / size as f64));
        table.row([work.name.to_owned()].into_iter().chain(each).chain([verdict(&sizes, &times)]).collect());
    }
    report.table(&table);
}

fn verdict(sizes: &[usize], times: &[f64]) -> String {
    let of = |n: usize| n as f64 * (n as f64).log2();
    let (first, last) = (0, sizes.len() - 1);
    let grown = times[last] / times[first];
    let allowed = of(sizes[last]) / of(sizes[first]);
    let factor = sizes[last] / sizes[first];
    let verdict = if grown > allowed * TOLERANCE { "**worse than n log n**" } else { "at most n log n" };
    format!("{grown:.1} times for {factor} times as many: {verdict}")
}

fn hydration(files: usize) -> f64 {
    let archive = archive::zip(&content::project(files, files * SIZE), Method::Deflated);
    let server = Server::start(Arc::new(archive), Speed::Unthrottled);
    let temp = Place::Tmpfs.dir();
    let started = Instant::now();
    let mut agent = Agent::start(temp.path(), &agent::session(server.url()));
    agent.wait_for("hydrate_done");
    let took = started.elapsed().as_secs_f64();
    agent.stop();
    took
}

fn transaction(files: usize) -> f64 {
    let mut flow = Flow::start(&ALL[0]);
    flow.send_at_once(0..files);
    flow.wait();
    let took = flow.times().map(|(sent, seen)| (seen - sent).as_secs_f64()).fold(0.0, f64::max);
    flow.stop();
    took
}

fn listing(files: usize) -> f64 {
    with_backend(files, |env, dir| {
        let env: Vec<_> = env.iter().filter(|(name, _)| *name != "SNAPSHOT_URL").cloned().collect();
        let start = Start::new(dir, &env, files);
        start.agent.stop();
        start.took
    })
}

fn kept(files: usize) -> f64 {
    with_backend(files, |env, dir| {
        Start::new(dir, env, files).agent.terminate();
        let start = Start::new(dir, env, files);
        assert!(start.kept, "the state was not kept");
        start.agent.stop();
        start.took
    })
}

/// With the environment of an agent for a project of so many files, and a directory.
fn with_backend(files: usize, run: impl FnOnce(&[(&'static str, String)], &Path) -> f64) -> f64 {
    let backend = Served::start(content::project(files, files * SIZE));
    let temp = Place::Tmpfs.dir();
    let took = run(&backend.agent_settings().env(), temp.path());
    backend.stop();
    took
}

/// An agent that is in sync.
struct Start {
    agent: Agent,
    /// From its exec, in seconds.
    took: f64,
    /// It went on with what it found.
    kept: bool,
}

impl Start {
    fn new(dir: &Path, env: &[(&'static str, String)], files: usize) -> Start {
        let started = Instant::now();
        let mut agent = Agent::start(dir, env);
        // What is read is told before it is written, and the dev server starts once it is.
        let (mut read, mut placed, mut kept) = (false, false, false);
        while !(read && placed) {
            match agent.next()["event_type"].as_str() {
                Some("catch_up") => read = true,
                Some("dev_server_start") => placed = true,
                Some("hydrate_kept") => kept = true,
                _ => {}
            }
        }
        let took = started.elapsed().as_secs_f64();
        assert_eq!(content::count(&agent::project(dir)), files, "files in the project");
        Start { agent, took, kept }
    }
}
