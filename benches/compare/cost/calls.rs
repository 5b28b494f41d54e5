//! System calls of one event and of one hydrated file: what a longer run makes more than a shorter one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::{self, Agent};
use crate::archive::{self, Method};
use crate::bench::Bench;
use crate::content;
use crate::flow::{self, Flow};
use crate::report::{Report, Table};
use crate::scratch::Place;
use crate::server::{Server, Speed};

/// Calls by name.
type Calls = BTreeMap<String, f64>;

/// Files that are edited in turn: each again only once nobody remembers its last change.
const EDITED: usize = 50;
/// Bytes of a hydrated file.
const SIZE: usize = 4096;
/// A call that is made less often than this for each is one of the clock, not of the work.
const SHOWN: f64 = 0.05;

pub fn measure(bench: &Bench, report: &mut Report) {
    if let Some(tool) = bench.tools.lacks(&["strace"]) {
        report.text(&format!("System calls: {tool} is not on this machine."));
        return;
    }
    bench.say("system calls");
    let (few, many) = bench.size((100, 600), (20, 60));
    let event = each(events(few), events(many), many - few);
    let (few, many) = bench.size((100, 1100), (20, 120));
    let file = each(hydration(few), hydration(many), many - few);
    let mut table = Table::new(&["system calls", "all", "which"]);
    for (what, calls) in [("an event, one at a time", event), ("a hydrated file", file)] {
        let sum: f64 = calls.values().sum();
        let mut calls: Vec<_> = calls.into_iter().filter(|(_, count)| *count >= SHOWN).collect();
        calls.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let calls: Vec<_> = calls.iter().map(|(name, count)| format!("{name} {count:.1}")).collect();
        table.row(vec![what.into(), format!("{sum:.1}"), calls.join(", ")]);
    }
    report.table(&table);
}

/// What the longer run made more, for each of so many.
fn each(shorter: Calls, longer: Calls, count: usize) -> Calls {
    let less = |name: &String| shorter.get(name).copied().unwrap_or(0.0);
    longer.iter().map(|(name, calls)| (name.clone(), ((calls - less(name)) / count as f64).max(0.0))).collect()
}

fn events(count: usize) -> Calls {
    let mut flow = Flow::start(&flow::TRACED);
    for at in 0..count {
        flow.send(at % EDITED);
        flow.wait();
        std::thread::sleep(Duration::from_millis(2));
    }
    let summary = flow::traced_to(flow.dir());
    let temp = flow.stop();
    let calls = read(&summary);
    drop(temp);
    calls
}

fn hydration(files: usize) -> Calls {
    let archive = archive::zip(&content::project(files, files * SIZE), Method::Deflated);
    let server = Server::start(Arc::new(archive), Speed::Unthrottled);
    let temp = Place::Tmpfs.dir();
    let env = agent::session(server.url());
    let summary = flow::traced_to(temp.path());
    let mut command = agent::command(temp.path(), &env);
    let mut agent = Agent::spawn(&mut agent::traced(command.args(["--", "sleep", "3600"]), &summary));
    agent.wait_for("hydrate_done");
    agent.terminate();
    read(&summary)
}

/// The lines of the summary end with the call's name; how often it was made is the fourth column.
fn read(summary: &Path) -> Calls {
    let text = std::fs::read_to_string(summary).expect("a summary");
    let line = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let calls = columns.get(3)?.parse().ok()?;
        columns.last().filter(|name| **name != "total").map(|name| ((*name).to_owned(), calls))
    };
    text.lines().filter_map(line).collect()
}
