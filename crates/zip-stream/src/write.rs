use std::io::{self, Write};

use flate2::{Compress, Compression, FlushCompress, Status};
use sha2::{Digest, Sha256};

use crate::manifest::{MANIFEST, Manifest, ManifestFile, hex, snapshot_id};

/// What a snapshot is of.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The project's UUID.
    pub project_id: &'a str,
    /// The project's state that the files are.
    pub revision: u64,
    /// Seconds since 1970: SOURCE_DATE_EPOCH where it is set, else `None`, which gives 1980-01-01.
    pub created_at: Option<u64>,
}

/// Why no snapshot was written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WriteError {
    #[error("{0:?} stands in the list twice")]
    Duplicate(String),
    #[error("{0:?} is no path for a snapshot")]
    Path(String),
    #[error("{0:?} is larger than 4 GiB, or what stands before it is")]
    TooLarge(String),
    #[error("cannot write the snapshot")]
    Io(#[from] io::Error),
}

/// What a package manager reads besides package.json: names of files that come early in a snapshot, at any depth.
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

/// Writes a snapshot of `files` (path, bytes, version), given in any order, and returns its manifest.
///
/// The same input gives the same bytes: the manifest first, then what a dev server and a package manager need first
/// (package.json, lock files, vite.config.*, index.html, at any depth), then the rest, each group in the order of the
/// paths' bytes. Entries are deflated where that makes them smaller; their time is 1980-01-01 00:00.
///
/// # Errors
/// A path given twice or one that no zip can carry, a size above what zip holds without zip64, and `out`'s own errors.
pub fn write_snapshot<P, B>(
    out: impl Write,
    about: About<'_>,
    files: impl IntoIterator<Item = (P, B, u64)>,
) -> Result<Manifest, WriteError>
where
    P: AsRef<str>,
    B: AsRef<[u8]>,
{
    let mut files: Vec<(P, B, u64)> = files.into_iter().collect();
    files.sort_by(|(a, ..), (b, ..)| a.as_ref().cmp(b.as_ref()));
    for pair in files.windows(2) {
        if pair[0].0.as_ref() == pair[1].0.as_ref() {
            return Err(WriteError::Duplicate(pair[0].0.as_ref().to_owned()));
        }
    }
    let manifest = describe(about, &files);
    files.sort_by_key(|(path, ..)| rank(path.as_ref()));

    let mut zip =
        Writer { out, at: 0, directory: Vec::new(), entries: 0, deflate: Compress::new(Compression::default(), false) };
    zip.entry(MANIFEST, &serde_json::to_vec(&manifest).map_err(io::Error::from)?)?;
    for (path, bytes, _) in &files {
        zip.entry(path.as_ref(), bytes.as_ref())?;
    }
    zip.finish()?;
    Ok(manifest)
}

fn describe<P: AsRef<str>, B: AsRef<[u8]>>(about: About<'_>, sorted: &[(P, B, u64)]) -> Manifest {
    let files = sorted.iter().map(|(path, bytes, version)| ManifestFile {
        file_path: path.as_ref().to_owned(),
        version: *version,
        content_hash: hex(&Sha256::digest(bytes.as_ref())),
        size: bytes.as_ref().len() as u64,
    });
    let files: Vec<_> = files.collect();
    Manifest {
        format: 1,
        project_id: about.project_id.to_owned(),
        snapshot_id: snapshot_id(&files),
        revision: about.revision,
        created_at: rfc3339(about.created_at.unwrap_or(YEAR_1980)),
        files,
    }
}

/// Low is needed first.
fn rank(path: &str) -> u8 {
    match path.rsplit('/').next().unwrap_or(path) {
        "package.json" => 0,
        name if LOCK_FILES.contains(&name) => 1,
        name if name.starts_with("vite.config.") => 2,
        "index.html" => 3,
        _ => 4,
    }
}

struct Writer<W> {
    out: W,
    at: u64,
    directory: Vec<u8>,
    entries: u64,
    deflate: Compress,
}

