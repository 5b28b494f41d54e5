//! Paths of the project in texts of its tools.

/// Where the project lies on this machine. Its tools name it in their texts; people know only the paths below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRoot {
    /// Absolute, each with a `/` at the end, the longest first.
    prefixes: Vec<String>,
}

impl ProjectRoot {
    /// `dirs`: the absolute path of the project, as it was given and without symlinks.
    pub fn new(dirs: impl IntoIterator<Item = String>) -> ProjectRoot {
        let mut prefixes: Vec<_> = dirs.into_iter().map(|dir| format!("{}/", dir.trim_end_matches('/'))).collect();
        prefixes.retain(|prefix| prefix.len() > 1);
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        prefixes.dedup();
        ProjectRoot { prefixes }
    }

    /// The part of an absolute path below the project, without what follows a `?`. `None` where it lies elsewhere or in
    /// `node_modules`.
    pub fn relative<'a>(&self, path: &'a str) -> Option<&'a str> {
        let path = path.strip_prefix("file://").unwrap_or(path);
        let path = path.split('?').next().unwrap_or(path);
        let below = self.prefixes.iter().find_map(|prefix| path.strip_prefix(prefix.as_str()))?;
        let in_packages = below.split('/').any(|part| part == "node_modules");
        (!below.is_empty() && !in_packages).then_some(below)
    }

    /// `text` with paths of this project relative to it, and without colours.
    pub fn clean(&self, text: &str) -> String {
        let mut text = without_colours(text);
        for prefix in &self.prefixes {
            for spelled in [format!("file://{prefix}"), prefix.clone()] {
                text = text.replace(&spelled, "");
            }
        }
        text
    }
}

/// `text` without the escape sequences that set a terminal's colours.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_ascii_digit() || c == ';')).unwrap_or(part.len());
        let rest = part.get(end..).unwrap_or_default();
        clean.push_str(rest.strip_prefix('m').unwrap_or(rest));
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_project_are_relative_to_it() {
        let root = ProjectRoot::new(["/cache/run/project".to_owned(), "/real/project/".to_owned()]);
        assert_eq!(root.relative("/cache/run/project/src/App.jsx?t=1"), Some("src/App.jsx"));
        assert_eq!(root.relative("file:///real/project/src/a b.css"), Some("src/a b.css"));
        assert_eq!(root.relative("/real/project/node_modules/x/index.js"), None);
        assert_eq!(root.relative("/real/project-2/src/App.jsx"), None);
        let text = "\x1b[31m/real/project/src/a.ts\x1b[0m: at file:///cache/run/project/src/b.ts:1";
        assert_eq!(root.clean(text), "src/a.ts: at src/b.ts:1");
    }
}
