use std::time::Duration;

/// Monotonic time since the agent started. The shell measures it; the core only compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub Duration);

impl Time {
    /// This time, `later` on.
    pub fn after(self, later: Duration) -> Time {
        Time(self.0.saturating_add(later))
    }

    /// How long ago `earlier` was, zero where it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
