//! From the sender's send to an open that shows the new bytes, no fsync: one event at a time, 4 KB of text each.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use local_backend::{Backend, FileContent, Options};

use super::agent::Agent;
use super::{median, node_client, percentile, row, sorted};

const EVENTS: usize = 300;
const SIZE: usize = 4096;
const PATH: &str = "src/App.tsx";
/// Between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_micros(20);
const DEADLINE: Duration = Duration::from_secs(30);

pub fn compare(rounds: usize) {
    println!("\nevent to disk: {EVENTS} events of {SIZE} bytes, one at a time; medians of {rounds} rounds");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (mut ours, mut node) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let measured = (measure(&runtime, by_agent), measure(&runtime, by_node));
        if round > 0 {
            ours.push(measured.0);
            node.push(measured.1);
        }
    }
    let figures = |runs: &[Vec<f64>]| {
        let of = |share| median(&runs.iter().map(|run| percentile(run, share)).collect::<Vec<_>>());
        [of(0.5), of(0.99), of(1.0)]
    };
    let (ours, node) = (figures(&ours), figures(&node));
    println!("{:<28} {:>12} {:>12} {:>12}   p50", "", "p50", "p99", "max");
    row("preview-agent", &ours, "ms", 1.0);
    row("node, supabase-js", &node, "ms", node[0] / ours[0]);
}

type Start = fn(&Path, &Backend) -> Child;

fn measure(runtime: &tokio::runtime::Runtime, start: Start) -> Vec<f64> {
    let temp = super::scratch();
    let backend = runtime.block_on(Backend::start(Options::default())).expect("a backend");
    let store = backend.store();
    let mut client = start(temp.path(), &backend);
    let file = temp.path().join("project").join(PATH);
    let mut times = Vec::new();
    for event in 0..EVENTS {
        let text = format!("{event:0>width$}", width = SIZE);
        let sent = Instant::now();
        store.upsert(PATH, FileContent::Text(text.clone()), None, "bench").expect("a save");
        while !std::fs::read(&file).is_ok_and(|bytes| bytes == text.as_bytes()) {
            assert!(sent.elapsed() < DEADLINE, "event {event} never arrived");
            std::thread::sleep(LOOK_EVERY);
        }
        times.push(sent.elapsed().as_secs_f64() * 1000.0);
    }
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    runtime.block_on(backend.stop());
    sorted(&times)
}

fn by_agent(dir: &Path, backend: &Backend) -> Child {
    let mut agent = Agent::start(dir, &backend.session().env());
    agent.wait_for("channel_joined");
    agent.wait_for("catch_up");
    agent.drain()
}

fn by_node(dir: &Path, backend: &Backend) -> Child {
    let mut child = Command::new("node")
        .arg(node_client().join("follow.mjs"))
        .arg(dir.join("project"))
        .envs(backend.session().env())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
    assert_eq!(line.trim(), "joined");
    child
}
