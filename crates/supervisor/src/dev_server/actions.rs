use std::path::Path;

use sync_core::ProjectPath;
use sync_core::rules::FileRole;

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

/// What a change of `path` requires. Only the app's directory and those above it count. `app_dir` is relative to the
/// project, `None` where it is not known; `vite`: Vite runs directly.
pub(super) fn action(path: &ProjectPath, app_dir: Option<&Path>, vite: bool) -> Action {
    let dir = Path::new(path.parent().unwrap_or(""));
    if app_dir.is_some_and(|app_dir| !app_dir.starts_with(dir)) {
        return Nothing;
    }
    match FileRole::of_name(path.file_name()) {
        FileRole::PackageManifest | FileRole::LockFile => Install,
        FileRole::PluginConfig => Restart,
        // Vite restarts itself; any other command read these at its start.
        FileRole::ViteConfig | FileRole::Environment | FileRole::ToolConfig if vite => Nothing,
        FileRole::ViteConfig | FileRole::Environment | FileRole::ToolConfig => Restart,
        FileRole::TypeScriptConfig | FileRole::IndexHtml | FileRole::Ordinary => Nothing,
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
