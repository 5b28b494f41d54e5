use std::io::{self, Write};

use sha2::{Digest, Sha256};

use crate::manifest::{MANIFEST, Manifest, ManifestFile, hex, snapshot_id};

mod archive_writer;
mod timestamp;

use archive_writer::ArchiveWriter;

/// What a snapshot's manifest says about the snapshot as a whole.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotInfo<'a> {
    /// The project's UUID.
    pub project_id: &'a str,
    /// The revision of the project that the files are.
    pub revision: u64,
    /// Seconds since 1970: SOURCE_DATE_EPOCH where it is set. `None` gives 1980-01-01.
    pub created_at: Option<u64>,
}

/// A file to write into a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotFile<P, B> {
    /// Relative to the project's root, with `/` between its parts.
    pub path: P,
    /// The content.
    pub bytes: B,
    /// The row's version in the database.
    pub version: u64,
}

/// Why no snapshot was written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WriteError {
    #[error("the path {0:?} is given twice")]
    Duplicate(String),
    #[error("a snapshot cannot contain the path {0:?}")]
    Path(String),
    #[error("{0:?} is too large: neither a file nor the archive before it may exceed 4 GiB")]
    TooLarge(String),
    #[error("cannot write the snapshot")]
    Io(#[from] io::Error),
}

/// Writes a snapshot of `files`, which may come in any order, and returns its manifest.
///
/// The same input gives the same bytes: the manifest first, then the files by `rank` of their path, lower ones first,
/// those of one rank sorted by the bytes of their paths. An entry is deflated where that makes it smaller; its time is
/// 1980-01-01 00:00.
///
/// # Errors
/// A path that is given twice or that a zip cannot contain, a size that zip cannot express without zip64, and errors of
/// `out`.
pub fn write_snapshot<P, B>(
    out: impl Write,
    info: SnapshotInfo<'_>,
    files: impl IntoIterator<Item = SnapshotFile<P, B>>,
    rank: impl Fn(&str) -> u8,
) -> Result<Manifest, WriteError>
where
    P: AsRef<str>,
    B: AsRef<[u8]>,
{
    let mut files: Vec<SnapshotFile<P, B>> = files.into_iter().collect();
    files.sort_by(|a, b| a.path.as_ref().cmp(b.path.as_ref()));
    if let Some([first, _]) = files.array_windows().find(|[a, b]| a.path.as_ref() == b.path.as_ref()) {
        return Err(WriteError::Duplicate(first.path.as_ref().to_owned()));
    }
    let manifest = manifest_of(info, &files);
    files.sort_by_key(|file| rank(file.path.as_ref()));

    let mut archive = ArchiveWriter::new(out);
    archive.entry(MANIFEST, &serde_json::to_vec(&manifest).map_err(io::Error::from)?)?;
    for file in &files {
        archive.entry(file.path.as_ref(), file.bytes.as_ref())?;
    }
    archive.finish()?;
    Ok(manifest)
}

fn manifest_of<P: AsRef<str>, B: AsRef<[u8]>>(info: SnapshotInfo<'_>, sorted: &[SnapshotFile<P, B>]) -> Manifest {
    let row = |file: &SnapshotFile<P, B>| ManifestFile {
        file_path: file.path.as_ref().to_owned(),
        version: file.version,
        content_hash: hex(&Sha256::digest(file.bytes.as_ref())),
        size: file.bytes.as_ref().len() as u64,
    };
    let files: Vec<_> = sorted.iter().map(row).collect();
    Manifest {
        format: 1,
        project_id: info.project_id.to_owned(),
        snapshot_id: snapshot_id(&files),
        revision: info.revision,
        created_at: timestamp::rfc3339(info.created_at.unwrap_or(timestamp::YEAR_1980)),
        files,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    const INFO: SnapshotInfo<'_> = SnapshotInfo { project_id: "p", revision: 41, created_at: None };

    fn file<'a>(&(path, bytes, version): &(&'a str, &'a [u8], u64)) -> SnapshotFile<&'a str, &'a [u8]> {
        SnapshotFile { path, bytes, version }
    }

    /// Manifests of packages first.
    fn rank(path: &str) -> u8 {
        u8::from(!path.ends_with("package.json"))
    }

    fn write(files: &[(&str, &[u8], u64)]) -> (Vec<u8>, Manifest) {
        let mut zip = Vec::new();
        let manifest = write_snapshot(&mut zip, INFO, files.iter().map(file), rank).unwrap();
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
    fn another_reader_finds_all_entries_in_the_order_of_their_rank() {
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
            "a.txt",
            "index.html",
            "pnpm-lock.yaml",
            "vite.config.ts",
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
        let files = (0..70_000).map(|n| SnapshotFile { path: format!("f/{n}"), bytes: b"x", version: 1 });
        let mut zip = Vec::new();
        write_snapshot(&mut zip, INFO, files, rank).unwrap();
        assert_eq!(zip::ZipArchive::new(Cursor::new(&zip)).unwrap().len(), 70_001);
    }

    #[test]
    fn rejects_duplicate_and_invalid_paths() {
        let refused = |files: &[(&str, &[u8], u64)]| {
            write_snapshot(Vec::new(), INFO, files.iter().map(file), rank).unwrap_err().to_string()
        };
        assert!(refused(&[("a", b"", 1), ("a", b"", 2)]).contains("twice"));
        assert!(refused(&[("", b"", 1)]).contains("cannot contain"));
        assert!(refused(&[("a/", b"", 1)]).contains("cannot contain"));
        assert!(refused(&[(&"a".repeat(70_000), b"", 1)]).contains("cannot contain"));
    }
}
