//! The projects that are hydrated: text like source code, and some of what does not deflate.

use std::path::Path;

/// A path of the project and its bytes.
pub struct File {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// Of so many files one is an image, in bytes about the same share.
const IMAGE_EVERY: usize = 12;

/// `files` files of `bytes` bytes together; the same for the same numbers.
pub fn project(files: usize, bytes: usize) -> Vec<File> {
    let mut random = Random(files as u64);
    // Most files are small and a few are large, as in a real tree.
    let weights: Vec<f64> = (0..files).map(|_| 2f64.powf(random.below(5000) as f64 / 1000.0)).collect();
    let unit = bytes as f64 / weights.iter().sum::<f64>();
    let mut left = bytes;
    let file = |(at, weight): (usize, &f64)| {
        let size = if at + 1 == files { left } else { ((weight * unit) as usize).min(left) };
        left -= size;
        if at % IMAGE_EVERY == 7 {
            File { path: format!("src/assets/image{at}.png"), bytes: random.noise(size) }
        } else {
            let folder = at / 25;
            File { path: format!("src/area{}/part{folder}/file{at}.tsx", folder % 8), bytes: random.source(size) }
        }
    };
    weights.iter().enumerate().map(file).collect()
}

/// Text like source code, `size` bytes of it; another for each seed.
pub fn source(seed: u64, size: usize) -> String {
    String::from_utf8(Random(seed).source(size)).expect("it is ASCII")
}

/// Panics unless exactly these files lie in `dir`, with these bytes; the manifest's directory aside.
pub fn verify(files: &[File], dir: &Path, by: &str) {
    for file in files {
        let path = dir.join(&file.path);
        let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{by}: {}: {error}", path.display()));
        assert!(found == file.bytes, "{by}: {} holds other bytes", file.path);
    }
    assert_eq!(count(dir), files.len(), "{by}: more files than there should be");
}

/// Files below a directory, the manifest's aside.
pub fn count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let entries = entries.filter(|entry| entry.file_name() != ".preview");
    let files = entries.map(|entry| if entry.file_type().expect("a type").is_dir() { count(&entry.path()) } else { 1 });
    files.sum()
}

/// Chance that repeats itself (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn noise(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }

    /// Lines of code's usual shapes, with names out of a vocabulary in which a few are frequent and most are rare.
    fn source(&mut self, size: usize) -> Vec<u8> {
        let mut text = String::with_capacity(size + 256);
        while text.len() < size {
            let indent = "  ".repeat(1 + self.below(4) as usize);
            let (one, other, number) = (self.name(), self.name(), self.below(1000));
            let line = match self.below(9) {
                0 => format!("import {{ {one} }} from \"./{other}\";\n"),
                1 => format!("{indent}const {one} = use{other}({number});\n"),
                2 => format!("{indent}if ({one}.{other} !== undefined) {{\n"),
                3 => format!("{indent}}}\n\n"),
                4 => format!("{indent}<div className=\"{one} p-{number} text-{other}\">\n"),
                5 => format!("{indent}  return {one}.map(({other}) => <{one} key={{{other}.id}} {{...{other}}} />);\n"),
                6 => format!("export function {one}({{ {other}, children }}: {one}Props) {{\n"),
                7 => format!("{indent}// {one} {other} {} {}\n", self.name(), self.name()),
                _ => format!("{indent}{one}: \"{other} {}\", value: {number},\n", self.name()),
            };
            text.push_str(&line);
        }
        let mut bytes = text.into_bytes();
        bytes.truncate(size);
        bytes
    }

    fn name(&mut self) -> String {
        const PARTS: [&str; 24] = [
            "User", "Item", "List", "state", "Button", "value", "render", "Panel", "index", "Query", "route", "Modal",
            "theme", "Chart", "token", "Layout", "filter", "Form", "color", "Event", "cache", "Table", "async", "Node",
        ];
        // The square of an even chance: the first names come most often.
        let at = self.below(2048) * self.below(2048) / 2048;
        let (first, second) = (PARTS[at as usize % 24], PARTS[at as usize / 24 % 24]);
        format!("{first}{second}{}", if at > 1000 { at.to_string() } else { String::new() })
    }
}
