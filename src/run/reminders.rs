use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use sync_core::rules::FileRole;
use sync_core::{OpResult, Outcome, ProjectPath};
use tokio::time::{Instant, sleep_until};

use crate::sync::workspace::Workspace;

/// Vite's watcher takes a second change of a file within 50 ms for an echo of the first, and the page stays stale for
/// good (seen with Vite 8: gaps up to 45 ms were lost, from 55 ms on none was).
const DEAF: Duration = Duration::from_millis(60);
/// The same for the files that Vite restarts for: what changes while it restarts is lost to it.
const RESTARTS: Duration = Duration::from_secs(1);

/// Files that changed twice within the time that a watcher is deaf, to be touched once it hears again.
#[derive(Debug, Default)]
pub(super) struct Reminders {
    /// When each path was last changed; only of the last moment.
    changed: BTreeMap<ProjectPath, Instant>,
    due: BTreeMap<ProjectPath, Instant>,
}

impl Reminders {
    /// Takes in what was just written.
    pub(super) fn note(&mut self, written: &[OpResult]) {
        let now = Instant::now();
        self.changed.retain(|path, at| *at + deaf(path) > now);
        for written in written.iter().filter(|written| matches!(written.outcome, Outcome::Changed { .. })) {
            if self.changed.insert(written.path.clone(), now).is_some() {
                self.due.insert(written.path.clone(), now + deaf(&written.path));
            }
        }
    }

    /// Touches what is due, for ever. Cancel safe.
    pub(super) async fn remind<T>(&mut self, workspace: &Workspace) -> T {
        match self.remind_all(workspace).await {}
    }

    async fn remind_all(&mut self, workspace: &Workspace) -> Infallible {
        while let Some(first) = self.due.values().min().copied() {
            sleep_until(first).await;
            let now = Instant::now();
            for path in self.due.extract_if(.., |_, at| *at <= now).map(|(path, _)| path) {
                workspace.touch(&path);
                // A change like any other to the watcher: it is deaf again.
                self.changed.insert(path, now);
            }
        }
        std::future::pending().await
    }
}

fn deaf(path: &ProjectPath) -> Duration {
    match FileRole::of_name(path.file_name()) {
        FileRole::ViteConfig | FileRole::Environment => RESTARTS,
        _ => DEAF,
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
    async fn only_what_changed_twice_at_once_is_due() {
        let mut reminders = Reminders::default();
        reminders.note(&changed("a"));
        tokio::time::advance(Duration::from_millis(30)).await;
        reminders.note(&changed("b"));
        assert!(reminders.due.is_empty());
        reminders.note(&changed("a"));
        assert_eq!(reminders.due.keys().map(ProjectPath::as_str).collect::<Vec<_>>(), ["a"]);
        tokio::time::advance(Duration::from_millis(61)).await;
        reminders.note(&changed("b"));
        assert_eq!(reminders.due.len(), 1, "b came late enough to be heard");
        reminders.note(&changed("vite.config.ts"));
        tokio::time::advance(Duration::from_millis(500)).await;
        reminders.note(&changed("vite.config.ts"));
        assert_eq!(reminders.due.len(), 2, "Vite may still be restarting");
    }

    #[tokio::test]
    async fn what_changes_right_after_a_reminder_is_due_again() {
        let temp = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&temp.path().join("p"), &temp.path().join("s"), "p").unwrap();
        let mut reminders = Reminders::default();
        reminders.note(&changed("a"));
        reminders.note(&changed("a"));
        let reminded = tokio::time::timeout(DEAF + DEAF / 4, reminders.remind::<()>(&workspace));
        assert!(reminded.await.is_err() && reminders.due.is_empty());
        reminders.note(&changed("a"));
        assert_eq!(reminders.due.len(), 1);
    }

    #[tokio::test]
    async fn a_due_file_gets_a_new_time() {
        let temp = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&temp.path().join("p"), &temp.path().join("s"), "p").unwrap();
        let file = temp.path().join("p/a");
        std::fs::write(&file, "x").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        std::fs::File::open(&file).unwrap().set_modified(old).unwrap();
        let mut reminders = Reminders::default();
        reminders.note(&changed("a"));
        reminders.note(&changed("a"));
        let reminded = tokio::time::timeout(Duration::from_millis(500), reminders.remind::<()>(&workspace));
        assert!(reminded.await.is_err(), "it goes on for ever");
        assert!(file.metadata().unwrap().modified().unwrap() > old);
    }
}
