//! The summary of several seeds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::PATHS;

/// The summary of one seed, or of several.
#[derive(Default)]
pub struct Summary {
    pub seeds: u64,
    pub commits: Vec<u64>,
    pub kinds: Vec<u64>,
    pub foreign: u64,
    pub settings: BTreeMap<&'static str, u64>,
    pub injected: BTreeMap<&'static str, u64>,
    pub counts: BTreeMap<&'static str, u64>,
    /// From the end of the faults to equal.
    pub times: Vec<Duration>,
}

impl Summary {
    pub fn add(&mut self, other: Summary) {
        self.seeds += other.seeds;
        self.foreign += other.foreign;
        self.commits.extend(other.commits);
        self.kinds.extend(other.kinds);
        self.times.extend(other.times);
        for (mine, theirs) in [
            (&mut self.settings, other.settings),
            (&mut self.injected, other.injected),
            (&mut self.counts, other.counts),
        ] {
            theirs.into_iter().for_each(|(what, count)| *mine.entry(what).or_default() += count);
        }
    }

    pub fn print(&mut self) {
        self.times.sort();
        let at = |percent: usize| self.times.get(self.times.len() * percent / 100).copied().unwrap_or_default();
        let (least, all) = (self.commits.iter().min().unwrap_or(&0), self.commits.iter().sum::<u64>());
        println!("{} seeds, {all} transactions (at least {least} a seed) over {} paths", self.seeds, PATHS.len());
        let least = self.kinds.iter().min().unwrap_or(&0);
        println!("foreign files untouched: {}; kinds of fault a seed: at least {least}", self.foreign);
        println!("seeds with: {:?}", self.settings);
        println!("faults: {:?}", self.injected);
        println!("besides: {:?}", self.counts);
        println!(
            "from the end of the faults to equal, {} times: median {:?}, p90 {:?}, max {:?}",
            self.times.len(),
            at(50),
            at(90),
            self.times.last()
        );
    }
}
