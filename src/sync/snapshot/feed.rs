//! The archive's bytes, as the parser takes them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::SnapshotError;
use super::progress::ProgressCounter;

/// Pieces between the download and the extraction. One is what the HTTP client reads at a time, up to some 400 KB, so
/// that this bounds the memory.
const QUEUE: usize = 8;
/// What is read from a local file at a time.
const BUFFER: usize = 128 * 1024;

/// What a download hands on.
pub(super) enum Piece {
    Bytes(Bytes),
    /// There is no more; without this the download broke off.
    End,
}

/// A download's bytes, waited for.
pub(super) struct Feed {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
    meter: Arc<ProgressCounter>,
}

pub(super) fn channel(meter: Arc<ProgressCounter>) -> (mpsc::Sender<Piece>, Feed) {
    let (sender, pieces) = mpsc::channel(QUEUE);
    (sender, Feed { pieces, current: Bytes::new(), ended: false, meter })
}

pub(super) fn file(path: &Path, meter: Arc<ProgressCounter>) -> Result<BufReader<LocalFile>, SnapshotError> {
    let failed = |error| SnapshotError::Read(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    meter.set_total(file.metadata().map_err(failed)?.len());
    Ok(BufReader::with_capacity(BUFFER, LocalFile { file, path: path.to_owned(), meter }))
}

pub(super) struct LocalFile {
    file: File,
    path: PathBuf,
    meter: Arc<ProgressCounter>,
}

impl Read for LocalFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.meter.is_stopped() {
            return Err(io::Error::other(SnapshotError::Stopped));
        }
        let read = self.file.read(buffer);
        let count = read.map_err(|error| io::Error::other(SnapshotError::Read(self.path.clone(), error)))?;
        self.meter.add_bytes(count);
        Ok(count)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) if !self.meter.is_stopped() => self.current = bytes,
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
        let count = self.fill_buf()?.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
