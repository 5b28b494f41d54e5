//! Positions in scripts as they were served, brought back to the sources of the project.

use std::collections::BTreeMap;

use sourcemap::{DecodedMap, Token};

use crate::stack::Frame;
use crate::{PageEvent, Place, ProjectRoot, map_text};

/// Frames of one stack that are followed.
const MAX_FRAMES: usize = 10;
/// Lines of a stack that are kept.
const MAX_LINES: usize = 20;
/// Scripts and maps that are kept.
const MAX_SCRIPTS: usize = 16;
/// Bytes of a script, and of a map. The largest modules of projects have a few hundred KiB.
const MAX_TEXT: usize = 4 << 20;

/// The source maps that the errors of one report need.
///
/// Ask [`SourceMaps::needed`] which addresses of the dev server are needed, give each answer to [`SourceMaps::add`], and ask
/// again until none is: the address of a map may only be known from its script. Then [`SourceMaps::locate`] gives the
/// positions. A dev server gives an address another text after an edit, so use a new value for each report.
#[derive(Debug, Default)]
pub struct SourceMaps {
    scripts: BTreeMap<String, Script>,
    maps: BTreeMap<String, Option<DecodedMap>>,
}

/// What is known of one script.
#[derive(Debug)]
enum Script {
    /// There was no answer.
    Missing,
    /// It is served as it was written.
    Plain,
    Mapped(Box<DecodedMap>),
    /// Its map has this address.
    MapAt(String),
}

/// Where an error happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// The first position of the stack that is in a file of the project.
    pub place: Option<Place>,
    /// The stack, with the positions of sources.
    pub stack: Option<String>,
}

/// A position in a source.
struct Position {
    file_path: String,
    line: Option<u32>,
    column: Option<u32>,
}

impl SourceMaps {
    /// Addresses (path and query) of the dev server whose text is needed to locate this event; empty where all is known.
    pub fn needed(&self, event: &PageEvent) -> Vec<String> {
        let mut needed = Vec::new();
        for frame in frames(event) {
            let Some(address) = frame.own_address().filter(|address| is_of_project(address)) else { continue };
            let missing = match self.scripts.get(address) {
                None => Some(address),
                Some(Script::MapAt(map)) => Some(map.as_str()).filter(|map| !self.maps.contains_key(*map)),
                Some(_) => None,
            };
            let known = self.scripts.len().saturating_add(self.maps.len()).saturating_add(needed.len());
            if let Some(missing) = missing
                && known < MAX_SCRIPTS
                && !needed.iter().any(|other| other == missing)
            {
                needed.push(missing.to_owned());
            }
        }
        needed
    }

    /// The dev server's answer for an address of [`SourceMaps::needed`]; none where it has no such text.
    pub fn add(&mut self, address: &str, text: Option<&str>) {
        let text = text.filter(|text| text.len() <= MAX_TEXT);
        if self.scripts.values().any(|script| matches!(script, Script::MapAt(map) if map == address)) {
            self.maps.insert(address.to_owned(), text.and_then(map_text::decode));
        } else {
            self.scripts.insert(address.to_owned(), text.map_or(Script::Missing, |text| script(address, text)));
        }
    }

    /// Where an error happened. `is_file` tells whether a path, relative to the project, is one of its files: what a page
    /// reports is otherwise not believed.
    pub fn locate(&self, event: &PageEvent, root: &ProjectRoot, is_file: impl Fn(&str) -> bool) -> Located {
        let PageEvent::Error { stack, .. } = event else { return Located::default() };
        let position = |frame: &Frame<'_>| self.position(frame, root, &is_file);
        let place = frames(event).find_map(|frame| position(&frame)).map(|position| Place {
            file_path: position.file_path,
            line: position.line,
            column: position.column,
        });
        let lines = stack.as_deref().unwrap_or_default().lines();
        let lines = lines.filter_map(|line| {
            let Some(frame) = Frame::parse(line) else { return Some(line.to_owned()) };
            if frame.address.starts_with("/.preview-agent/") {
                return None;
            }
            Some(match position(&frame) {
                Some(Position { file_path, line: Some(line), column }) => {
                    let column = column.map(|column| format!(":{column}")).unwrap_or_default();
                    format!("{}{file_path}:{line}{column}{}", frame.before, frame.after)
                }
                _ => root.clean(line),
            })
        });
        let stack = lines.take(MAX_LINES).collect::<Vec<_>>().join("\n");
        Located { place, stack: Some(stack).filter(|stack| !stack.is_empty()) }
    }

