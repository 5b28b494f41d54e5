//! Stored entries that give their size only after their data have no end that could be told when reading forwards: a
//! zip inside of the zip would end them early. So what is left of such an archive is kept in a file, and the sizes are
//! taken from its central directory; then reading goes on forwards, from the file, with every check as before.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};

use crate::byte_source::{ByteSource, read_from};
use crate::directory::BLOCK;
use crate::error::{Fault, ZipError};
use crate::limits::Limits;
use crate::record::{CENTRAL, Central, END, Fields, ZIP64_END, ZIP64_LOCATOR};

/// Where a file for the bytes is made; nothing of it may be left behind.
pub(crate) type Maker = Box<dyn FnMut() -> io::Result<File> + Send>;

/// Compressed sizes by the place of the entry's header.
pub(crate) type Sizes = HashMap<u64, u64>;

const END_LENGTH: usize = 22;
const LOCATOR_LENGTH: usize = 20;

/// Reads the central directory of an archive of which `file` holds `length` bytes, from byte `base` to the end.
pub(crate) fn sizes(file: &File, base: u64, length: u64, limits: &Limits) -> Result<Sizes, ZipError> {
    let misplaced = || Fault::EndPlace.at(base + length);
    let directory = directory_at(file, base, length)?.checked_sub(base).ok_or_else(misplaced)?;
    if directory > length {
        return Err(misplaced());
    }
    let input = read_from(file, directory).map_err(ZipError::Spool)?;
    let mut source = ByteSource::new(input, base + directory, u64::MAX);
    let mut sizes = Sizes::new();
    while source.signature()? == CENTRAL {
        let listed = Central::read(&mut source, limits)?;
        sizes.insert(listed.offset, listed.compressed);
        if sizes.len() as u64 > limits.entries {
            return Err(Fault::TooManyEntries(limits.entries).at(source.at()));
        }
    }
    Ok(sizes)
}

/// Where the end of the archive says that the central directory begins. Whether it is true shows later.
fn directory_at(file: &File, base: u64, length: u64) -> Result<u64, ZipError> {
    let tail = tail(file, length).map_err(ZipError::Spool)?;
    let ends_here = |at: &usize| {
        let found = &tail[*at..];
        let comment = usize::from(u16::from_le_bytes([found[20], found[21]]));
        let after = found.get(END_LENGTH + comment..);
        found.starts_with(&END.to_le_bytes()) && after.is_some_and(|after| after.iter().all(|byte| *byte == 0))
    };
    let last = tail.len().checked_sub(END_LENGTH);
    let end =
        last.and_then(|last| (0..=last).rev().find(ends_here)).ok_or_else(|| Fault::Truncated.at(base + length))?;
    let offset = u32::from_le_bytes([tail[end + 16], tail[end + 17], tail[end + 18], tail[end + 19]]);
    if offset < u32::MAX {
        return Ok(offset.into());
    }
    let malformed = || Fault::Zip64End.at(base + length);
    let locator =
        end.checked_sub(LOCATOR_LENGTH).and_then(|at| tail[at..].first_chunk()).map(|locator| Fields(*locator));
    let locator: Fields<LOCATOR_LENGTH> = locator.filter(|it| it.u32(0) == ZIP64_LOCATOR).ok_or_else(malformed)?;
    let at = locator.u64(8).checked_sub(base).filter(|at| *at < length).ok_or_else(malformed)?;
    let mut end = Fields([0; 56]);
    read_from(file, at).and_then(|mut file| file.read_exact(&mut end.0)).map_err(|_| malformed())?;
    if end.u32(0) != ZIP64_END {
        return Err(malformed());
    }
    Ok(end.u64(48))
}

/// The last bytes, as many as a locator, the end with the longest comment and padding can have.
fn tail(mut file: &File, length: u64) -> io::Result<Vec<u8>> {
    let most = (LOCATOR_LENGTH + END_LENGTH + usize::from(u16::MAX) + BLOCK) as u64;
    file.seek(io::SeekFrom::Start(length.saturating_sub(most)))?;
    let mut tail = Vec::new();
    file.take(most).read_to_end(&mut tail)?;
    Ok(tail)
}
