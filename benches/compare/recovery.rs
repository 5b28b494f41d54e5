//! From the moment that the network is back until every missed change is on disk.

use std::collections::BTreeMap;
use std::time::Instant;

use local_backend::{Cut, Switch};

use crate::bench::Bench;
use crate::flow::{self, AGENT, Flow, PARENT};
use crate::goals::Goal;
use crate::report::{Report, Table, time};
use crate::stats::median;

pub fn measure(bench: &Bench, report: &mut Report) {
    let sizes = bench.size([1, 100, 10_000], [1, 20, 300]);
    let contenders: Vec<_> =
        [AGENT, PARENT].into_iter().filter(|name| bench.tools.concerns(flow::named(name).needs)).collect();
    let mut runs: BTreeMap<(&str, usize), Vec<Recovery>> = BTreeMap::new();
    for round in 0..bench.options.rounds {
        for missed in sizes {
            bench.say(&format!("round {round}: {missed} missed"));
            for name in &contenders {
                runs.entry((*name, missed)).or_default().push(recover(name, missed));
            }
        }
    }
    let of =
        |name, missed, part: fn(&Recovery) -> f64| median(&runs[&(name, missed)].iter().map(part).collect::<Vec<_>>());
    report.heading("Recovery");
    report.text(
        "The channel goes deaf in silence, so many files are saved, each in a transaction of its own, and the connection is cut\n\
         in the moment in which the network is back. The agent connects again after a pause of chance of up to 1 s (so that a\n\
         fleet does not come back all at once), joins, and catches up. The end is the last file's open.",
    );
    let mut table =
        Table::new(&["missed changes", "contender", "since the network is back", "since the channel is joined"]);
    for missed in sizes {
        for name in &contenders {
            let (whole, joined) = (of(name, missed, |run| run.whole), of(name, missed, |run| run.joined));
            table.row(vec![missed.to_string(), (*name).to_owned(), time(whole), time(joined)]);
        }
    }
    report.table(&table);
    let whole = of(AGENT, sizes[2], |run| run.whole);
    report.goal(Goal::at_most("10,000 missed changes recovered, since the network is back", 3.0, Some(whole), " s"));
}

/// One recovery, in seconds.
pub struct Recovery {
    /// From the network's return, with the pause of chance before the agent connects.
    whole: f64,
    /// From the channel's join.
    pub joined: f64,
}

pub fn recover(name: &str, missed: usize) -> Recovery {
    let mut flow = Flow::start(flow::named(name));
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