/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
/// 1980-01-01 in DOS's way; its time is 0.
const DOS_DATE: u16 = 1 << 5 | 1;
/// Directories and deflate need this.
const VERSION: u16 = 20;
const MADE_BY_UNIX: u16 = 3 << 8 | VERSION;
const REGULAR_FILE: u32 = 0o100_644 << 16;

impl<W: Write> Writer<W> {
    fn entry(&mut self, path: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let too_large = |_| WriteError::TooLarge(path.to_owned());
        let length = u16::try_from(path.len()).map_err(|_| WriteError::Path(path.to_owned()))?;
        if path.is_empty() || path.ends_with('/') {
            return Err(WriteError::Path(path.to_owned()));
        }
        let offset = u32::try_from(self.at).map_err(too_large)?;
        let size = u32::try_from(bytes.len()).map_err(too_large)?;
        let deflated = self.deflate(bytes)?;
        let (method, data) = deflated.as_deref().map_or((0u16, bytes), |data| (8, data));

        let mut common = Vec::with_capacity(26);
        for field in [VERSION, FLAGS, method, 0, DOS_DATE] {
            common.extend(field.to_le_bytes());
        }
        common.extend(crc32fast::hash(bytes).to_le_bytes());
        // Never above `size`, which fits.
        common.extend((data.len() as u32).to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(length.to_le_bytes());
        common.extend([0; 2]); // no extra field

        self.put(b"PK\x03\x04")?;
        self.put(&common)?;
        self.put(path.as_bytes())?;
        self.put(data)?;

        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(MADE_BY_UNIX.to_le_bytes());
        self.directory.extend(&common);
        self.directory.extend([0; 6]); // no comment, first disk, no internal attributes
        self.directory.extend(REGULAR_FILE.to_le_bytes());
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(path.as_bytes());
        self.entries += 1;
        Ok(())
    }

    /// Nothing where it would not be smaller.
    fn deflate(&mut self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.deflate.reset();
        // Room for the worst case: zlib-rs 0.6 panics where a stream that was left unended is followed by another.
        let mut deflated = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 64);
        let status =
            self.deflate.compress_vec(bytes, &mut deflated, FlushCompress::Finish).map_err(io::Error::other)?;
        Ok((status == Status::StreamEnd && deflated.len() < bytes.len()).then_some(deflated))
    }

    fn finish(mut self) -> Result<(), WriteError> {
        let directory = std::mem::take(&mut self.directory);
        let size = u32::try_from(directory.len()).map_err(|_| WriteError::TooLarge("the directory".into()))?;
        let offset = u32::try_from(self.at).map_err(|_| WriteError::TooLarge("the directory".into()))?;
        self.put(&directory)?;
        // 65,535 is zip's way to say: see the zip64 record.
        let count = u16::try_from(self.entries).unwrap_or(u16::MAX);
        if count == u16::MAX {
            self.zip64_end(u64::from(size), u64::from(offset))?;
        }
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(count.to_le_bytes());
        end.extend(count.to_le_bytes());
        end.extend(size.to_le_bytes());
        end.extend(offset.to_le_bytes());
        end.extend([0; 2]);
        self.put(&end)?;
        Ok(self.out.flush()?)
    }

