use std::fmt;

use super::rules;

/// The longest path, in bytes. The database and every client have the same bound.
pub const MAX_PATH: usize = 1024;
/// The longest part between two slashes, in bytes (`NAME_MAX` of the usual filesystems).
pub const MAX_COMPONENT: usize = 255;
/// The most parts of a path. It bounds the depth of every directory walk.
pub const MAX_PARTS: usize = 64;

/// A path inside the project that may be written: relative, with `/` between its parts, and never above the root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectPath(Box<str>);

/// Why a path is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PathError {
    #[error("the path is empty")]
    Empty,
    #[error("the path is {0} bytes long, more than {MAX_PATH}")]
    TooLong(usize),
    #[error("a part of the path is {0} bytes long, more than {MAX_COMPONENT}")]
    ComponentTooLong(usize),
    #[error("the path has {0} parts, more than {MAX_PARTS}")]
    TooManyParts(usize),
    #[error("the path is absolute: {0:?}")]
    Absolute(String),
    #[error("the path leaves the project: {0:?}")]
    Parent(String),
    #[error("the path has an empty or `.` part: {0:?}")]
    NotPlain(String),
    #[error("the path contains a control character: {0:?}")]
    Control(String),
    #[error("the path contains a backslash: {0:?}")]
    Backslash(String),
    #[error("the path is in a reserved directory (node_modules, .git or .preview): {0:?}")]
    Reserved(String),
}

impl ProjectPath {
    /// Checks `path`.
    ///
    /// # Errors
    /// The path is empty, absolute, not in its plain form, longer than [`MAX_PATH`] or deeper than [`MAX_PARTS`], has a
    /// control character or a backslash, or is in a [reserved directory](rules::is_reserved).
    pub fn parse(path: &str) -> Result<ProjectPath, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong(path.len()));
        }
        if path.chars().any(char::is_control) {
            return Err(PathError::Control(path.into()));
        }
        if path.contains('\\') {
            return Err(PathError::Backslash(path.into()));
        }
        if path.starts_with('/') {
            return Err(PathError::Absolute(path.into()));
        }
        let parts = path.split('/').count();
        if parts > MAX_PARTS {
            return Err(PathError::TooManyParts(parts));
        }
        for (depth, part) in path.split('/').enumerate() {
            match part {
                ".." => return Err(PathError::Parent(path.into())),
                "" | "." => return Err(PathError::NotPlain(path.into())),
                _ if part.len() > MAX_COMPONENT => return Err(PathError::ComponentTooLong(part.len())),
                _ if rules::is_reserved(part, depth) => return Err(PathError::Reserved(path.into())),
                _ => {}
            }
        }
        Ok(ProjectPath(path.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part: the name of the file.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The part before the last slash; `None` for a file at the top.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

impl fmt::Display for ProjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_ordinary_names() {
        for path in
            ["a", "src/App.tsx", ".env", "a b/ü/日本.txt", "..a/b..", ".gitignore", "src/.preview/x", "[id].tsx"]
        {
            assert_eq!(ProjectPath::parse(path).map(|p| p.to_string()), Ok(path.to_string()));
        }
    }

    #[test]
    fn rejects_invalid_paths_with_specific_error() {
        let refused = |path: &str| ProjectPath::parse(path).unwrap_err();
        assert_eq!(refused(""), PathError::Empty);
        assert!(matches!(refused("/etc/passwd"), PathError::Absolute(_)));
        for path in ["..", "../x", "a/../b", "a/.."] {
            assert!(matches!(refused(path), PathError::Parent(_)), "{path}");
        }
        for path in ["a//b", "a/", "./a", "a/./b", "."] {
            assert!(matches!(refused(path), PathError::NotPlain(_)), "{path}");
        }
        for path in ["a\0b", "a\nb", "\u{7f}", "a\u{85}b"] {
            assert!(matches!(refused(path), PathError::Control(_)), "{path:?}");
        }
        assert!(matches!(refused("a\\..\\b"), PathError::Backslash(_)));
        for path in ["node_modules/x", "a/node_modules/x", ".git/config", "a/.GIT/hooks", ".preview/manifest.json"] {
            assert!(matches!(refused(path), PathError::Reserved(_)), "{path}");
        }
        assert_eq!(refused(&"a".repeat(256)), PathError::ComponentTooLong(256));
        assert_eq!(refused(&"a".repeat(1025)), PathError::TooLong(1025));
        assert_eq!(refused(&["a"; 65].join("/")), PathError::TooManyParts(65));
        assert!(ProjectPath::parse(&["a"; 64].join("/")).is_ok());
        assert!(
            ProjectPath::parse(&[&*"a".repeat(255), &"b".repeat(255), &"c".repeat(255), &"d".repeat(256)].join("/"))
                .is_err()
        );
    }
}
