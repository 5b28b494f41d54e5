use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Silence after which finished files are read: a save is several events within a millisecond or two.
const QUIET: Duration = Duration::from_millis(10);
/// Silence that is waited for while something is unfinished: editors take a file away and put it back, and a file
/// written in place is torn until it is closed.
const PATIENT: Duration = Duration::from_millis(100);
/// The longest that a path waits while others keep changing.
const LONGEST: Duration = Duration::from_millis(500);

/// Whether a path can be read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// What stands there is whole.
    Finished,
    /// It is still being written, or it has just gone and may come back.
    Unfinished,
}

/// The paths that changed, held until the dance around them is over.
#[derive(Debug, Default)]
pub struct Settling {
    paths: BTreeSet<String>,
    unfinished: BTreeSet<String>,
    /// When the first path was touched, and the last.
    held: Option<(Instant, Instant)>,
}

impl Settling {
    /// Something happened to `path` at `now`.
    pub fn touch(&mut self, path: &str, touch: Touch, now: Instant) {
        match touch {
            Touch::Finished => self.unfinished.remove(path),
            Touch::Unfinished => self.unfinished.insert(path.into()),
        };
        self.paths.insert(path.into());
        let first = self.held.map_or(now, |(first, _)| first);
        self.held = Some((first, now));
    }

    /// When [`Settling::take`] is due.
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = self.held?;
        let quiet = if self.unfinished.is_empty() { QUIET } else { PATIENT };
        Some((last + quiet).min(first + LONGEST))
    }

    /// The paths to look at now.
    pub fn take(&mut self) -> BTreeSet<String> {
        self.unfinished.clear();
        self.held = None;
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
        assert_eq!(settling.due(), Some(start + PATIENT));
        settling.touch("a", Touch::Finished, start + QUIET);
        assert_eq!(settling.due(), Some(start + QUIET + QUIET));
        assert_eq!(settling.take(), BTreeSet::from(["a".to_string()]));
        assert_eq!(settling.due(), None);
    }

    #[test]
    fn what_never_rests_is_looked_at_all_the_same() {
        let start = Instant::now();
        let mut settling = Settling::default();
        for step in 0..100 {
            settling.touch("log", Touch::Unfinished, start + step * QUIET);
        }
        assert_eq!(settling.due(), Some(start + LONGEST));
    }
}