    fn zip64_end(&mut self, size: u64, offset: u64) -> io::Result<()> {
        let at = self.at;
        let mut end = b"PK\x06\x06".to_vec();
        end.extend(44u64.to_le_bytes());
        end.extend(MADE_BY_UNIX.to_le_bytes());
        end.extend(45u16.to_le_bytes());
        end.extend([0; 8]); // the first disk
        for field in [self.entries, self.entries, size, offset] {
            end.extend(field.to_le_bytes());
        }
        end.extend(b"PK\x06\x07\0\0\0\0");
        end.extend(at.to_le_bytes());
        end.extend(1u32.to_le_bytes());
        self.put(&end)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// 1980-01-01, the first day that zip knows.
const YEAR_1980: u64 = 315_532_800;

/// The time as RFC 3339 in UTC, after Howard Hinnant's days-to-civil: years begin in March, so that leap days end them.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let year = year + era * 400;
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    const ABOUT: About<'_> = About { project_id: "p", revision: 41, created_at: None };

    fn write(files: &[(&str, &[u8], u64)]) -> (Vec<u8>, Manifest) {
        let mut zip = Vec::new();
        let manifest = write_snapshot(&mut zip, ABOUT, files.iter().copied()).unwrap();
        (zip, manifest)
    }

    #[test]
    fn the_same_files_in_any_order_are_the_same_bytes() {
        let text = b"text ".repeat(100);
        let a: (&str, &[u8], u64) = ("src/a.ts", &text, 3);
        let (b, c) = (("index.html", b"<p>".as_slice(), 1), ("ü", b"".as_slice(), 2));
        assert_eq!(write(&[a, b, c]), write(&[c, b, a]));
    }

    #[test]
    fn another_reader_finds_everything_in_the_order_of_need() {
        let text = b"text ".repeat(100);
        let files: Vec<(&str, &[u8], u64)> = vec![
            ("a/package.json", b"{}", 1),
            ("a.txt", &text, 2),
            ("index.html", b"", 3),
            ("vite.config.ts", b"x", 4),
            ("package.json", b"{ }", 5),
            ("pnpm-lock.yaml", b"\xff\0", 6),
            ("z/ü.png", b"\x89PNG", 7),
        ];
        let (zip, manifest) = write(&files);
        let mut archive = zip::ZipArchive::new(Cursor::new(&zip)).unwrap();
        let names: Vec<_> =
            (0..archive.len()).map(|at| archive.by_index(at).unwrap().name().unwrap().into_owned()).collect();
        let wanted = [
            MANIFEST,
            "a/package.json",
            "package.json",
            "pnpm-lock.yaml",
            "vite.config.ts",
            "index.html",
            "a.txt",
            "z/ü.png",
        ];
        assert_eq!(names, wanted);
        for (path, bytes, _) in &files {
            let mut read = Vec::new();
            archive.by_name(path).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(&read, bytes, "{path}");
        }
        let first: Manifest = serde_json::from_reader(archive.by_index(0).unwrap()).unwrap();
        assert_eq!(first, manifest);
        assert_eq!((first.format, first.revision, first.files.len()), (1, 41, 7));
        assert_eq!(first.created_at, "1980-01-01T00:00:00Z");
        assert!(first.files.is_sorted_by(|a, b| a.file_path < b.file_path));
        assert!(zip.len() < text.len() + 2200, "{} bytes: the text was not deflated", zip.len());
    }

    #[test]
    fn more_entries_than_zip_can_count_are_written_as_zip64() {
        let files = (0..70_000).map(|n| (format!("f/{n}"), b"x", 1));
        let mut zip = Vec::new();
        write_snapshot(&mut zip, ABOUT, files).unwrap();
        assert_eq!(zip::ZipArchive::new(Cursor::new(&zip)).unwrap().len(), 70_001);
    }

    #[test]
    fn paths_that_cannot_be_written_are_refused() {
        let refused = |files: &[(&str, &[u8], u64)]| {
            write_snapshot(Vec::new(), ABOUT, files.iter().copied()).unwrap_err().to_string()
        };
        assert!(refused(&[("a", b"", 1), ("a", b"", 2)]).contains("twice"));
        assert!(refused(&[("", b"", 1)]).contains("no path"));
        assert!(refused(&[("a/", b"", 1)]).contains("no path"));
        assert!(refused(&[(&"a".repeat(70_000), b"", 1)]).contains("no path"));
    }

    #[test]
    fn times_are_written_as_people_read_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (YEAR_1980, "1980-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_238_055, "2026-11-21T05:14:15Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
