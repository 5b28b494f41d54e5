//! Hydration and event-to-disk of the real binary, side by side and interleaved with what people would use instead.
//!
//! `cargo bench --bench compare` runs everything; `-- hydrate` or `-- events` one of them, `--rounds N` as often.
//! It needs node, npm, curl and bsdtar. Medians and ratios are what counts: absolute times are the machine's.

mod support;

use support::{events, hydrate};

const ROUNDS: usize = 5;

fn main() {
    let mut rounds = ROUNDS;
    let mut wanted = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--rounds" => rounds = args.next().and_then(|n| n.parse().ok()).expect("--rounds takes a number"),
            "hydrate" | "events" => wanted.push(arg),
            _ => panic!("unknown argument {arg:?}; try hydrate, events, --rounds N"),
        }
    }
    let wants = |what: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == what);
    support::install_node_client();
    if wants("hydrate") {
        hydrate::compare(rounds);
    }
    if wants("events") {
        events::compare(rounds);
    }
}
