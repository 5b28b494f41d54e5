//! Waits until an editor has finished a save.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The time without an event after which finished files are read: a save is several events within 1 or 2 ms.
const QUIET: Duration = Duration::from_millis(10);
/// The same while a file is unfinished: editors remove a file and create it again, and a file that is written in place is
/// incomplete until it is closed.
const QUIET_UNFINISHED: Duration = Duration::from_millis(100);
/// The longest time that a path waits while others keep changing.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Whether a path can be read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// The file is complete.
    Finished,
    /// The file is still being written, or was just removed and may come back.
    Unfinished,
}

/// The paths that changed, collected until nothing more happens to them.
#[derive(Debug, Default)]
pub struct Settling {
    paths: BTreeSet<String>,
    unfinished: BTreeSet<String>,
    /// None while no path is waiting.
    touched: Option<TouchTimes>,
}

/// When paths were touched.
#[derive(Debug, Clone, Copy)]
struct TouchTimes {
    first: Instant,
    last: Instant,
}

impl Settling {
    /// Something happened to `path` at `now`.
    pub fn touch(&mut self, path: &str, touch: Touch, now: Instant) {
        match touch {
            Touch::Finished => self.unfinished.remove(path),
            Touch::Unfinished => self.unfinished.insert(path.into()),
        };
        self.paths.insert(path.into());
        let first = self.touched.map_or(now, |times| times.first);
        self.touched = Some(TouchTimes { first, last: now });
    }

    /// When [`Settling::take`] is due.
    pub fn due(&self) -> Option<Instant> {
        let TouchTimes { first, last } = self.touched?;
        let quiet = if self.unfinished.is_empty() { QUIET } else { QUIET_UNFINISHED };
        Some((last + quiet).min(first + MAX_WAIT))
    }

    /// The paths to read now.
    pub fn take(&mut self) -> BTreeSet<String> {
        self.unfinished.clear();
        self.touched = None;
        std::mem::take(&mut self.paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_save_is_due_at_once_and_a_vanished_file_after_a_while() {
        let start = Instant::now();
        let mut settling = Settling::default();
        assert_eq!(settling.due(), None);
        settling.touch("a", Touch::Unfinished, start);
        assert_eq!(settling.due(), Some(start + QUIET_UNFINISHED));
        settling.touch("a", Touch::Finished, start + QUIET);
        assert_eq!(settling.due(), Some(start + QUIET + QUIET));
        assert_eq!(settling.take(), BTreeSet::from(["a".to_string()]));
        assert_eq!(settling.due(), None);
    }

    #[test]
    fn a_path_that_keeps_changing_is_read_after_the_longest_wait() {
        let start = Instant::now();
        let mut settling = Settling::default();
        for step in 0..100 {
            settling.touch("log", Touch::Unfinished, start + step * QUIET);
        }
        assert_eq!(settling.due(), Some(start + MAX_WAIT));
    }
}
