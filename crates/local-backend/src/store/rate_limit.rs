use std::collections::HashMap;

use jiff::Timestamp;

use crate::store_error::StoreError;

/// Tokens that a full bucket holds, as the database's settings have it.
const BURST: f64 = 100.0;
/// Tokens that flow in, a second.
const PER_SECOND: f64 = 20.0;
/// Entries of a bulk that cost one token.
const ENTRIES_PER_TOKEN: usize = 200;
/// The cost of the largest bulk: larger ones are refused for their size.
const MAX_COST: usize = 50;

/// The rate limit of writes by function: one bucket of tokens for each user.
#[derive(Debug, Default)]
pub struct Buckets(HashMap<String, Bucket>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Buckets {
    /// The price of a write of so many entries.
    pub fn cost(entries: usize) -> f64 {
        entries.div_ceil(ENTRIES_PER_TOKEN).clamp(1, MAX_COST) as f64
    }

    /// Refuses a write that the user's tokens do not pay for. It costs nothing before [`Buckets::spend`]: what is
    /// refused, for whatever reason, is free.
    pub fn check(&self, user: &str, cost: f64, now: Timestamp) -> Result<(), StoreError> {
        let lacking = cost - self.tokens(user, now);
        match lacking > 0.0 {
            true => Err(StoreError::TooMany { retry_after_ms: (lacking / PER_SECOND * 1000.0).ceil() as u64 }),
            false => Ok(()),
        }
    }

    /// Takes the price of a write that was made.
    pub fn spend(&mut self, user: &str, cost: f64, now: Timestamp) {
        let tokens = self.tokens(user, now) - cost;
        self.0.insert(user.into(), Bucket { tokens, at: now });
    }

    fn tokens(&self, user: &str, now: Timestamp) -> f64 {
        let Some(bucket) = self.0.get(user) else { return BURST };
        let seconds = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        (bucket.tokens + seconds * PER_SECOND).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_bucket_fills_again() {
        let (mut buckets, start) = (Buckets::default(), Timestamp::UNIX_EPOCH);
        for _ in 0..100 {
            assert_eq!(buckets.check("one", 1.0, start), Ok(()));
            buckets.spend("one", 1.0, start);
        }
        assert_eq!(buckets.check("one", 1.0, start), Err(StoreError::TooMany { retry_after_ms: 50 }));
        assert_eq!(buckets.check("one", 50.0, start), Err(StoreError::TooMany { retry_after_ms: 2500 }));
        assert_eq!(buckets.check("other", 1.0, start), Ok(()));
        let later = start + jiff::SignedDuration::from_millis(50);
        assert_eq!(buckets.check("one", 1.0, later), Ok(()));
        let much_later = start + jiff::SignedDuration::from_hours(1);
        assert_eq!(buckets.check("one", 101.0, much_later), Err(StoreError::TooMany { retry_after_ms: 50 }));
    }

    #[test]
    fn a_bulk_costs_by_its_size() {
        assert_eq!([0, 1, 200, 201, 10_000, 1_000_000].map(Buckets::cost), [1.0, 1.0, 1.0, 2.0, 50.0, 50.0]);
    }
}
