//! Which files belong to a project, which places are reserved, and which names have a meaning for the dev server, the
//! package manager or a snapshot. Every other part of the workspace asks here.

/// The name that the agent's own temporary files begin with, before they are renamed into place.
pub const TEMPORARY_PREFIX: &str = ".preview-agent-";

/// What a package manager reads besides `package.json`.
pub const LOCK_FILES: [&str; 12] = [
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    "bunfig.toml",
    ".pnpmfile.cjs",
];

/// Directories that tools generate, wherever they are.
const GENERATED: [&str; 6] = [".next", ".nuxt", ".output", ".svelte-kit", ".turbo", ".vite"];

/// Whether a path names a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryType {
    /// A directory, or a symbolic link that may lead to one.
    Directory,
    /// Anything else.
    File,
}

/// The meaning of a file's name, at any depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    /// `package.json`.
    PackageManifest,
    /// One of [`LOCK_FILES`].
    LockFile,
    /// `vite.config.*`: Vite restarts itself when it changes.
    ViteConfig,
    /// `.env`, `.env.*`: Vite restarts itself when it changes.
    Environment,
    /// Read once at the start, by Vite or one of its plugins: PostCSS and Babel configuration.
    PluginConfig,
    /// Any other `*.config.js` (or `.ts`, `.mjs`, `.cjs`, `.mts`, `.cts`): a command other than Vite reads it at its start.
    ToolConfig,
    /// `tsconfig*.json`.
    TypeScriptConfig,
    /// `index.html`.
    IndexHtml,
    /// No name of the above.
    Ordinary,
}

impl FileRole {
    /// The role of a file with this name (the last part of its path).
    pub fn of_name(name: &str) -> FileRole {
        let any = |patterns: &[&str]| patterns.iter().any(|pattern| matches_pattern(pattern, name));
        if name == "package.json" {
            FileRole::PackageManifest
        } else if LOCK_FILES.contains(&name) {
            FileRole::LockFile
        } else if any(&["vite.config.*"]) {
            FileRole::ViteConfig
        } else if any(&[".env", ".env.*"]) {
            FileRole::Environment
        } else if any(&["postcss.config.*", ".postcssrc", ".postcssrc.*", "babel.config.*", ".babelrc", ".babelrc.*"]) {
            FileRole::PluginConfig
        } else if any(&["*.config.js", "*.config.ts", "*.config.mjs", "*.config.cjs", "*.config.mts", "*.config.cts"]) {
            FileRole::ToolConfig
        } else if any(&["tsconfig*.json"]) {
            FileRole::TypeScriptConfig
        } else if name == "index.html" {
            FileRole::IndexHtml
        } else {
            FileRole::Ordinary
        }
    }

    /// The role of the file at `path`.
    pub fn of_path(path: &str) -> FileRole {
        FileRole::of_name(path.rsplit('/').next().unwrap_or(path))
    }
}

/// The place of a file in a snapshot: lower ranks come first, because package manager and dev server need them first.
pub fn snapshot_rank(path: &str) -> u8 {
    match FileRole::of_path(path) {
        FileRole::PackageManifest => 0,
        FileRole::LockFile => 1,
        FileRole::ViteConfig => 2,
        FileRole::IndexHtml => 3,
        _ => 4,
    }
}

/// Whether a part of a path names a reserved directory, in which the agent never writes: `node_modules` and `.git` at
/// any depth, `.preview` at the top (`depth` 0). Case is ignored, since a case-insensitive disk would open the same
/// directory.
pub fn is_reserved(part: &str, depth: usize) -> bool {
    part.eq_ignore_ascii_case("node_modules")
        || part.eq_ignore_ascii_case(".git")
        || (depth == 0 && part.eq_ignore_ascii_case(".preview"))
}

/// Whether `path`, relative to the project's root, is part of the project when a folder is read as one: not a reserved
/// directory, nothing that a build generates, no temporary file of an editor. `.env*` and other hidden files are part of it.
///
/// `dist` and `build` count as generated only as directories, and not below `src` or `public`, where they are ordinary
/// names.
pub fn is_project_file(path: &str, entry_type: EntryType) -> bool {
    let mut parts = path.split('/').enumerate().peekable();
    let mut below_sources = false;
    while let Some((depth, part)) = parts.next() {
        let is_directory = entry_type == EntryType::Directory || parts.peek().is_some();
        if is_reserved(part, depth) || is_temporary(part) || (is_directory && is_generated(part, below_sources)) {
            return false;
        }
        below_sources |= matches!(part, "src" | "public");
    }
    true
}

