use serde::{Deserialize, Serialize};

/// How often a fault strikes: the next so many times for certain, then with a probability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chance {
    /// So many times from now on without fail.
    pub next: u64,
    /// 0 to 1, once `next` is used up.
    pub probability: f64,
}

impl Chance {
    /// It does not strike.
    pub const NEVER: Chance = Chance { next: 0, probability: 0.0 };
    /// It strikes each time.
    pub const ALWAYS: Chance = Chance { next: 0, probability: 1.0 };

    /// It strikes the next `count` times.
    pub fn next(count: u64) -> Chance {
        Chance { next: count, probability: 0.0 }
    }

    /// It strikes with probability `p`, from 0 to 1.
    pub fn of(p: f64) -> Chance {
        Chance { next: 0, probability: p }
    }

    /// Whether it strikes now.
    pub(crate) fn strikes(&mut self, random: &mut Random) -> bool {
        if self.next > 0 {
            self.next -= 1;
            return true;
        }
        self.probability > 0.0 && random.unit() < self.probability
    }
}

/// The same faults for the same seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
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
    fn strikes_as_often_as_it_says() {
        let mut random = Random(7);
        let mut count = |mut chance: Chance| (0..1000).filter(|_| chance.strikes(&mut random)).count();
        assert_eq!(count(Chance::NEVER), 0);
        assert_eq!(count(Chance::ALWAYS), 1000);
        assert_eq!(count(Chance::next(3)), 3);
        assert!((200..400).contains(&count(Chance::of(0.3))));
    }
}
