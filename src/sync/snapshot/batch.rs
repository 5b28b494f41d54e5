//! What the reading thread of an extraction hands to the staging one: many small files at once, so that neither waits
//! for the other a file at a time.

use std::io::BufRead;
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sync_core::ProjectPath;
use zip_stream::{Entry, ZipError};

use super::manifest_check::Expected;
use super::{ManifestFault, SnapshotError};

/// Content of one batch, in bytes. Some ten files of usual size, and small enough for the processor's cache.
const BYTES: usize = 256 * 1024;
/// With less room than this, a batch is full.
const LEAST_ROOM: usize = 32 * 1024;
/// Files of one batch, so that very small ones come on as well.
const PARTS: usize = 512;
/// Batches that are full and not taken yet. With one that is being filled, one that is being staged and one to be filled next
/// this bounds the memory.
const QUEUE: usize = 2;

/// One step of the archive, in its order.
pub(super) enum Part {
    /// What every file from now on is held against.
    Manifest(Expected),
    /// A file begins that is to be staged.
    File(ProjectPath),
    /// A file begins that is read and never written.
    Skipped(String),
    /// So many bytes of it, the next ones of the batch.
    Bytes(usize),
    /// It is whole, and its checksum in the archive holds.
    End,
}

pub(super) struct Batch {
    pub parts: Vec<Part>,
    pub bytes: Vec<u8>,
}

/// Why the reading ends before the archive does.
pub(super) enum StopReason {
    /// The staging thread is gone, and says itself why.
    ReceiverClosed,
    Fault(SnapshotError),
}

/// The reading thread's end: the batch that is being filled.
pub(super) struct Filling {
    batch: Batch,
    /// Bytes of the batch that are content.
    filled: usize,
    full: SyncSender<Batch>,
    emptied: Receiver<Batch>,
}

/// The staging thread's end.
pub(super) struct Batches {
    full: Receiver<Batch>,
    emptied: SyncSender<Batch>,
}

/// Both ends.
pub(super) fn channel() -> (Filling, Batches) {
    let (full, batches) = sync_channel(QUEUE);
    // Room for every batch there is: giving one back never waits.
    let (back, emptied) = sync_channel(QUEUE + 3);
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
            if BYTES - self.filled < LEAST_ROOM {
                self.flush()?;
            }
            match entry.read(&mut self.batch.bytes[self.filled..])? {
                0 => return self.push(Part::End),
                count => {
                    self.filled += count;
                    self.push(Part::Bytes(count))?;
                }
            }
        }
    }

    /// Hands on what there is.
    pub fn flush(&mut self) -> Result<(), StopReason> {
        // Where none came back yet, another is made: no more than can be under way at once.
        let empty = self.emptied.try_recv().unwrap_or_else(|_| Batch::new());
        self.filled = 0;
        self.full.send(mem::replace(&mut self.batch, empty)).map_err(|_| StopReason::ReceiverClosed)
    }
}

impl Batches {
    /// The next one; none after the last.
    pub fn next(&self) -> Option<Batch> {
        self.full.recv().ok()
    }

    /// To be filled again.
    pub fn give_back(&self, mut batch: Batch) {
        batch.parts.clear();
        // Nobody fills any more: then it is not needed.
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
