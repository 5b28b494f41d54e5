//! The central directory. It must list exactly what was read.

use std::io::BufRead;
use std::sync::Arc;

use crate::byte_source::ByteSource;
use crate::error::{Fault, ZipError};
use crate::limits::Limits;
use crate::record::{CENTRAL, Central, END, Fields, HAS_DESCRIPTOR, ZIP64_END, ZIP64_LOCATOR};

/// An entry that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name in the archive. A directory's name ends with a slash.
    pub name: Arc<str>,
    /// Size of its content in bytes.
    pub size: u64,
    /// Whether its owner may execute it. Known once the whole archive was read.
    pub executable: bool,
    pub(crate) offset: u64,
    pub(crate) flags: u16,
    pub(crate) method: u16,
    pub(crate) crc: u32,
    pub(crate) compressed: u64,
}

/// Reads from the first byte of the central directory to the last byte of the archive.
pub(crate) fn check<R: BufRead>(
    source: &mut ByteSource<R>,
    read: &mut [Listed],
    limits: &Limits,
) -> Result<(), ZipError> {
    let start = source.at();
    for entry in &mut *read {
        let at = source.at();
        if source.signature()? != CENTRAL {
            return Err(Fault::NotListed.at(at).of(&entry.name));
        }
        let listed = Central::read(source, limits)?;
        entry.executable = compare(entry, &listed).map_err(|fault| fault.at(at).of(&entry.name))?;
    }
    if source.signature()? == CENTRAL {
        return Err(Fault::ListedOnly.at(source.at()));
    }
    let size = source.at().saturating_sub(start);
    let place = Place { entries: read.len() as u64, start, size };
    let zip64 = source.signature()? == ZIP64_END;
    if zip64 {
        zip64_end(source, &place)?;
    }
    end(source, &place, zip64)
}

/// Compares an entry with its listing. Returns whether it is executable.
fn compare(read: &Listed, listed: &Central) -> Result<bool, Fault> {
    if *listed.name != *read.name {
        return Err(Fault::ListedName(listed.name.chars().take(200).collect::<String>().into()));
    }
    if listed.offset != read.offset {
        return Err(Fault::ListedOffset(listed.offset));
    }
    // Some tools do not set the descriptor's bit here.
    if listed.method != read.method || (listed.flags ^ read.flags) & !HAS_DESCRIPTOR != 0 {
        return Err(Fault::ListedMethod);
    }
    if listed.crc != read.crc {
        return Err(Fault::ListedCrc(listed.crc));
    }
    for (listed, read) in [(listed.compressed, read.compressed), (listed.size, read.size)] {
        if listed != read {
            return Err(Fault::ListedSize(listed));
        }
    }
    let mode = listed.mode.unwrap_or_default();
    match mode & 0o170_000 {
        0 | 0o100_000 => Ok(mode & 0o100 != 0 && !read.name.ends_with('/')),
        0o040_000 if read.name.ends_with('/') => Ok(false),
        0o120_000 => Err(Fault::Symlink),
        _ => Err(Fault::Special(mode)),
    }
}

/// The central directory as it was found.
struct Place {
    entries: u64,
    start: u64,
    size: u64,
}

impl Place {
    fn check(&self, on_disk: u64, entries: u64, size: u64, start: u64) -> Result<(), Fault> {
        for count in [on_disk, entries] {
            if count != self.entries {
                return Err(Fault::EndCount(count));
            }
        }
        if (size, start) == (self.size, self.start) { Ok(()) } else { Err(Fault::EndPlace) }
    }
}

fn zip64_end<R: BufRead>(source: &mut ByteSource<R>, place: &Place) -> Result<(), ZipError> {
    let at = source.at();
    let end = Fields(source.array::<56>()?);
    let rest = end.u64(4).checked_sub(44).ok_or_else(|| Fault::Zip64End.at(at))?;
    if end.u64(16) != 0 {
        return Err(Fault::Split.at(at));
    }
    place.check(end.u64(24), end.u64(32), end.u64(40), end.u64(48)).map_err(|fault| fault.at(at))?;
    source.skip(rest)?;
    let locator = Fields(source.array::<20>()?);
    let is_right =
        locator.u32(0) == ZIP64_LOCATOR && locator.u32(4) == 0 && locator.u64(8) == at && locator.u32(16) == 1;
    if is_right { Ok(()) } else { Err(Fault::Zip64End.at(at)) }
}

fn end<R: BufRead>(source: &mut ByteSource<R>, place: &Place, zip64: bool) -> Result<(), ZipError> {
    let at = source.at();
    match source.signature()? {
        END => {}
        other => return Err(Fault::UnknownRecord(other).at(at)),
    }
    let end = Fields(source.array::<22>()?);
    // All bits set means that the value is in the zip64 record, which was checked.
    let short = |field: u16, known: u64| if zip64 && field == u16::MAX { known } else { field.into() };
    let long = |field: u32, known: u64| if zip64 && field == u32::MAX { known } else { field.into() };
    if short(end.u16(4), 0) != 0 || short(end.u16(6), 0) != 0 {
        return Err(Fault::Split.at(at));
    }
    let (on_disk, entries) = (short(end.u16(8), place.entries), short(end.u16(10), place.entries));
    let (size, start) = (long(end.u32(12), place.size), long(end.u32(16), place.start));
    place.check(on_disk, entries, size, start).map_err(|fault| fault.at(at))?;

    let comment = source.take(end.u16(20).into())?;
    if comment.windows(4).any(|four| four == END.to_le_bytes()) {
        return Err(Fault::TwoEnds.at(at));
    }
    padding(source)
}

/// The block size of tools that were made for tapes, in bytes. They fill the last block with zeros.
pub(crate) const BLOCK: usize = 10_240;

fn padding<R: BufRead>(source: &mut ByteSource<R>) -> Result<(), ZipError> {
    let end = source.at();
    loop {
        let at = source.at();
        let chunk = source.chunk()?;
        if chunk.is_empty() {
            return Ok(());
        }
        let count = chunk.len();
        if chunk.iter().any(|byte| *byte != 0) || at.saturating_sub(end).saturating_add(count as u64) >= BLOCK as u64 {
            return Err(Fault::BytesAfterEnd.at(at));
        }
        source.consume(count);
    }
}
