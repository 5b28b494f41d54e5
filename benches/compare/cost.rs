//! What the agent needs of its machine.

mod calls;
mod load;
mod memory;

use std::path::PathBuf;
use std::process::Command;

use crate::agent;
use crate::bench::Bench;
use crate::flow::{AGENT, NODE, PARENT};
use crate::goals::Goal;
use crate::report::{Report, Table, megabytes, time};
use crate::stats::median;

/// The same of the parent commit's agent.
#[derive(Default)]
struct Parent {
    idle: Vec<memory::Resident>,
    hydrating: Vec<f64>,
    load: Vec<load::Load>,
}

pub fn measure(bench: &Bench, report: &mut Report) {
    let binary = container_binary(bench);
    let size = binary.as_ref().map(|binary| std::fs::metadata(binary).expect("it was built").len() as f64);
    let binary = binary.unwrap_or_else(|| agent::built().into());
    let (mut idle, mut hydrating) = (Vec::new(), Vec::new());
    let (mut ours, mut parents, mut node) = (Vec::new(), Parent::default(), Vec::new());
    let large = memory::Large::new(bench);
    for round in 0..bench.options.rounds {
        bench.say(&format!("round {round}: memory and load"));
        idle.push(memory::idle(bench, &binary));
        hydrating.push(large.hydrating(&binary));
        ours.push(load::of(bench, AGENT));
        if bench.options.parent.is_some() {
            parents.idle.push(memory::idle(bench, agent::parent()));
            parents.hydrating.push(large.hydrating(agent::parent()));
            parents.load.push(load::of(bench, PARENT));
        }
        if bench.tools.lacks(&["node", "npm"]).is_none() {
            node.push(load::of(bench, NODE));
        }
    }
    let resident = |runs: &[memory::Resident]| memory::Resident {
        all: median(&runs.iter().map(|run| run.all).collect::<Vec<_>>()),
        own: median(&runs.iter().map(|run| run.own).collect::<Vec<_>>()),
    };
    let idle = resident(&idle);
    let has_parent = !parents.idle.is_empty();
    report.heading("Cost");
    let columns = ["", AGENT, NODE].into_iter().chain(has_parent.then_some(PARENT));
    let mut table = Table::new(&columns.collect::<Vec<_>>());
    let load = |runs: &[load::Load], part: fn(&load::Load) -> f64, shown: fn(f64) -> String| match runs {
        [] => "node or npm is not on this machine".to_owned(),
        runs => shown(median(&runs.iter().map(part).collect::<Vec<_>>())),
    };
    let said =
        |resident: &memory::Resident| format!("{}, {} of it its own", megabytes(resident.all), megabytes(resident.own));
    let mut row = |what: String, ours: String, node: String, parent: &dyn Fn() -> String| {
        table.row([what, ours, node].into_iter().chain(has_parent.then(parent)).collect());
    };
    let node_idle = load(&node, |load| load.idle, megabytes);
    row("memory, idle in a joined channel".into(), said(&idle), node_idle, &|| said(&resident(&parents.idle)));
    let what = format!("peak memory, hydrating {}", large.name());
    row(what, megabytes(median(&hydrating)), String::new(), &|| megabytes(median(&parents.hydrating)));
    let mut both = |what: &str, part: fn(&load::Load) -> f64, shown: fn(f64) -> String| {
        row(what.into(), load(&ours, part, shown), load(&node, part, shown), &|| load(&parents.load, part, shown));
    };
    both("peak memory, at 1,000 events a second", |load| load.peak, megabytes);
    both("processor time of 1,000 events", |load| load.cpu, time);
    let shown = size.map_or("not built".into(), megabytes);
    let length = || std::fs::metadata(agent::parent()).expect("it was started").len() as f64;
    row("the container's binary".into(), shown, String::new(), &|| megabytes(length()));
    report.text(
        "Memory is what is resident, the binary's own pages in it; idle and hydrating are the container's binary, after a\n\
         snapshot of 30 files. Events are 4 KB each, at 1,000 a second.",
    );
    report.table(&table);
    calls::measure(bench, report);
    report.goal(Goal::at_most("memory, idle", 8.0, Some(idle.all / 1e6), " MB"));
    report.goal(Goal::at_most("the container's binary", 7.0, size.map(|size| size / 1e6), " MB"));
}

/// `cargo static`, which takes minutes where it has to build. Not where nothing is to be measured.
fn container_binary(bench: &Bench) -> Option<PathBuf> {
    if bench.options.quick {
        return None;
    }
    bench.say("cargo static");
    let top = env!("CARGO_MANIFEST_DIR");
    let mut cargo = Command::new("cargo");
    cargo.args(["static", "--quiet"]).current_dir(top).env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let built = cargo.status().is_ok_and(|status| status.success());
    let host = Command::new("rustc").arg("-vV").output().ok()?.stdout;
    let host = String::from_utf8(host).ok()?.lines().find_map(|line| Some(line.strip_prefix("host: ")?.to_owned()))?;
    // Where cargo puts what it builds for a target that is named: beside the profile that this runs from.
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let binary = target.join(host).join("release/preview-agent");
    (built && binary.exists()).then_some(binary)
}
