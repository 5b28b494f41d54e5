use std::path::Path;

use sync_core::ProjectPath;

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

/// A row of [`TABLE`].
struct Rule {
    /// File name patterns; `*` matches any text.
    patterns: &'static [&'static str],
    with_vite: ChangeEffect,
    with_other: ChangeEffect,
}

/// The first row with a matching pattern counts. A file that no row names requires nothing.
const TABLE: [Rule; 5] = [
    Rule { patterns: &["package.json"], with_vite: Install, with_other: Install },
    Rule { patterns: &zip_stream::LOCK_FILES, with_vite: Install, with_other: Install },
    // Vite restarts by itself.
    Rule { patterns: &["vite.config.*", ".env", ".env.*"], with_vite: Nothing, with_other: Restart },
    // Read once, by Vite or by a plugin.
    Rule {
        patterns: &["postcss.config.*", ".postcssrc", ".postcssrc.*", "babel.config.*", ".babelrc", ".babelrc.*"],
        with_vite: Restart,
        with_other: Restart,
    },
    // The program behind the project's own script reads these when it starts.
    Rule {
        patterns: &["*.config.js", "*.config.ts", "*.config.mjs", "*.config.cjs", "*.config.mts", "*.config.cts"],
        with_vite: Nothing,
        with_other: Restart,
    },
];

/// What a change of `path` requires. Only files in the app's directory and the directories above it count. `app_dir` is
/// relative to the project; none where it is not known, and then every directory counts.
pub(super) fn change_effect(path: &ProjectPath, app_dir: Option<&Path>, kind: ServerKind) -> ChangeEffect {
    let dir = Path::new(path.parent().unwrap_or(""));
    if app_dir.is_some_and(|app_dir| !app_dir.starts_with(dir)) {
        return Nothing;
    }
    let rule = TABLE.iter().find(|rule| rule.patterns.iter().any(|pattern| matches(pattern, path.file_name())));
    rule.map_or(Nothing, |rule| match kind {
        ServerKind::Vite => rule.with_vite,
        ServerKind::Other => rule.with_other,
    })
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
        None => name == pattern,
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
