use std::collections::HashMap;

use jiff::Timestamp;

use crate::store_error::StoreError;

/// Most tokens of a bucket (`rate_burst` of the database's settings).
const BURST: f64 = 100.0;
/// Tokens added each second (`rate_per_second`).
const PER_SECOND: f64 = 20.0;
/// Entries of a bulk that cost one token.
const ENTRIES_PER_TOKEN: usize = 200;
/// Most tokens of one bulk; larger bulks are refused for their size.
const MAX_COST: usize = 50;

/// The rate limit of the write functions: a token bucket for each user.
#[derive(Debug, Clone, Default)]
pub struct RateLimit(HashMap<String, Bucket>);

#[derive(Debug, Clone)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl RateLimit {
    /// The tokens that a write of this many entries costs.
    pub fn cost(entries: usize) -> f64 {
        entries.div_ceil(ENTRIES_PER_TOKEN).clamp(1, MAX_COST) as f64
    }

    /// Refuses a write for which the user has too few tokens. Only [`RateLimit::spend`] takes them, so refused writes are free.
    pub fn check(&self, user: &str, cost: f64, now: Timestamp) -> Result<(), StoreError> {
        let lacking = cost - self.tokens(user, now);
        match lacking > 0.0 {
            true => Err(StoreError::TooManyWrites { retry_after_ms: (lacking / PER_SECOND * 1000.0).ceil() as u64 }),
            false => Ok(()),
        }
    }

    /// Takes the tokens of a write.
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
    fn an_empty_bucket_refills() {
        let (mut buckets, start) = (RateLimit::default(), Timestamp::UNIX_EPOCH);
        for _ in 0..100 {
            assert_eq!(buckets.check("one", 1.0, start), Ok(()));
            buckets.spend("one", 1.0, start);
        }
        assert_eq!(buckets.check("one", 1.0, start), Err(StoreError::TooManyWrites { retry_after_ms: 50 }));
        assert_eq!(buckets.check("one", 50.0, start), Err(StoreError::TooManyWrites { retry_after_ms: 2500 }));
        assert_eq!(buckets.check("other", 1.0, start), Ok(()));
        let later = start + jiff::SignedDuration::from_millis(50);
        assert_eq!(buckets.check("one", 1.0, later), Ok(()));
        let much_later = start + jiff::SignedDuration::from_hours(1);
        assert_eq!(buckets.check("one", 101.0, much_later), Err(StoreError::TooManyWrites { retry_after_ms: 50 }));
    }

    #[test]
    fn a_bulk_costs_one_token_for_200_entries() {
        assert_eq!([0, 1, 200, 201, 10_000, 1_000_000].map(RateLimit::cost), [1.0, 1.0, 1.0, 2.0, 50.0, 50.0]);
    }
}