    fn position(&self, frame: &Frame<'_>, root: &ProjectRoot, is_file: &impl Fn(&str) -> bool) -> Option<Position> {
        let at_file = |file_path: String, line, column| Position { file_path, line, column };
        let Some(address) = frame.own_address() else {
            // Webpack's addresses name the source, but the lines are those of what it generated.
            let address = Some(frame.address).filter(|address| address.starts_with("webpack"))?;
            let file = source_file("", address, root, is_file)?;
            return Some(at_file(file, None, None));
        };
        let served = || source_file("/", address, root, is_file);
        let map = match self.scripts.get(address) {
            Some(Script::Plain) if !address.ends_with('/') => {
                return Some(at_file(served()?, Some(frame.line), Some(frame.column)));
            }
            Some(Script::Mapped(map)) => Some(&**map),
            Some(Script::MapAt(map)) => self.maps.get(map).and_then(Option::as_ref),
            Some(Script::Plain | Script::Missing) | None => None,
        };
        let Some(map) = map else { return Some(at_file(served()?, None, None)) };
        let line = frame.line.checked_sub(1)?;
        let token = map.lookup_token(line, frame.column.saturating_sub(1)).filter(|token| token.has_source());
        // In a map of several sections, lines count from the section.
        let is_line = |token: &Token<'_>| matches!(map, DecodedMap::Index(_)) || token.get_dst_line() == line;
        let Some(token) = token.filter(is_line) else { return Some(at_file(served()?, None, None)) };
        let file = source_file(address, token.get_source()?, root, is_file)?;
        let (line, column) = (token.get_src_line().checked_add(1), token.get_src_col().checked_add(1));
        Some(at_file(file, line, column))
    }
}

/// The positions of an event that are followed: those of its stack, then its own.
fn frames(event: &PageEvent) -> impl Iterator<Item = Frame<'_>> {
    let (stack, own) = match event {
        PageEvent::Error { stack, url: Some(url), line: Some(line), column, .. } => {
            let column = column.unwrap_or(1);
            (stack.as_deref(), Some(Frame { before: "", address: url, line: *line, column, after: "" }))
        }
        PageEvent::Error { stack, .. } => (stack.as_deref(), None),
        _ => (None, None),
    };
    let frames = stack.unwrap_or_default().lines().filter_map(Frame::parse);
    frames.filter(|frame| !frame.address.starts_with("/.preview-agent/")).take(MAX_FRAMES).chain(own)
}

/// Whether an address may be a module of the project's own, and not one of a package or of the dev server.
fn is_of_project(address: &str) -> bool {
    let path = path_of(address);
    let foreign = |part: &str| matches!(part, "node_modules" | "@vite" | "@id" | "@react-refresh" | ".preview-agent");
    !path.split('/').any(foreign)
}

fn path_of(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or(address)
}

fn script(address: &str, text: &str) -> Script {
    // The reference is at the end; what comes before may be a text that looks like one.
    let reference = text.lines().rev().find_map(|line| line.strip_prefix("//# sourceMappingURL="));
    match reference.map(str::trim) {
        None => Script::Plain,
        Some(url) if url.starts_with("data:") => {
            map_text::decode_data_url(url).map_or(Script::Missing, |map| Script::Mapped(Box::new(map)))
        }
        Some(url) if url.contains(':') || url.starts_with("//") => Script::Missing,
        Some(url) => {
            let query = url.find('?').and_then(|start| url.get(start..)).unwrap_or_default();
            Script::MapAt(format!("{}{query}", joined(path_of(address), path_of(url))))
        }
    }
}

/// `relative`, as seen from the file at `base`. Both have `/`; the result begins with one.
fn joined(base: &str, relative: &str) -> String {
    let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
    let start = if relative.starts_with('/') { "" } else { directory };
    let mut parts = Vec::new();
    for part in start.split('/').chain(relative.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The file of the project that a source map, or an address of the dev server, names.
fn source_file(script: &str, source: &str, root: &ProjectRoot, is_file: &impl Fn(&str) -> bool) -> Option<String> {
    let source = path_of(source);
    if let Some(below) = root.relative(source) {
        return Some(below.to_owned()).filter(|file| is_file(file));
    }
    // As bundlers write paths: `turbopack:///[project]/src/a.ts`, `webpack://name/./src/a.ts`.
    let named = source.split_once("[project]/").or_else(|| source.split_once("/./"));
    let path = match named {
        Some((_, path)) => joined("/", path),
        None if source.contains("://") || source.starts_with("file:") => return None,
        None => joined(path_of(script), source),
    };
    // Files outside of the dev server's own directory.
    if let Some((_, absolute)) = path.split_once("/@fs/") {
        return root.relative(&format!("/{absolute}")).map(str::to_owned).filter(|file| is_file(file));
    }
    if path.split('/').any(|part| part == "node_modules") {
        return None;
    }
    // A dev server may serve the project below a path (`base`): its parts are left out one by one.
    let mut rest = path.trim_start_matches('/');
    if rest.is_empty() {
        rest = "index.html";
    }
    loop {
        if is_file(rest) {
            return Some(rest.to_owned());
        }
        (_, rest) = rest.split_once('/')?;
    }
}
