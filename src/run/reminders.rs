//! Makes Vite notice a file that changes twice in a short time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use sync_core::rules::FileRole;
use sync_core::{OpResult, Outcome, ProjectPath};
use tokio::time::{Instant, sleep_until};

use crate::sync::workspace::Workspace;

/// Vite's watcher ignores a second change of a file within 50 ms of the first one, and the page then stays stale (measured
/// with Vite 8: changes up to 45 ms apart were lost, from 55 ms on none was).
const WATCHER_DEBOUNCE: Duration = Duration::from_millis(60);
/// The same for the files that Vite restarts for: it misses changes while it restarts.
const RESTART_DEBOUNCE: Duration = Duration::from_secs(1);

/// Files that changed twice within the watcher's debounce time. They are touched after it, so that the watcher sees them.
#[derive(Debug, Default)]
pub(super) struct Reminders {
    /// When each path was last changed, within the debounce time.
    changed: BTreeMap<ProjectPath, Instant>,
    /// When each path is to be touched.
    due: BTreeMap<ProjectPath, Instant>,
}

impl Reminders {
    /// Notes what was just written.
    pub(super) fn note(&mut self, written: &[OpResult]) {
        let now = Instant::now();
        self.changed.retain(|path, at| *at + debounce(path) > now);
        for written in written.iter().filter(|written| matches!(written.outcome, Outcome::Changed { .. })) {
            if self.changed.insert(written.path.clone(), now).is_some() {
                self.due.insert(written.path.clone(), now + debounce(&written.path));
            }
        }
    }

    /// Touches each file when it is due, and never returns. Cancel safe.
    pub(super) async fn run<T>(&mut self, workspace: &Workspace) -> T {
        match self.touch_all(workspace).await {}
    }

    async fn touch_all(&mut self, workspace: &Workspace) -> Infallible {
        while let Some(first) = self.due.values().min().copied() {
            sleep_until(first).await;
            let now = Instant::now();
            for path in self.due.extract_if(.., |_, at| *at <= now).map(|(path, _)| path) {
                workspace.touch(&path);
                // To the watcher this is a change too: its debounce time begins again.
                self.changed.insert(path, now);
            }
        }
        std::future::pending().await
    }
}

fn debounce(path: &ProjectPath) -> Duration {
    match FileRole::of_name(path.file_name()) {
        FileRole::ViteConfig | FileRole::Environment => RESTART_DEBOUNCE,
        _ => WATCHER_DEBOUNCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(path: &str) -> Vec<OpResult> {
        let outcome = Outcome::Changed { created: false, bytes: 1 };
        vec![OpResult { path: ProjectPath::parse(path).unwrap(), outcome }]
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_changed_twice_within_the_debounce_is_due() {
        let mut reminders = Reminders::default();
        reminders.note(&changed("a"));
        tokio::time::advance(Duration::from_millis(30)).await;
        reminders.note(&changed("b"));
        assert!(reminders.due.is_empty());
        reminders.note(&changed("a"));
        assert_eq!(reminders.due.keys().map(ProjectPath::as_str).collect::<Vec<_>>(), ["a"]);
        tokio::time::advance(Duration::from_millis(61)).await;
        reminders.note(&changed("b"));
        assert_eq!(reminders.due.len(), 1, "b changed late enough to be seen");
        reminders.note(&changed("vite.config.ts"));
        tokio::time::advance(Duration::from_millis(500)).await;
        reminders.note(&changed("vite.config.ts"));
        assert_eq!(reminders.due.len(), 2, "Vite may still be restarting");
    }

    #[tokio::test]
    async fn a_change_right_after_a_touch_is_due_again() {
        let temp = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&temp.path().join("p"), &temp.path().join("s"), "p", None).unwrap();
        let mut reminders = Reminders::default();
        reminders.note(&changed("a"));
        reminders.note(&changed("a"));
        let reminded = tokio::time::timeout(WATCHER_DEBOUNCE + WATCHER_DEBOUNCE / 4, reminders.run::<()>(&workspace));
        assert!(reminded.await.is_err() && reminders.due.is_empty());
        reminders.note(&changed("a"));
        assert_eq!(reminders.due.len(), 1);
    }

    #[tokio::test]
    async fn a_due_file_gets_a_new_time() {
        let temp = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&temp.path().join("p"), &temp.path().join("s"), "p", None).unwrap();
        let file = temp.path().join("p/a");
        std::fs::write(&file, "x").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        std::fs::File::open(&file).unwrap().set_modified(old).unwrap();
        let mut reminders = Reminders::default();
        reminders.note(&changed("a"));
        reminders.note(&changed("a"));
        let reminded = tokio::time::timeout(Duration::from_millis(500), reminders.run::<()>(&workspace));
        assert!(reminded.await.is_err(), "it never returns");
        assert!(file.metadata().unwrap().modified().unwrap() > old);
    }
}
