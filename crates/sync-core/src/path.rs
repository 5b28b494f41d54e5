use std::fmt;

/// The longest path, in bytes (Linux PATH_MAX).
pub const MAX_PATH: usize = 4096;
/// The longest part between two slashes, in bytes (NAME_MAX of the usual filesystems).
pub const MAX_COMPONENT: usize = 255;

/// A path inside the project that may be written: relative, with `/` between its parts, nowhere leaving the root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectPath(Box<str>);

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PathError {
    #[error("the path is empty")]
    Empty,
    #[error("the path is {0} bytes long, more than {MAX_PATH}")]
    TooLong(usize),
    #[error("a part of the path is {0} bytes long, more than {MAX_COMPONENT}")]
    ComponentTooLong(usize),
    #[error("the path is absolute: {0:?}")]
    Absolute(String),
    #[error("the path leaves the project: {0:?}")]
    Parent(String),
    #[error("the path has an empty or `.` part: {0:?}")]
    NotPlain(String),
    #[error("the path holds a control character: {0:?}")]
    Control(String),
    #[error("the path holds a backslash: {0:?}")]
    Backslash(String),
    #[error("the path lies in a place that is never touched: {0:?}")]
    Reserved(String),
}

impl ProjectPath {
    /// Checks `path`. Refused are also the places that the agent never touches: `node_modules` and `.git` at any
    /// depth, and `.preview` at the top.
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
        for (depth, part) in path.split('/').enumerate() {
            match part {
                ".." => return Err(PathError::Parent(path.into())),
                "" | "." => return Err(PathError::NotPlain(path.into())),
                _ if part.len() > MAX_COMPONENT => return Err(PathError::ComponentTooLong(part.len())),
                _ if is_reserved(part, depth) => return Err(PathError::Reserved(path.into())),
                _ => {}
            }
        }
        Ok(ProjectPath(path.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// What stands before the last slash, nothing for a file at the top.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

/// Without regard to case, since a case-insensitive disk would open the same directory.
fn is_reserved(part: &str, depth: usize) -> bool {
    part.eq_ignore_ascii_case("node_modules")
        || part.eq_ignore_ascii_case(".git")
        || (depth == 0 && part.eq_ignore_ascii_case(".preview"))
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
    fn takes_ordinary_names() {
        for path in
            ["a", "src/App.tsx", ".env", "a b/ü/日本.txt", "..a/b..", ".gitignore", "src/.preview/x", "[id].tsx"]
        {
            assert_eq!(ProjectPath::parse(path).map(|p| p.to_string()), Ok(path.to_string()));
        }
    }

    #[test]
    fn refuses_each_evil_by_its_own_name() {
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
        assert_eq!(refused(&"a/".repeat(2049)), PathError::TooLong(4098));
    }
}
