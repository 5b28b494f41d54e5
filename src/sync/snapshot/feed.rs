//! The archive's bytes, as a reader for the parser.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::SnapshotError;
use super::progress::ProgressCounter;

/// Pieces that wait between the download and the extraction. A piece is what the HTTP client reads at once, up to about
/// 400 KB, so this bounds the memory.
const QUEUE: usize = 8;
/// Bytes read from a local file at once.
const BUFFER: usize = 128 * 1024;

/// What a download passes on.
pub(super) enum Piece {
    Bytes(Bytes),
    /// The end. Without it the download was interrupted.
    End,
}

/// The bytes of a download. Reading waits for them.
pub(super) struct Feed {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
    progress: Arc<ProgressCounter>,
}

pub(super) fn channel(progress: Arc<ProgressCounter>) -> (mpsc::Sender<Piece>, Feed) {
    let (sender, pieces) = mpsc::channel(QUEUE);
    (sender, Feed { pieces, current: Bytes::new(), ended: false, progress })
}

pub(super) fn file(path: &Path, progress: Arc<ProgressCounter>) -> Result<BufReader<LocalFile>, SnapshotError> {
    let failed = |error| SnapshotError::Read(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    progress.set_total(file.metadata().map_err(failed)?.len());
    Ok(BufReader::with_capacity(BUFFER, LocalFile { file, path: path.to_owned(), progress }))
}

pub(super) struct LocalFile {
    file: File,
    path: PathBuf,
    progress: Arc<ProgressCounter>,
}

impl Read for LocalFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_stopped() {
            return Err(io::Error::other(SnapshotError::Stopped));
        }
        let read = self.file.read(buffer);
        let count = read.map_err(|error| io::Error::other(SnapshotError::Read(self.path.clone(), error)))?;
        self.progress.add_bytes(count);
        Ok(count)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) if !self.progress.is_stopped() => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                _ => return Err(io::Error::other(SnapshotError::Stopped)),
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
