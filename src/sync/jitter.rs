//! The random generator for waits.

use std::hash::{BuildHasher, RandomState};

use sync_core::Rng;

/// A generator whose numbers differ on each machine and at each call, so that a fleet does not come back all at once. Not
/// for secrets.
pub fn generator() -> Rng {
    Rng::new(seed())
}

/// A number that differs on each machine and at each call.
pub fn seed() -> u64 {
    RandomState::new().hash_one(0)
}
