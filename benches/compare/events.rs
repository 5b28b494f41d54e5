//! From the sender's send to an open that shows the new bytes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::flow::{self, AGENT, ALL, Flow, Follower, NODE, PARENT};
use crate::goals::Goal;
use crate::report::{Report, Table, time};
use crate::stats::{median, percentile, sorted};

/// How changes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// The next once the last is seen.
    OneAtATime,
    /// So many in a second, for so many seconds.
    Rate(usize, usize),
    /// So many files, as fast as they can be sent.
    Burst(usize),
    /// So many files in one transaction. Its event is too large to carry their contents, and a large one's the list.
    Bulk(usize),
}

impl Mode {
    fn name(self) -> String {
        match self {
            Mode::OneAtATime => "one at a time".into(),
            Mode::Rate(rate, _) => format!("{rate} a second"),
            Mode::Burst(files) => format!("burst of {files} files"),
            Mode::Bulk(files) => format!("one transaction of {files} files"),
        }
    }
}

/// Seconds from send to seen, in the order of sending. A burst is one send.
type Lags = Vec<f64>;

/// Between two changes that come one at a time: nobody is busy any more.
const REST: Duration = Duration::from_millis(2);

/// The lags of each round, by mode and contender.
type Results = BTreeMap<(Mode, &'static str), Vec<Lags>>;

const SLOW: Mode = Mode::Rate(100, 2);
const FAST: Mode = Mode::Rate(1000, 5);

fn modes(bench: &Bench) -> [Mode; 6] {
    let [burst, few, many] = bench.size([2000, 500, 5000], [100, 50, 600]);
    [Mode::OneAtATime, SLOW, FAST, Mode::Burst(burst), Mode::Bulk(few), Mode::Bulk(many)]
}

pub fn measure(bench: &Bench, report: &mut Report) {
    let followers: Vec<_> = ALL.iter().filter(|follower| bench.tools.lacks(follower.needs).is_none()).collect();
    let mut results = Results::new();
    // The first round warms up.
    let warm_ups = usize::from(!bench.options.quick);
    for round in 0..bench.options.rounds + warm_ups {
        bench.say(&format!("round {round}"));
        for at in 0..followers.len() {
            let follower = followers[(at + round) % followers.len()];
            let measured = follow(bench, follower);
            if round >= warm_ups {
                measured.into_iter().for_each(|(mode, lags)| {
                    results.entry((mode, follower.name)).or_default().push(lags);
                });
            }
        }
    }
    tell(bench, report, &results);
    goals(bench, report, &results);
}

/// All modes, one after the other, of one follower.
fn follow(bench: &Bench, follower: &Follower) -> Vec<(Mode, Lags)> {
    let mut flow = Flow::start(follower);
    let mut measured = Vec::new();
    for mode in modes(bench) {
        // How often the floor is asked for makes no difference to it.
        if flow.pid().is_some() || !matches!(mode, Mode::Rate(..)) {
            measured.push((mode, run(bench, &mut flow, mode)));
        }
    }
    flow.stop();
    measured
}

fn run(bench: &Bench, flow: &mut Flow, mode: Mode) -> Lags {
    let before = flow.sent();
    let started = Instant::now();
    match mode {
        Mode::OneAtATime => {
            for at in 0..bench.size(300, 20) {
                flow.send(at % flow::EDITED);
                flow.wait();
                std::thread::sleep(REST);
            }
        }
        Mode::Rate(rate, seconds) => flow.send_steadily(rate, bench.size(seconds * rate, 50)),
        // Files of their own for each.
        Mode::Burst(files) => (10_000..10_000 + files).for_each(|file| flow.send(file)),
        Mode::Bulk(files) => flow.send_at_once(10_000 * files..10_001 * files),
    }
    flow.wait();
    let lag = |(sent, seen)| {
        let since = if matches!(mode, Mode::Burst(_)) { started } else { sent };
        Instant::duration_since(&seen, since).as_secs_f64()
    };
    flow.times().skip(before).map(lag).collect()
}

/// The median over the rounds of one percentile.
fn lag(results: &Results, mode: Mode, contender: &'static str, share: f64) -> Option<f64> {
    let rounds = results.get(&(mode, contender))?;
    Some(median(&rounds.iter().map(|lags| percentile(&sorted(lags), share)).collect::<Vec<_>>()))
}

/// The same of a tenth of the events, in the order in which they were sent.
fn tenth(results: &Results, mode: Mode, contender: &'static str, which: usize) -> Option<f64> {
    let part = |lags: &Lags| {
        let size = (lags.len() / 10).max(1);
        median(&lags[(which * size).min(lags.len() - size)..][..size])
    };
    Some(median(&results.get(&(mode, contender))?.iter().map(part).collect::<Vec<_>>()))
}

fn tell(bench: &Bench, report: &mut Report, results: &Results) {
    report.heading("Event to disk");
    report.text(&format!(
        "From the call that saves in the backend, to an open that shows the new bytes ({} bytes a file), without fsync. The\n\
         backend's own work, its websocket and the observer (inotify, then open and read) are in it, the same for each. The\n\
         agent verifies, stages and renames; the Node client, on supabase-js, writes in parallel and does none of that. The\n\
         floor is write(2) and rename(2) in the process that sends. Of a burst every time counts from its first send. Bulks\n\
         leave their contents out, as their events would be larger than Realtime carries: both read them from the database.",
        flow::SIZE
    ));
    let mut table = Table::new(&["", "contender", "p50", "p99", "max"]);
    for mode in modes(bench) {
        for follower in ALL.iter().filter(|follower| bench.tools.concerns(follower.needs)) {
            let missing = bench.tools.lacks(follower.needs).map(|tool| format!("{tool} is not on this machine"));
            let ours = lag(results, mode, AGENT, 0.5);
            let measured = |share| lag(results, mode, follower.name, share).map(time);
            if missing.is_none() && measured(0.5).is_none() {
                continue;
            }
            let cell = |share| measured(share).or(missing.clone()).unwrap_or_default();
            let ratio = lag(results, mode, follower.name, 0.5).zip(ours).map(|(theirs, ours)| theirs / ours);
            let ratio = ratio.map_or(String::new(), |ratio| format!(" ({ratio:.2} x)"));
            table.row(vec![mode.name(), follower.name.into(), cell(0.5) + &ratio, cell(0.99), cell(1.0)]);
        }
    }
    report.table(&table);
    let mut queue = Table::new(&["1,000 a second", "first tenth, p50", "last tenth, p50"]);
    for name in [AGENT, PARENT, NODE] {
        if let Some((first, last)) = tenth(results, FAST, name, 0).zip(tenth(results, FAST, name, 9)) {
            queue.row(vec![name.into(), time(first), time(last)]);
        }
    }
    report.text("Whether a queue grows: the lag of the first events and of the last.");
    report.table(&queue);
}

fn goals(bench: &Bench, report: &mut Report, results: &Results) {
    let one = |contender, share| lag(results, Mode::OneAtATime, contender, share);
    let share = one(AGENT, 0.5).zip(one(NODE, 0.5)).map(|(ours, theirs)| ours / theirs);
    let late = |contender| one(contender, 0.99).map_or("not measured".into(), time);
    let what = format!(
        "event to disk, one at a time: p50 of the agent to Node's (p99 {}, Node's {})",
        late(AGENT),
        late(NODE)
    );
    report.goal(Goal::at_most(&what, 0.8, share, " x"));
    // Less than an event's distance from the next: not one more waits.
    let growth = tenth(results, FAST, AGENT, 0).zip(tenth(results, FAST, AGENT, 9));
    let growth = growth.map(|(first, last)| (last - first) * 1000.0);
    report.goal(Goal::at_most("1,000 events a second: the last tenth's lag above the first's", 1.0, growth, " ms"));
    let burst = modes(bench).into_iter().find(|mode| matches!(mode, Mode::Burst(_))).expect("a burst");
    let whole = lag(results, burst, AGENT, 1.0).map(|seconds| seconds * 1000.0);
    report.goal(Goal::at_most("burst of 2,000 distinct files, all on disk", 250.0, whole, " ms"));
}
