//! From the moment that the network is back until every missed change is on disk.

use std::time::Instant;

use local_backend::{Cut, Switch};

use crate::bench::Bench;
use crate::flow::{ALL, Flow};
use crate::goals::Goal;
use crate::report::{Report, Table, time};
use crate::stats::median;

pub fn measure(bench: &Bench, report: &mut Report) {
    let sizes = bench.size([1, 100, 10_000], [1, 20, 300]);
    let mut runs: [Vec<Recovery>; 3] = Default::default();
    for round in 0..bench.options.rounds {
        for (missed, runs) in sizes.into_iter().zip(&mut runs) {
            bench.say(&format!("round {round}: {missed} missed"));
            runs.push(recover(missed));
        }
    }
    report.heading("Recovery");
    report.text(
        "The channel goes deaf in silence, so many files are saved, each in a transaction of its own, and the connection is cut\n\
         in the moment in which the network is back. The agent connects again after a pause of chance of up to 1 s (so that a\n\
         fleet does not come back all at once), joins, and catches up. The end is the last file's open.",
    );
    let mut table = Table::new(&["missed changes", "since the network is back", "since the channel is joined"]);
    for (missed, runs) in sizes.iter().zip(&runs) {
        let of = |part: fn(&Recovery) -> f64| median(&runs.iter().map(part).collect::<Vec<_>>());
        table.row(vec![missed.to_string(), time(of(|run| run.whole)), time(of(|run| run.joined))]);
    }
    report.table(&table);
    let whole = median(&runs[2].iter().map(|run| run.whole).collect::<Vec<_>>());
    report.goal(Goal::at_most("10,000 missed changes recovered, since the network is back", 3.0, Some(whole), " s"));
}

/// One recovery, in seconds.
pub struct Recovery {
    /// From the network's return, with the pause of chance before the agent connects.
    whole: f64,
    /// From the channel's join.
    pub joined: f64,
}

pub fn recover(missed: usize) -> Recovery {
    let mut flow = Flow::start(&ALL[0]);
    let faults = flow.faults();
    faults.stall_streams(Switch::On);
    (0..missed).for_each(|file| flow.send(file));
    faults.stall_streams(Switch::Off);
    let back = Instant::now();
    faults.cut(Cut::Abruptly);
    flow.wait();
    let last = flow.times().map(|(_, seen)| seen).max().expect("at least one change");
    let joined = flow.joined();
    flow.stop();
    Recovery { whole: (last - back).as_secs_f64(), joined: last.saturating_duration_since(joined).as_secs_f64() }
}
