//! From a save to the page that shows it, in Chromium, through the whole loop.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::agent;
use crate::bench::{Bench, clients, install};
use crate::report::{Report, Table, time};
use crate::stats::{percentile, sorted};

/// Edits of each project in each way, for each round.
const EDITS: usize = 10;

pub fn measure(bench: &Bench, report: &mut Report) {
    report.heading("Edit to visible");
    if let Some(tool) = bench.tools.lacks(&["node", "npm"]) {
        return report.text(&format!("{tool} is not on this machine."));
    }
    let edits = bench.options.rounds * bench.size(EDITS, 1);
    let projects = bench.size(2, 1);
    let Some(measured) = edit(agent::built(), edits, projects) else {
        return report.text("Chromium is not on this machine, or could not be driven; standard error says why.");
    };
    report.text(&format!(
        "`preview-agent dev` on a project with Vite, a page of it open in headless Chromium, {edits} saves of a component.\n\
         Ours is all until the file is on disk: the save itself (an HTTP call of an editor's, or the folder's watcher), the\n\
         backend, its event, and the agent. The rest is Vite's and the browser's."
    ));
    let mut table = Table::new(&["project", "on disk, p50", "visible, p50", "visible, p99", "ours"]);
    let parent = bench.options.parent.as_deref().and_then(|parent| edit(parent, edits, projects));
    let runs = |measured: Value, suffix: &'static str| {
        let Value::Array(runs) = measured else { panic!("no list: {measured}") };
        runs.into_iter().map(move |run| (run, suffix))
    };
    for (run, suffix) in runs(measured, "").chain(parent.into_iter().flat_map(|parent| runs(parent, ", parent commit")))
    {
        let times = |which: &str| {
            let times = run["times"].as_array().expect("a list").iter();
            sorted(&times.map(|time| time[which].as_f64().expect("a number") / 1000.0).collect::<Vec<_>>())
        };
        let (disk, page) = (times("disk"), times("page"));
        let share = percentile(&disk, 0.5) / percentile(&page, 0.5) * 100.0;
        table.row(vec![
            format!("{}, {}{suffix}", run["project"].as_str().expect("text"), run["way"].as_str().expect("text")),
            time(percentile(&disk, 0.5)),
            time(percentile(&page, 0.5)),
            time(percentile(&page, 0.99)),
            format!("{share:.0} %"),
        ]);
    }
    report.table(&table);
}

fn edit(binary: &Path, edits: usize, projects: usize) -> Option<Value> {
    install(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser"));
    let mut node = Command::new("node");
    node.arg(clients().join("visible.mjs")).arg(edits.to_string()).arg(projects.to_string());
    let output = node.env("PREVIEW_AGENT", binary).stderr(Stdio::inherit()).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}
