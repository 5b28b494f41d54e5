//! The one reader of package.json.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::directory::{Directory, ReadError};

/// The file's name.
pub const PACKAGE_JSON: &str = "package.json";
/// The largest package.json that is read, in bytes. Real ones have a few thousand.
pub const MAX_PACKAGE_JSON: u64 = 1 << 20;
/// The lists of packages that an install brings.
pub(crate) const DEPENDENCY_LISTS: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];
/// Some editors write this mark at the start of a file. Node's tools skip it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The content of a package.json.
#[derive(Debug, Clone, Default)]
pub struct PackageJson(Value);

/// Why a package.json cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe them")]
pub enum PackageJsonError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{} is not valid JSON", .path.display())]
    Broken { path: PathBuf, source: serde_json::Error },
}

impl PackageJson {
    /// Reads the package.json of a directory; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not JSON.
    pub fn read(dir: &Directory) -> Result<Option<PackageJson>, PackageJsonError> {
        let Some(bytes) = dir.read(PACKAGE_JSON, MAX_PACKAGE_JSON)? else { return Ok(None) };
        let parsed = PackageJson::parse(&bytes);
        parsed.map(Some).map_err(|source| PackageJsonError::Broken { path: dir.path().join(PACKAGE_JSON), source })
    }

    /// Parses the bytes of a package.json.
    ///
    /// # Errors
    /// They are not JSON.
    pub fn parse(bytes: &[u8]) -> Result<PackageJson, serde_json::Error> {
        serde_json::from_slice(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)).map(PackageJson)
    }

    /// The script of this name.
    pub fn script(&self, name: &str) -> Option<&str> {
        self.0.get("scripts")?.get(name)?.as_str()
    }

    /// Whether it has a field of this name.
    pub fn has(&self, field: &str) -> bool {
        self.0.get(field).is_some()
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The versions of the packages that an install brings, as the project asks for them.
    pub fn specifiers(&self) -> impl Iterator<Item = &str> {
        DEPENDENCY_LISTS.iter().filter_map(|list| self.map(list)).flat_map(Map::values).filter_map(Value::as_str)
    }

    /// Whether an install brings this package.
    pub fn depends_on(&self, package: &str) -> bool {
        DEPENDENCY_LISTS.iter().any(|list| self.map(list).is_some_and(|list| list.contains_key(package)))
    }

    /// The entries of a list, such as `scripts` or `dependencies`.
    pub fn map(&self, list: &str) -> Option<&Map<String, Value>> {
        self.0.get(list)?.as_object()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let package = PackageJson::parse(b"\xef\xbb\xbf{\"scripts\": {\"dev\": \"vite\"}}").expect("JSON");
        assert_eq!((package.script("dev"), package.script("start")), (Some("vite"), None));
        assert!(PackageJson::parse(b"{} x").is_err());
    }

    #[test]
    fn every_list_of_dependencies_counts() {
        let package = PackageJson::parse(br#"{"devDependencies": {"vite": "8"}, "dependencies": 7}"#).expect("JSON");
        assert!(package.depends_on("vite") && !package.depends_on("next") && !package.has("workspaces"));
    }
}
