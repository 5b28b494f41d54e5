//! An archive from a local HTTP server into an empty directory.

mod cases;
mod contenders;
mod floor;
pub mod raised;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::archive::{self, Method};
use crate::bench::Bench;
use crate::content;
use crate::goals::Goal;
use crate::measured::Measured;
use crate::report::{Report, Table, megabytes, time};
use crate::scratch::Place;
use crate::server::{Server, Speed};
use crate::stats::median;
use cases::{Case, GOALS};
use contenders::{AGENT, ALL, Run};

/// The runs of each contender in each case.
type Results = BTreeMap<(Case, &'static str), Vec<Measured>>;

pub fn measure(bench: &Bench, report: &mut Report) {
    let mut results = Results::new();
    for size in cases::sizes(bench) {
        let files = content::project(size.files, size.bytes);
        for method in [Method::Stored, Method::Deflated] {
            let archive = Arc::new(archive::zip(&files, method));
            for case in cases::of(bench, size, method) {
                bench.say(&format!("{} ({} bytes)", case.name(), archive.len()));
                let server = Server::start(archive.clone(), case.speed);
                let run = Run { url: server.url(), archive: archive.len() as u64, files: &files };
                rounds(bench, case, &run, &mut results);
            }
        }
    }
    tell(bench, report, &results);
    goals(report, &results);
}

/// Every contender in turn, beginning with another one in each round; on a fast line after a round that warms up.
fn rounds(bench: &Bench, case: Case, run: &Run, results: &mut Results) {
    let contenders: Vec<_> = ALL.iter().filter(|contender| contender.is_of(case, run, &bench.tools)).collect();
    let warm_ups = usize::from(case.speed == Speed::Unthrottled && !bench.options.quick);
    for round in 0..bench.options.rounds + warm_ups {
        for at in 0..contenders.len() {
            let contender = contenders[(at + round) % contenders.len()];
            let measured = contender.measure(case.place, run);
            if round >= warm_ups {
                results.entry((case, contender.name)).or_default().push(measured);
            }
        }
    }
}

fn seconds(results: &Results, case: Case, contender: &'static str) -> Option<f64> {
    let runs = results.get(&(case, contender))?;
    Some(median(&runs.iter().map(|run| run.seconds).collect::<Vec<_>>()))
}

fn peak(results: &Results, case: Case, contender: &'static str) -> Option<f64> {
    let runs = results.get(&(case, contender))?;
    let peaks: Option<Vec<_>> = runs.iter().map(|run| run.peak).collect();
    Some(median(&peaks?))
}

fn tell(bench: &Bench, report: &mut Report, results: &Results) {
    report.heading("Hydration");
    report.text(
        "From the start of the program to the last file in place, out of an archive on a local HTTP server, into an empty\n\
         directory; every tree is compared byte for byte afterwards. The agent's time ends with its line `hydrate_done`. 20,000\n\
         files are more than a snapshot may be: there the agent's own code runs with a higher limit, in a program of its own.\n\
         The floor hashes, writes and renames the same files out of its memory, without a download and without a process.",
    );
    for speed in [Speed::Unthrottled, Speed::Line] {
        for place in [Place::Tmpfs, Place::Disk] {
            let columns = columns(results, |case| case.speed == speed && case.place == place);
            if columns.is_empty() {
                continue;
            }
            report.text(&format!("### {}, {}", speed.name(), place.name()));
            table(bench, report, &columns, |case, contender| {
                let ours = seconds(results, case, AGENT)?;
                let theirs = seconds(results, case, contender)?;
                Some(format!("{} ({:.2} x)", time(theirs), theirs / ours))
            });
        }
    }
    report.text("### Peak memory, tmpfs\n\nOf the largest process of each. The system counts what a process was before it became another program: below about 11 MB, what\nthe measuring program itself takes, nothing can be seen of the others. The agent says its own.");
    let columns = columns(results, |case| case.speed == Speed::Unthrottled && case.place == Place::Tmpfs);
    table(bench, report, &columns, |case, contender| peak(results, case, contender).map(megabytes));
}

fn columns(results: &Results, wanted: impl Fn(&Case) -> bool) -> Vec<Case> {
    let mut cases: Vec<_> = results.keys().map(|(case, _)| *case).filter(wanted).collect();
    cases.dedup();
    cases
}

/// A contender a row, a case a column.
fn table(bench: &Bench, report: &mut Report, columns: &[Case], cell: impl Fn(Case, &'static str) -> Option<String>) {
    let names = columns.iter().map(|case| case.column());
    let mut table = Table::new(&std::iter::once(String::new()).chain(names).collect::<Vec<_>>());
    for contender in ALL.iter().filter(|contender| bench.tools.concerns(contender.needs)) {
        let missing = bench.tools.lacks(contender.needs).map(|tool| format!("{tool} is not on this machine"));
        let cells: Vec<_> = columns.iter().map(|case| cell(*case, contender.name)).collect();
        if missing.is_some() || cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.or(missing.clone()).unwrap_or_default());
            table.row(std::iter::once(contender.name.to_owned()).chain(cells).collect());
        }
    }
    report.table(&table);
}

fn goals(report: &mut Report, results: &Results) {
    let case = Case { size: GOALS, method: Method::Deflated, place: Place::Tmpfs, speed: Speed::Unthrottled };
    let line = Case { speed: Speed::Line, ..case };
    let ratio = |case, one, other| Some(seconds(results, case, one)? / seconds(results, case, other)?);
    let what = |which| format!("hydration of 2,000 files, 50 MB, deflated, on tmpfs: {which}");
    let node = ratio(case, contenders::NODE, AGENT);
    report.goal(Goal::at_least(&what("Node with JSZip to the agent"), 8.0, node, " x"));
    let bsdtar = ratio(case, contenders::BSDTAR, AGENT);
    report.goal(Goal::at_least(&what("`curl \\| bsdtar` to the agent"), 1.5, bsdtar, " x"));
    let floor = ratio(case, AGENT, contenders::FLOOR);
    report.goal(Goal::at_most(&what("the agent to the floor"), 1.8, floor, " x"));
    let longer = ratio(line, AGENT, contenders::DOWNLOAD).map(|ratio| (ratio - 1.0) * 100.0);
    report.goal(Goal::at_most(&what("at 100 Mbit/s, what comes on top of the download alone"), 3.0, longer, " %"));
    let memory = peak(results, case, AGENT).map(|bytes| bytes / 1e6);
    report.goal(Goal::at_most(&what("peak memory"), 20.0, memory, " MB"));
}
