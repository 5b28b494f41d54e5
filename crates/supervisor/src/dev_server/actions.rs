use std::path::Path;

use sync_core::ProjectPath;

/// What a changed path asks of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The dev server sees it by itself.
    Nothing,
    /// It has to be started anew.
    Restart,
    /// The dependencies may have changed (their key tells), and the command.
    Install,
}

use Action::{Install, Nothing, Restart};

/// What several changed paths ask for together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) restart: bool,
    pub(super) install: bool,
}

impl Work {
    pub(super) fn add(self, action: Action) -> Work {
        Work { restart: self.restart || action == Restart, install: self.install || action == Install }
    }

    pub(super) fn and(self, other: Work) -> Work {
        Work { restart: self.restart || other.restart, install: self.install || other.install }
    }
}

/// File name patterns (`*` stands for anything), with what they ask for where Vite runs directly, and elsewhere. They
/// count in the app's directory and those above it; what is not named asks for nothing.
const TABLE: [(&[&str], Action, Action); 5] = [
    (&["package.json"], Install, Install),
    (&zip_stream::LOCK_FILES, Install, Install),
    // Vite restarts by itself.
    (&["vite.config.*", ".env", ".env.*"], Nothing, Restart),
    // Read once, by Vite or by a plugin.
    (&["postcss.config.*", ".postcssrc", ".postcssrc.*", "babel.config.*", ".babelrc", ".babelrc.*"], Restart, Restart),
    // Whatever the project's own script runs, it read these when it started.
    (&["*.config.js", "*.config.ts", "*.config.mjs", "*.config.cjs", "*.config.mts", "*.config.cts"], Nothing, Restart),
];

/// What `path` asks for. `app_dir` is relative to the project, none where it is not known; `vite` says that Vite runs
/// directly.
pub(super) fn action(path: &ProjectPath, app_dir: Option<&Path>, vite: bool) -> Action {
    let dir = Path::new(path.parent().unwrap_or(""));
    if app_dir.is_some_and(|app_dir| !app_dir.starts_with(dir)) {
        return Nothing;
    }
    let row = TABLE.iter().find(|(patterns, _, _)| patterns.iter().any(|pattern| matches(pattern, path.file_name())));
    row.map_or(Nothing, |(_, with_vite, elsewhere)| if vite { *with_vite } else { *elsewhere })
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, app_dir: &str, vite: bool) -> Action {
        action(&ProjectPath::parse(path).expect("a good path"), Some(Path::new(app_dir)), vite)
    }

    #[test]
    fn vite_sees_sources_and_its_own_configuration() {
        for path in ["src/App.tsx", "index.html", "vite.config.ts", ".env", ".env.local", "tailwind.config.js"] {
            assert_eq!(of(path, "", true), Nothing, "{path}");
        }
        assert_eq!(of("postcss.config.js", "", true), Restart);
    }

    #[test]
    fn another_command_is_started_anew_for_its_configuration() {
        for path in [".env", "vite.config.ts", "next.config.mjs"] {
            assert_eq!(of(path, "", false), Restart, "{path}");
        }
        assert_eq!(of("src/server.js", "", false), Nothing);
    }

    #[test]
    fn package_files_mean_install_where_the_app_can_see_them() {
        for path in ["package.json", "pnpm-lock.yaml", "frontend/package.json", "frontend/bun.lock"] {
            assert_eq!(of(path, "frontend", true), Install, "{path}");
        }
        for path in ["backend/package.json", "frontend/src/package.json", "frontendx/yarn.lock"] {
            assert_eq!(of(path, "frontend", true), Nothing, "{path}");
        }
    }

    #[test]
    fn without_a_known_app_every_place_counts() {
        let path = ProjectPath::parse("some/where/package.json").expect("a good path");
        assert_eq!(action(&path, None, true), Install);
    }
}
