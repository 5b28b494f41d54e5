use std::io::BufRead;
use std::sync::Arc;

use crc32fast::Hasher;
use flate2::{FlushDecompress, Status};

use crate::archive::{Archive, State};
use crate::byte_source::ByteSource;
use crate::directory::Listed;
use crate::error::{Fault, ZipError};
use crate::record::{CENTRAL, DESCRIPTOR, HAS_DESCRIPTOR, LOCAL, Local, STORED};

/// An entry, whose content can be read now.
pub struct Entry<'a, R> {
    archive: &'a mut Archive<R>,
    name: Arc<str>,
    size: Option<u64>,
}

/// The entry whose data is being read.
pub(crate) struct Current {
    name: Arc<str>,
    offset: u64,
    flags: u16,
    method: u16,
    zip64: bool,
    /// From the local header.
    crc: Option<u32>,
    compressed: Option<u64>,
    size: Option<u64>,
    /// What was read so far.
    consumed: u64,
    produced: u64,
    hasher: Hasher,
}

impl<'a, R: BufRead> Entry<'a, R> {
    /// The entry that `archive` is at.
    pub(crate) fn of(archive: &'a mut Archive<R>) -> Option<Entry<'a, R>> {
        let State::Data(current) = &archive.state else { return None };
        let (name, size) = (current.name.clone(), current.size);
        Some(Entry { archive, name, size })
    }

    /// The name in the archive. It is not checked: it may be absolute, or leave the directory.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it is a directory: its name ends with a slash.
    pub fn is_dir(&self) -> bool {
        self.name.ends_with('/')
    }

    /// Size of the content in bytes, where the local header has it.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes of the archive that were read.
    pub fn position(&self) -> u64 {
        self.archive.position()
    }

    /// Reads the next part of the content into `buffer`, which must not be empty; 64 KiB or more is best. 0 is the end: size
    /// and checksum are correct, as far as that is known before the end of the archive.
    ///
    /// # Errors
    /// The first fault found; after that there is no going on.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ZipError> {
        self.archive.guard(|archive| archive.read_data(buffer))
    }
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, ZipError> {
        let State::Data(current) = &mut self.state else { return Ok(0) };
        let name = current.name.clone();
        let failed = |error: ZipError| error.of(&name);
        let (count, is_end) = if current.method == STORED {
            current.copy(&mut self.source, buffer)
        } else {
            current.inflate(&mut self.inflate, &mut self.source, buffer)
        }
        .map_err(failed)?;

        let at = self.source.at();
        self.expanded = self.expanded.saturating_add(count as u64);
        if self.expanded > self.limits.expanded {
            return Err(failed(Fault::TooLargeExpanded(self.limits.expanded).at(at)));
        }
        if self.expanded > self.limits.ratio_from
            && self.expanded.checked_div(self.limits.ratio).unwrap_or(u64::MAX) > at
        {
            return Err(failed(Fault::Ratio(self.limits.ratio).at(at)));
        }
        if is_end {
            let listed = current.end(&mut self.source).map_err(failed)?;
            self.listed.push(listed);
            self.state = State::Between;
        }
        Ok(count)
    }
}

impl Current {
    pub fn new(name: Arc<str>, offset: u64, local: &Local, compressed: Option<u64>, size: Option<u64>) -> Current {
        let Local { flags, method, zip64, crc, .. } = *local;
        let hasher = Hasher::new();
        Current { name, offset, flags, method, zip64, crc, compressed, size, consumed: 0, produced: 0, hasher }
    }

    /// Copies stored data. Returns how many bytes were written to `buffer`, and whether they are the last ones.
    fn copy<R: BufRead>(&mut self, source: &mut ByteSource<R>, buffer: &mut [u8]) -> Result<(usize, bool), ZipError> {
        let left = self.left();
        let chunk = if left == 0 { &[] } else { source.chunk()? };
        let count = cut(chunk, left).len().min(buffer.len());
        let (from, to) = (chunk.get(..count).unwrap_or_default(), buffer.get_mut(..count).unwrap_or_default());
        to.copy_from_slice(from);
        if count == 0 && left > 0 {
            return Err(Fault::Truncated.at(source.at()));
        }
        source.consume(count);
        self.consumed = self.consumed.saturating_add(count as u64);
        self.produce(buffer.get(..count).unwrap_or_default());
        Ok((count, self.left() == 0))
    }

