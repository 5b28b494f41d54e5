//! Which modules of the project the preview loads, as far as they were asked for.

use std::collections::{BTreeMap, BTreeSet};

/// The most modules that are followed. Larger projects are checked as far as this.
const MAX_MODULES: usize = 5_000;
/// Files that dev servers transform, by their extension.
const EXTENSIONS: [&str; 22] = [
    "js", "jsx", "ts", "tsx", "mjs", "mts", "cjs", "cts", "vue", "svelte", "astro", "mdx", "css", "scss", "sass",
    "less", "styl", "stylus", "pcss", "postcss", "json", "html",
];

/// The modules that the preview loads, from its documents on.
#[derive(Debug)]
pub struct ModuleGraph {
    /// The path that the dev server serves below, with a `/` at both ends.
    base: String,
    modules: BTreeMap<String, Module>,
}

#[derive(Debug, Default)]
struct Module {
    imports: BTreeSet<String>,
    is_document: bool,
    /// Its last answer was an error.
    is_broken: bool,
    /// It was answered at least once.
    is_known: bool,
    /// It was answered at least once without an error.
    was_good: bool,
}

impl ModuleGraph {
    /// An empty graph of a dev server that serves below the path `base`, which ends with a `/`.
    pub fn new(base: &str) -> ModuleGraph {
        ModuleGraph { base: base.to_owned(), modules: BTreeMap::new() }
    }

    /// Adds a document, a root of the graph.
    pub fn add_document(&mut self, address: &str) {
        self.modules.entry(address.to_owned()).or_default().is_document = true;
    }

    /// A module or a document was answered and loads `imports`. Returns what is to be asked next: modules that are not known
    /// yet.
    pub fn answered(&mut self, address: &str, imports: impl IntoIterator<Item = String>) -> Vec<String> {
        let imports: BTreeSet<_> = imports.into_iter().map(|import| normalized(&import)).collect();
        let room = MAX_MODULES.saturating_sub(self.modules.len());
        let new: Vec<_> =
            imports.iter().filter(|import| !self.modules.contains_key(*import)).take(room).cloned().collect();
        self.modules.extend(new.iter().map(|import| (import.clone(), Module::default())));
        let module = self.modules.entry(address.to_owned()).or_default();
        (module.imports, module.is_broken, module.is_known, module.was_good) = (imports, false, true, true);
        new
    }

    /// A module or a document was answered with an error. What it loaded before counts on.
    pub fn failed(&mut self, address: &str) {
        let module = self.modules.entry(address.to_owned()).or_default();
        (module.is_broken, module.is_known) = (true, true);
    }

    /// Removes what no document loads any more. Returns the addresses that were removed.
    pub fn remove_unreachable(&mut self) -> Vec<String> {
        let mut open: Vec<&str> =
            self.modules.iter().filter(|(_, module)| module.is_document).map(|(at, _)| at.as_str()).collect();
        let mut reached = BTreeSet::new();
        while let Some(at) = open.pop() {
            if reached.insert(at.to_owned())
                && let Some(module) = self.modules.get(at)
            {
                open.extend(module.imports.iter().map(String::as_str));
            }
        }
        let gone: Vec<_> = self.modules.keys().filter(|address| !reached.contains(*address)).cloned().collect();
        self.modules.retain(|address, _| reached.contains(address));
        gone
    }

    /// The modules that are made of a file of the project.
    pub fn of_path<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        self.modules
            .keys()
            .map(String::as_str)
            .filter(move |address| is_made_of(address.strip_prefix(&self.base).unwrap_or(address), path))
    }

    /// The modules and documents that load `address`.
    pub fn importers<'a>(&'a self, address: &'a str) -> impl Iterator<Item = &'a str> {
        self.modules.iter().filter(move |(_, module)| module.imports.contains(address)).map(|(at, _)| at.as_str())
    }

    /// Something was answered that is no module. It is what is missing if it was a module before, or a document loads it; else a
    /// word in a text may have been taken for an import.
    pub fn is_missing(&self, address: &str) -> bool {
        let was_good = self.modules.get(address).is_some_and(|module| module.was_good);
        was_good || self.modules.values().any(|module| module.is_document && module.imports.contains(address))
    }

    /// Something was answered that is no module, and nothing misses it.
    pub fn set_known(&mut self, address: &str) {
        self.modules.entry(address.to_owned()).or_default().is_known = true;
    }

    /// Whether the last answer of this module was an error.
    pub fn is_broken(&self, address: &str) -> bool {
        self.modules.get(address).is_some_and(|module| module.is_broken)
    }

    /// Everything whose last answer was an error, and what was never answered.
    pub fn unsettled(&self) -> impl Iterator<Item = &str> {
        let unsettled = |module: &Module| module.is_broken || !module.is_known;
        self.modules.iter().filter(move |(_, module)| unsettled(module)).map(|(address, _)| address.as_str())
    }

    /// The documents.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().filter(|(_, module)| module.is_document).map(|(address, _)| address.as_str())
    }

    /// Whether this module is followed.
    pub fn contains(&self, address: &str) -> bool {
        self.modules.contains_key(address)
    }
}

