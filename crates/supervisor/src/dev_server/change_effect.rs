use std::path::Path;

use sync_core::ProjectPath;
use sync_core::rules::FileRole;

use super::plan::ServerKind;

/// What a changed file requires of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeEffect {
    /// Nothing: the dev server sees the change by itself.
    Nothing,
    /// The dev server has to be restarted.
    Restart,
    /// The dependencies (their key tells) and the command may have changed.
    Install,
}

use ChangeEffect::{Install, Nothing, Restart};

/// What several changed files require together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ChangeEffects {
    pub(super) restart: bool,
    pub(super) install: bool,
}

impl ChangeEffects {
    pub(super) fn with(self, effect: ChangeEffect) -> ChangeEffects {
        ChangeEffects { restart: self.restart || effect == Restart, install: self.install || effect == Install }
    }

    pub(super) fn merged(self, other: ChangeEffects) -> ChangeEffects {
        ChangeEffects { restart: self.restart || other.restart, install: self.install || other.install }
    }
}

/// What a change of `path` requires. Only files in the app's directory and the directories above it count. `app_dir` is
/// relative to the project; none where it is not known, and then every directory counts.
pub(super) fn change_effect(path: &ProjectPath, app_dir: Option<&Path>, kind: ServerKind) -> ChangeEffect {
    let dir = Path::new(path.parent().unwrap_or(""));
    if app_dir.is_some_and(|app_dir| !app_dir.starts_with(dir)) {
        return Nothing;
    }
    match (FileRole::of_name(path.file_name()), kind) {
        (FileRole::PackageManifest | FileRole::LockFile, _) => Install,
        // Vite restarts by itself.
        (FileRole::ViteConfig | FileRole::Environment | FileRole::ToolConfig, ServerKind::Vite) => Nothing,
        // The program behind the project's own script reads these when it starts.
        (FileRole::ViteConfig | FileRole::Environment | FileRole::ToolConfig, ServerKind::Other) => Restart,
        // Read once, by Vite or by a plugin.
        (FileRole::PluginConfig, _) => Restart,
        (FileRole::TypeScriptConfig | FileRole::IndexHtml | FileRole::Ordinary, _) => Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(path: &str, app_dir: &str, kind: ServerKind) -> ChangeEffect {
        change_effect(&ProjectPath::parse(path).expect("a valid path"), Some(Path::new(app_dir)), kind)
    }

    #[test]
    fn vite_handles_sources_and_its_own_configuration() {
        for path in ["src/App.tsx", "index.html", "vite.config.ts", ".env", ".env.local", "tailwind.config.js"] {
            assert_eq!(effect(path, "", ServerKind::Vite), Nothing, "{path}");
        }
        assert_eq!(effect("postcss.config.js", "", ServerKind::Vite), Restart);
    }

    #[test]
    fn other_server_restarts_for_its_configuration() {
        for path in [".env", "vite.config.ts", "next.config.mjs"] {
            assert_eq!(effect(path, "", ServerKind::Other), Restart, "{path}");
        }
        assert_eq!(effect("src/server.js", "", ServerKind::Other), Nothing);
    }

    #[test]
    fn package_files_mean_install_in_the_app_and_above_it() {
        for path in ["package.json", "pnpm-lock.yaml", "frontend/package.json", "frontend/bun.lock"] {
            assert_eq!(effect(path, "frontend", ServerKind::Vite), Install, "{path}");
        }
        for path in ["backend/package.json", "frontend/src/package.json", "frontendx/yarn.lock"] {
            assert_eq!(effect(path, "frontend", ServerKind::Vite), Nothing, "{path}");
        }
    }

    #[test]
    fn every_directory_counts_while_the_app_is_not_known() {
        let path = ProjectPath::parse("some/where/package.json").expect("a valid path");
        assert_eq!(change_effect(&path, None, ServerKind::Vite), Install);
    }
}