fn is_generated(part: &str, below_sources: bool) -> bool {
    GENERATED.contains(&part) || (!below_sources && matches!(part, "dist" | "build"))
}

/// Whether a file of this name is a temporary one of an editor, of the system or of the agent.
fn is_temporary(name: &str) -> bool {
    const PREFIXES: [&str; 3] = [TEMPORARY_PREFIX, ".#", ".goutputstream-"];
    const SUFFIXES: [&str; 7] = ["~", ".swp", ".swo", ".swx", "___jb_tmp___", "___jb_old___", ".kate-swp"];
    // Vim creates a file named 4913 to find out whether it may write to a directory.
    matches!(name, "4913" | ".DS_Store")
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || (name.len() > 2 && name.starts_with('#') && name.ends_with('#'))
}

/// Whether `name` matches a pattern with at most one `*`.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProjectPath;

    #[test]
    fn source_files_belong_and_generated_ones_do_not() {
        for path in [
            "package.json",
            ".env",
            ".env.local",
            ".gitignore",
            "src/dist/a.ts",
            "src/build/b.ts",
            "public/build/c.js",
            "build",
            "frontend/dist",
            "distance/x",
            "a~b",
            "src/.preview/x.txt",
        ] {
            assert!(is_project_file(path, EntryType::File), "{path}");
        }
        for path in [
            "node_modules/x/package.json",
            "a/Node_Modules/x",
            ".git/config",
            ".git",
            ".preview/manifest.json",
            "dist/x.js",
            "frontend/dist/x.js",
            "build/x",
            "src/.vite/x",
            ".next/a",
            "src/App.tsx~",
            "src/.App.tsx.swp",
            "4913",
            ".preview-agent-1-2",
            "#a#",
            ".DS_Store",
        ] {
            assert!(!is_project_file(path, EntryType::File), "{path}");
        }
        for directory in ["dist", "node_modules"] {
            assert!(!is_project_file(directory, EntryType::Directory), "{directory}");
        }
        assert!(is_project_file("src", EntryType::Directory));
    }

    #[test]
    fn a_reserved_place_is_refused_as_a_path_and_left_out_of_a_folder() {
        for path in ["node_modules/x", "a/NODE_MODULES/x", ".git/x", "a/.git/x", ".preview/x"] {
            assert!(ProjectPath::parse(path).is_err() && !is_project_file(path, EntryType::File), "{path}");
        }
        for path in ["src/.preview/x", ".gitignore", "node_modules.md"] {
            assert!(ProjectPath::parse(path).is_ok() && is_project_file(path, EntryType::File), "{path}");
        }
    }

    #[test]
    fn names_have_their_role_at_any_depth() {
        for (path, role) in [
            ("package.json", FileRole::PackageManifest),
            ("a/pnpm-lock.yaml", FileRole::LockFile),
            ("a/vite.config.ts", FileRole::ViteConfig),
            (".env.local", FileRole::Environment),
            ("postcss.config.js", FileRole::PluginConfig),
            ("next.config.mjs", FileRole::ToolConfig),
            ("tsconfig.app.json", FileRole::TypeScriptConfig),
            ("b/index.html", FileRole::IndexHtml),
            ("package.json/x", FileRole::Ordinary),
            (".environment", FileRole::Ordinary),
        ] {
            assert_eq!(FileRole::of_path(path), role, "{path}");
        }
        assert!(!matches_pattern("a*a", "a"));
    }

    #[test]
    fn a_snapshot_begins_with_what_is_needed_first() {
        let mut paths = ["src/a.ts", "index.html", "vite.config.ts", "yarn.lock", "web/package.json"];
        paths.sort_by_key(|path| snapshot_rank(path));
        assert_eq!(paths, ["web/package.json", "yarn.lock", "vite.config.ts", "index.html", "src/a.ts"]);
    }
}
