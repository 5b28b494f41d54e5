//! A stored entry whose size comes only after its data cannot be read forwards: a zip inside of the zip would end it early.
//! So the rest of such an archive is written to a file, and the sizes are taken from its central directory. Then the file is
//! read forwards, with every check as before.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};

use crate::byte_source::{ByteSource, read_from};
use crate::directory::BLOCK;
use crate::error::{Fault, ZipError};
use crate::limits::Limits;
use crate::record::{CENTRAL, Central, END, Fields, ZIP64_END, ZIP64_LOCATOR};

/// Creates the file. It must have no name.
pub(crate) type Maker = Box<dyn FnMut() -> io::Result<File> + Send>;

/// Compressed sizes by the place of the entry's header.
pub(crate) type Sizes = HashMap<u64, u64>;

const END_LENGTH: usize = 22;
const LOCATOR_LENGTH: usize = 20;

/// Reads the central directory of an archive of which `file` holds `length` bytes, from byte `base` to the end.
pub(crate) fn sizes(file: &File, base: u64, length: u64, limits: &Limits) -> Result<Sizes, ZipError> {
    let end = base.saturating_add(length);
    let misplaced = || Fault::EndPlace.at(end);
    let directory = directory_at(file, base, length)?.checked_sub(base).ok_or_else(misplaced)?;
    if directory > length {
        return Err(misplaced());
    }
    let input = read_from(file, directory).map_err(ZipError::Spool)?;
    let mut source = ByteSource::new(input, base.saturating_add(directory), u64::MAX);
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

/// The offset of the central directory, from the end of the archive. It is not checked here.
fn directory_at(file: &File, base: u64, length: u64) -> Result<u64, ZipError> {
    let tail = tail(file, length).map_err(ZipError::Spool)?;
    let end_of_file = base.saturating_add(length);
    let (before, end) = last_end(&tail).ok_or_else(|| Fault::Truncated.at(end_of_file))?;
    let offset = end.u32(16);
    if offset < u32::MAX {
        return Ok(offset.into());
    }
    let malformed = || Fault::Zip64End.at(end_of_file);
    let locator: Option<Fields<LOCATOR_LENGTH>> = before.last_chunk().copied().map(Fields);
    let locator = locator.filter(|locator| locator.u32(0) == ZIP64_LOCATOR).ok_or_else(malformed)?;
    let at = locator.u64(8).checked_sub(base).filter(|at| *at < length).ok_or_else(malformed)?;
    let mut end = Fields([0; 56]);
    read_from(file, at).and_then(|mut file| file.read_exact(&mut end.0)).map_err(|_| malformed())?;
    if end.u32(0) != ZIP64_END {
        return Err(malformed());
    }
    Ok(end.u64(48))
}

/// The last end record in `tail`, with the bytes before it. Only its comment and zeros follow it.
fn last_end(tail: &[u8]) -> Option<(&[u8], Fields<END_LENGTH>)> {
    let last = tail.len().checked_sub(END_LENGTH)?;
    (0..=last).rev().find_map(|offset| {
        let (before, found) = tail.split_at_checked(offset)?;
        let (end, after) = found.split_first_chunk()?;
        let end = Fields(*end);
        let padding = after.get(usize::from(end.u16(20))..)?;
        (end.u32(0) == END && padding.iter().all(|byte| *byte == 0)).then_some((before, end))
    })
}

/// The last bytes, as many as a locator, the end with the longest comment and padding can have.
fn tail(mut file: &File, length: u64) -> io::Result<Vec<u8>> {
    const MOST: u64 = (LOCATOR_LENGTH + END_LENGTH + u16::MAX as usize + BLOCK) as u64;
    file.seek(io::SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut tail = Vec::new();
    file.take(MOST).read_to_end(&mut tail)?;
    Ok(tail)
}
