//! Everything that the agent is measured by, side by side with what people would use instead, in one run.
//!
//! `cargo bench --bench compare` measures everything and prints the Markdown of `docs/performance.md`; `-- --help` names
//! the options. Medians and ratios are what counts: absolute times are the machine's.
#![allow(clippy::disallowed_methods, reason = "a benchmark starts the programs that it compares")]

mod agent;
mod archive;
mod bench;
mod boot;
mod content;
mod cost;
mod events;
mod flow;
mod goals;
mod growth;
mod hydrate;
mod machine;
mod measured;
mod options;
mod recovery;
mod report;
mod scratch;
mod served;
mod server;
mod stats;
mod tools;
mod visible;

use std::process::ExitCode;
use std::time::Instant;

use bench::Bench;
use options::{Family, Options, Wanted};
use report::Report;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(Wanted::Measure(options)) => measure(options),
        Ok(Wanted::Help) => {
            println!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Wanted::Child(command)) => measured::child(&command),
        Ok(Wanted::Hydrate { url, dir, limit }) => hydrate::raised::child(&url, &dir, limit),
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::from(64)
        }
    }
}

fn measure(options: Options) -> ExitCode {
    let out = options.out.clone();
    let bench = Bench::new(options);
    let mut report = Report::new(&bench);
    for family in Family::ALL.into_iter().filter(|family| bench.options.families.contains(family)) {
        let started = Instant::now();
        eprintln!("== {}", family.name());
        match family {
            Family::Hydrate => hydrate::measure(&bench, &mut report),
            Family::Events => events::measure(&bench, &mut report),
            Family::Visible => visible::measure(&bench, &mut report),
            Family::Boot => boot::measure(&bench, &mut report),
            Family::Recovery => recovery::measure(&bench, &mut report),
            Family::Cost => cost::measure(&bench, &mut report),
            Family::Growth => growth::measure(&bench, &mut report),
        }
        eprintln!("== {} took {} s", family.name(), started.elapsed().as_secs());
    }
    let markdown = report.markdown();
    print!("{markdown}");
    match out.map(|file| report::write(&file, &markdown)) {
        Some(Err(error)) => {
            eprintln!("compare: {error}");
            ExitCode::from(74)
        }
        _ => ExitCode::SUCCESS,
    }
}
