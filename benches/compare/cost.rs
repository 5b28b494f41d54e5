//! What the agent needs of its machine.

mod calls;
mod load;
mod memory;

use std::path::PathBuf;
use std::process::Command;

use crate::bench::Bench;
use crate::flow::{AGENT, NODE};
use crate::goals::Goal;
use crate::report::{Report, Table, megabytes, time};
use crate::stats::median;

pub fn measure(bench: &Bench, report: &mut Report) {
    let binary = container_binary(bench);
    let size = binary.as_ref().map(|binary| std::fs::metadata(binary).expect("it was built").len() as f64);
    let binary = binary.unwrap_or_else(|| crate::agent::built().into());
    let (mut idle, mut hydrating) = (Vec::new(), Vec::new());
    let (mut ours, mut node) = (Vec::new(), Vec::new());
    let large = memory::Large::new(bench);
    for round in 0..bench.options.rounds {
        bench.say(&format!("round {round}: memory and load"));
        idle.push(memory::idle(bench, &binary));
        hydrating.push(large.hydrating(&binary));
        ours.push(load::of(bench, AGENT));
        if bench.tools.lacks(&["node", "npm"]).is_none() {
            node.push(load::of(bench, NODE));
        }
    }
    let resident = |runs: &[memory::Resident]| memory::Resident {
        all: median(&runs.iter().map(|run| run.all).collect::<Vec<_>>()),
        own: median(&runs.iter().map(|run| run.own).collect::<Vec<_>>()),
    };
    let idle = resident(&idle);
    report.heading("Cost");
    let mut table = Table::new(&["", AGENT, NODE]);
    let load = |runs: &[load::Load], part: fn(&load::Load) -> f64, shown: fn(f64) -> String| match runs {
        [] => "node or npm is not on this machine".to_owned(),
        runs => shown(median(&runs.iter().map(part).collect::<Vec<_>>())),
    };
    let said =
        |resident: &memory::Resident| format!("{}, {} of it its own", megabytes(resident.all), megabytes(resident.own));
    table.row(vec!["memory, idle in a joined channel".into(), said(&idle), load(&node, |load| load.idle, megabytes)]);
    table.row(vec![format!("peak memory, hydrating {}", large.name()), megabytes(median(&hydrating)), String::new()]);
    let peak: fn(&load::Load) -> f64 = |load| load.peak;
    table.row(vec![
        "peak memory, at 1,000 events a second".into(),
        load(&ours, peak, megabytes),
        load(&node, peak, megabytes),
    ]);
    let cpu: fn(&load::Load) -> f64 = |load| load.cpu;
    table.row(vec!["processor time of 1,000 events".into(), load(&ours, cpu, time), load(&node, cpu, time)]);
    let shown = size.map_or("not built".into(), megabytes);
    table.row(vec!["the container's binary".into(), shown, String::new()]);
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
