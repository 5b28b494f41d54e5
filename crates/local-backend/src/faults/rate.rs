use serde::{Deserialize, Serialize};

/// How often a fault happens: certainly for the next `next` times, then with a probability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRate {
    /// The number of times, from now on, that the fault happens for certain.
    pub next: u64,
    /// The probability once `next` is used up, 0 to 1.
    pub probability: f64,
}

impl FaultRate {
    /// The fault does not happen.
    pub const NEVER: FaultRate = FaultRate { next: 0, probability: 0.0 };
    /// The fault happens each time.
    pub const ALWAYS: FaultRate = FaultRate { next: 0, probability: 1.0 };

    /// The fault happens the next `count` times.
    pub fn next(count: u64) -> FaultRate {
        FaultRate { next: count, probability: 0.0 }
    }

    /// The fault happens with this probability, 0 to 1.
    pub fn with_probability(probability: f64) -> FaultRate {
        FaultRate { next: 0, probability }
    }

    /// Whether the fault happens now.
    pub(crate) fn happens(&mut self, random: &mut Random) -> bool {
        if let Some(left) = self.next.checked_sub(1) {
            self.next = left;
            return true;
        }
        self.probability > 0.0 && random.unit() < self.probability
    }
}

/// A random generator that gives the same sequence for the same seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_as_often_as_its_rate_says() {
        let mut random = Random(7);
        let mut count = |mut rate: FaultRate| (0..1000).filter(|_| rate.happens(&mut random)).count();
        assert_eq!(count(FaultRate::NEVER), 0);
        assert_eq!(count(FaultRate::ALWAYS), 1000);
        assert_eq!(count(FaultRate::next(3)), 3);
        assert!((200..400).contains(&count(FaultRate::with_probability(0.3))));
    }
}
