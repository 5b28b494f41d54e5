//! Memory and processor time while events come at 1,000 a second.

use crate::bench::Bench;
use crate::flow::{self, Flow};
use crate::measured;

pub struct Load {
    /// Resident before the first event, in bytes.
    pub idle: f64,
    /// The most that ever was resident, in bytes.
    pub peak: f64,
    /// Seconds of processor for 1,000 events.
    pub cpu: f64,
}

/// Events in a second.
const RATE: usize = 1000;

/// Of the follower of this name.
pub fn of(bench: &Bench, name: &str) -> Load {
    let mut flow = Flow::start(flow::named(name));
    let pid = flow.pid().expect("a process");
    let events = bench.size(3000, 100);
    let (idle, before) = (measured::resident_of(pid), measured::cpu_of(pid));
    flow.send_steadily(RATE, events);
    flow.wait();
    let cpu = (measured::cpu_of(pid) - before) * 1000.0 / events as f64;
    let peak = measured::peak_of(pid);
    flow.stop();
    Load { idle, peak, cpu }
}