    fn inflate<R: BufRead>(
        &mut self,
        inflate: &mut flate2::Decompress,
        source: &mut ByteSource<R>,
        buffer: &mut [u8],
    ) -> Result<(usize, bool), ZipError> {
        loop {
            let left = self.left();
            let at = source.at();
            let chunk = if left == 0 { &[] } else { source.chunk()? };
            if chunk.is_empty() && left > 0 {
                return Err(Fault::Truncated.at(at));
            }
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(cut(chunk, left), buffer, FlushDecompress::None);
            let status = status.map_err(|_| Fault::Deflate.at(at))?;
            let used = inflate.total_in().saturating_sub(before_in) as usize;
            let count = inflate.total_out().saturating_sub(before_out) as usize;
            source.consume(used);
            self.consumed = self.consumed.saturating_add(used as u64);
            self.produce(buffer.get(..count).unwrap_or_default());
            if status == Status::StreamEnd {
                return Ok((count, true));
            }
            if count > 0 {
                return Ok((count, false));
            }
            if used == 0 {
                return Err(Fault::Deflate.at(at));
            }
        }
    }

    /// Bytes of data that the source still has for this entry.
    fn left(&self) -> u64 {
        self.compressed.map_or(u64::MAX, |compressed| compressed.saturating_sub(self.consumed))
    }

    fn produce(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.produced = self.produced.saturating_add(bytes.len() as u64);
    }

    /// Compares what was read with the local header and the descriptor.
    fn end<R: BufRead>(&mut self, source: &mut ByteSource<R>) -> Result<Listed, ZipError> {
        let at = source.at();
        let computed = std::mem::take(&mut self.hasher).finalize();
        if self.compressed.is_some_and(|recorded| recorded != self.consumed) {
            return Err(Fault::DataLeft.at(at));
        }
        if let Some(recorded) = self.size.filter(|recorded| *recorded != self.produced) {
            return Err(Fault::Size { recorded, found: self.produced }.at(at));
        }
        if let Some(recorded) = self.crc.filter(|recorded| *recorded != computed) {
            return Err(Fault::Crc { recorded, computed }.at(at));
        }
        if self.name.ends_with('/') && self.produced > 0 {
            return Err(Fault::DirectoryWithContent.at(at));
        }
        if self.flags & HAS_DESCRIPTOR != 0 {
            self.descriptor(source, computed)?;
        }
        Ok(Listed {
            name: self.name.clone(),
            size: self.produced,
            executable: false,
            offset: self.offset,
            flags: self.flags,
            method: self.method,
            crc: computed,
            compressed: self.consumed,
        })
    }

    /// A descriptor has a signature or not, and sizes of four bytes or eight, and nothing says which. The right form is the
    /// one that agrees with what was read and that is followed by another record.
    fn descriptor<R: BufRead>(&self, source: &mut ByteSource<R>, crc: u32) -> Result<(), ZipError> {
        /// The longest descriptor, and the signature after it.
        const AHEAD: usize = 24 + 4;
        let at = source.at();
        let ahead = source.peek(AHEAD)?;
        for (signed, wide) in [(true, self.zip64), (true, !self.zip64), (false, self.zip64), (false, !self.zip64)] {
            let Some(form) = form(signed, wide, [self.consumed, self.produced], crc) else { continue };
            let Some(next) = ahead.strip_prefix(&form[..]).and_then(<[u8]>::first_chunk) else { continue };
            if matches!(u32::from_le_bytes(*next), LOCAL | CENTRAL) {
                source.consume(form.len());
                return Ok(());
            }
        }
        // The central directory, which must follow, is longer than this.
        Err(if ahead.len() < AHEAD { Fault::Truncated } else { Fault::Descriptor }.at(at))
    }
}

fn form(signed: bool, wide: bool, sizes: [u64; 2], crc: u32) -> Option<Vec<u8>> {
    let mut form = Vec::with_capacity(24);
    if signed {
        form.extend(DESCRIPTOR.to_le_bytes());
    }
    form.extend(crc.to_le_bytes());
    for size in sizes {
        match u32::try_from(size) {
            _ if wide => form.extend(size.to_le_bytes()),
            Ok(size) => form.extend(size.to_le_bytes()),
            Err(_) => return None,
        }
    }
    Some(form)
}

fn cut(chunk: &[u8], left: u64) -> &[u8] {
    chunk.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(chunk)
}
