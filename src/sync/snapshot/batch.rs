//! What the reading thread of an extraction passes to the writing thread: many small files at once, so that neither thread
//! waits for the other at each file.

use std::io::BufRead;
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sync_core::ProjectPath;
use zip_stream::{Entry, ZipError};

use super::manifest_check::Expected;
use super::{ManifestFault, SnapshotError};

/// Content of one batch in bytes: about ten files of usual size, and small enough for the processor's cache.
const BYTES: usize = 256 * 1024;
/// A batch with less free space than this is full, in bytes.
const MIN_ROOM: usize = 32 * 1024;
/// Parts of one batch, so that many very small files do not wait for a full buffer.
const PARTS: usize = 512;
/// Full batches that wait for the writing thread. There are three more: one being filled, one being written, and one to be
/// filled next. This bounds the memory.
const QUEUE: usize = 2;
/// All batches.
const BATCHES: usize = QUEUE + 3;

/// One step of the archive, in its order.
pub(super) enum Part {
    /// The manifest that every later file is checked against.
    Manifest(Expected),
    /// The beginning of a file to be staged.
    File(ProjectPath),
    /// The beginning of a file that is read and not written.
    Skipped(String),
    /// This many bytes of the file: the next ones of the batch.
    Bytes(usize),
    /// The end of the file. Its checksum in the archive is correct.
    End,
}

pub(super) struct Batch {
    pub parts: Vec<Part>,
    pub bytes: Vec<u8>,
}

/// Why reading ends before the end of the archive.
pub(super) enum StopReason {
    /// The writing thread has ended, and returns its own error.
    ReceiverClosed,
    Fault(SnapshotError),
}

/// The reading thread's side: the batch that is being filled.
pub(super) struct Filling {
    batch: Batch,
    /// Bytes of the buffer that are used.
    filled: usize,
    full: SyncSender<Batch>,
    emptied: Receiver<Batch>,
}

/// The writing thread's side.
pub(super) struct Batches {
    full: Receiver<Batch>,
    emptied: SyncSender<Batch>,
}

/// Creates both sides.
pub(super) fn channel() -> (Filling, Batches) {
    let (full, batches) = sync_channel(QUEUE);
    // Room for every batch there is: returning one never waits.
    let (back, emptied) = sync_channel(BATCHES);
    (Filling { batch: Batch::new(), filled: 0, full, emptied }, Batches { full: batches, emptied: back })
}

impl Batch {
    fn new() -> Batch {
        Batch { parts: Vec::new(), bytes: vec![0; BYTES] }
    }
}

impl Filling {
    pub fn push(&mut self, part: Part) -> Result<(), StopReason> {
        self.batch.parts.push(part);
        if self.batch.parts.len() < PARTS { Ok(()) } else { self.flush() }
    }

    /// Reads an entry to its end, after [`Part::File`] or [`Part::Skipped`].
    pub fn copy<R: BufRead>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), StopReason> {
        loop {
            if BYTES.saturating_sub(self.filled) < MIN_ROOM {
                self.flush()?;
            }
            let room = self.batch.bytes.get_mut(self.filled..).unwrap_or_default();
            match entry.read(room)? {
                0 => return self.push(Part::End),
                count => {
                    self.filled = self.filled.saturating_add(count);
                    self.push(Part::Bytes(count))?;
                }
            }
        }
    }

    /// Passes on what there is.
    pub fn flush(&mut self) -> Result<(), StopReason> {
        // Where none was returned yet, another one is allocated, up to the bound.
        let empty = self.emptied.try_recv().unwrap_or_else(|_| Batch::new());
        self.filled = 0;
        self.full.send(mem::replace(&mut self.batch, empty)).map_err(|_| StopReason::ReceiverClosed)
    }
}

impl Batches {
    /// The next batch; `None` after the last one.
    pub fn next(&self) -> Option<Batch> {
        self.full.recv().ok()
    }

    /// Returns a batch to be filled again.
    pub fn give_back(&self, mut batch: Batch) {
        batch.parts.clear();
        // Without a reading thread it is not needed.
        let _ = self.emptied.try_send(batch);
    }
}

impl From<SnapshotError> for StopReason {
    fn from(error: SnapshotError) -> StopReason {
        StopReason::Fault(error)
    }
}

impl From<ZipError> for StopReason {
    fn from(error: ZipError) -> StopReason {
        StopReason::Fault(error.into())
    }
}

impl From<ManifestFault> for StopReason {
    fn from(fault: ManifestFault) -> StopReason {
        StopReason::Fault(fault.into())
    }
}