/// An address without its origin and without the query parameters that only mark a time.
pub fn normalized(address: &str) -> String {
    let Some((path, query)) = address.split_once('?') else { return address.to_owned() };
    let is_time = |parameter: &&str| !parameter.starts_with("t=") && !parameter.starts_with("v=");
    let query: Vec<_> = query.split('&').filter(is_time).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// Whether an address names a module of the project's own: not of a package or of the dev server, and no asset. `project` is
/// the absolute path of the project, with a `/` at its end.
pub fn is_project_module(address: &str, project: &str) -> bool {
    let Some(path) = address.split('?').next().filter(|path| path.starts_with('/') && !path.starts_with("//")) else {
        return false;
    };
    if path.split('/').any(|part| part == "node_modules") {
        return false;
    }
    if let Some((_, absolute)) = path.split_once("/@fs/") {
        return format!("/{}", absolute.trim_start_matches('/')).starts_with(project) && is_source(path);
    }
    let of_server = path.split('/').any(|part| part.starts_with('@') && !part.contains('.'));
    !of_server && (is_source(path) || address.contains("html-proxy"))
}

/// Whether a file may be a module of the preview: a source file, and no test and no declaration of types.
pub fn is_source(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let is_test = [".test", ".spec", ".stories"].iter().any(|end| stem.ends_with(end)) || stem.ends_with(".d");
    EXTENSIONS.contains(&extension) && !is_test && !path.split('/').any(|part| part == "__tests__")
}

/// Dev servers serve a file by its path below their root, which is the project or a directory of it.
fn is_made_of(address: &str, path: &str) -> bool {
    let served = address.split('?').next().unwrap_or(address).trim_start_matches('/');
    let served = decoded(served);
    if let Some((_, absolute)) = served.split_once("@fs/") {
        return absolute.strip_suffix(path).is_some_and(|above| above.ends_with('/'));
    }
    served == path || path.strip_suffix(&served).is_some_and(|above| above.ends_with('/') && !served.is_empty())
}

/// Percent encoding undone; bytes that are not UTF-8 are replaced.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |bytes: &[u8]| u8::from_str_radix(std::str::from_utf8(bytes.get(..2)?).ok()?, 16).ok();
        match (first, hex(after)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn modules_are_followed_from_documents_and_dropped_with_their_last_import() {
        let mut graph = ModuleGraph::new("/");
        graph.add_document("/");
        assert_eq!(graph.answered("/", strings(&["/src/main.jsx"])), ["/src/main.jsx"]);
        let loaded = strings(&["/src/App.jsx?t=17", "/src/a.css"]);
        assert_eq!(graph.answered("/src/main.jsx", loaded.clone()), ["/src/App.jsx", "/src/a.css"]);
        assert_eq!(graph.answered("/src/main.jsx", loaded), Vec::<String>::new());
        graph.failed("/src/App.jsx");
        assert_eq!(graph.unsettled().collect::<Vec<_>>(), ["/src/App.jsx", "/src/a.css"]);
        assert_eq!(graph.remove_unreachable(), Vec::<String>::new());
        graph.answered("/src/main.jsx", strings(&["/src/a.css"]));
        assert_eq!(graph.remove_unreachable(), ["/src/App.jsx"]);
        assert!(graph.contains("/src/a.css"));
    }

    #[test]
    fn modules_are_found_by_the_file_that_they_are_made_of() {
        let mut graph = ModuleGraph::new("/app/");
        let all = [
            "/app/src/App.vue",
            "/app/src/App.vue?vue&type=style&lang.css",
            "/app/src/b.ts",
            "/app/@fs/p/lib/c.ts",
            "/app/a%20b.js",
        ];
        graph.answered("/", strings(&all));
        let of = |path| graph.of_path(path).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(of("src/App.vue"), &all[..2]);
        assert_eq!(of("client/src/App.vue"), &all[..2]);
        assert_eq!(of("src/b.ts"), &all[2..3]);
        assert_eq!(of("lib/c.ts"), &all[3..4]);
        assert_eq!(of("a b.js"), &all[4..]);
        assert_eq!(of("App.vue"), Vec::<String>::new());
        assert_eq!(of("other/xsrc/App.vue"), Vec::<String>::new());
    }

    #[test]
    fn only_modules_of_the_project_are_followed() {
        for yes in ["/src/App.tsx", "/src/a.css?direct", "/index.html?html-proxy&index=0.js", "/@fs/p/lib/x.js"] {
            assert!(is_project_module(yes, "/p/"), "{yes}");
        }
        let no = [
            "/@vite/client",
            "/@react-refresh",
            "/node_modules/.vite/deps/react.js?v=1",
            "/@id/__x00__virtual.js",
            "/src/logo.png?import",
            "/src/a.test.ts",
            "/src/types.d.ts",
            "/src/__tests__/b.js",
            "https://cdn/x.js",
            "//cdn/x.js",
            "react",
            "/@fs/other/x.js",
        ];
        for no in no {
            assert!(!is_project_module(no, "/p/"), "{no}");
        }
    }
}
