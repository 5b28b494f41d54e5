use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, Write};

use crate::error::{Fault, ZipError};

/// The archive's bytes: counted, bounded, and with a look ahead that does not depend on how the input is cut.
pub(crate) struct ByteSource<R> {
    input: Input<R>,
    /// Bytes that were taken from `input` for a look ahead. They come first.
    ahead: Vec<u8>,
    /// Bytes consumed.
    at: u64,
    limit: u64,
}

enum Input<R> {
    Stream(R),
    Spool(BufReader<File>),
}

/// Bytes read from a spooled file at once.
const SPOOL_BUFFER: usize = 64 * 1024;

impl<R: BufRead> ByteSource<R> {
    pub fn new(input: R, at: u64, limit: u64) -> ByteSource<R> {
        ByteSource { input: Input::Stream(input), ahead: Vec::new(), at, limit }
    }

    /// Bytes from the archive's beginning.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Some of the next bytes; empty only at the end.
    pub fn chunk(&mut self) -> Result<&[u8], ZipError> {
        let left = self.limit.saturating_sub(self.at);
        let bytes = if self.ahead.is_empty() { self.input.fill(self.at)? } else { &self.ahead };
        if left == 0 && !bytes.is_empty() {
            return Err(Fault::TooLarge(self.limit).at(self.at));
        }
        Ok(bytes.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(bytes))
    }

    /// Consumes `count` bytes of the last chunk.
    pub fn consume(&mut self, count: usize) {
        self.at = self.at.saturating_add(count as u64);
        if self.ahead.is_empty() {
            self.input.consume(count);
        } else {
            self.ahead.drain(..count.min(self.ahead.len()));
        }
    }

    /// The next `count` bytes; fewer only at the end. They are not consumed.
    pub fn peek(&mut self, count: usize) -> Result<&[u8], ZipError> {
        if self.ahead.is_empty() && self.input.fill(self.at)?.len() >= count {
            return Ok(self.input.fill(self.at)?.get(..count).unwrap_or_default());
        }
        while self.ahead.len() < count {
            let more = self.input.fill(self.at)?;
            let take = more.len().min(count.saturating_sub(self.ahead.len()));
            if take == 0 {
                break;
            }
            self.ahead.extend(more.iter().take(take));
            self.input.consume(take);
        }
        Ok(self.ahead.get(..count).unwrap_or(&self.ahead))
    }

    /// The next four bytes as a record's signature.
    pub fn signature(&mut self) -> Result<u32, ZipError> {
        let at = self.at;
        match *self.peek(4)? {
            [a, b, c, d] => Ok(u32::from_le_bytes([a, b, c, d])),
            _ => Err(Fault::Truncated.at(at)),
        }
    }

    /// Exactly `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ZipError> {
        let mut bytes = [0; N];
        self.fill_exactly(&mut bytes)?;
        Ok(bytes)
    }

    /// Exactly `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<Vec<u8>, ZipError> {
        let mut bytes = vec![0; count];
        self.fill_exactly(&mut bytes)?;
        Ok(bytes)
    }

    /// Skips exactly `count` bytes.
    pub fn skip(&mut self, mut count: u64) -> Result<(), ZipError> {
        while count > 0 {
            let found = self.chunk()?.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            if found == 0 {
                return Err(Fault::Truncated.at(self.at));
            }
            self.consume(found);
            count = count.saturating_sub(found as u64);
        }
        Ok(())
    }

    fn fill_exactly(&mut self, bytes: &mut [u8]) -> Result<(), ZipError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut chunk = self.chunk()?;
            // Reading from a slice does not fail.
            let count = chunk.read(rest).unwrap_or_default();
            if count == 0 {
                return Err(Fault::Truncated.at(self.at));
            }
            self.consume(count);
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Moves the rest of the archive to `file`, and continues to read from there. Returns a second handle of the file, and
    /// its size in bytes.
    pub fn spool(&mut self, file: File) -> Result<(File, u64), ZipError> {
        let start = self.at;
        let mut writer = &file;
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                break;
            }
            writer.write_all(chunk).map_err(ZipError::Spool)?;
            let count = chunk.len();
            self.consume(count);
        }
        let length = self.at.saturating_sub(start);
        self.at = start;
        self.ahead.clear();
        let copy = file.try_clone().map_err(ZipError::Spool)?;
        self.input = Input::Spool(BufReader::with_capacity(SPOOL_BUFFER, file));
        Ok((copy, length))
    }

    /// Seeks to the first byte of the spooled file. Its handles share the position.
    pub fn rewind_spool(&mut self) -> io::Result<()> {
        match &mut self.input {
            Input::Spool(file) => file.rewind(),
            Input::Stream(_) => Ok(()),
        }
    }
}

impl<R: BufRead> Input<R> {
    fn fill(&mut self, at: u64) -> Result<&[u8], ZipError> {
        loop {
            // Called again after the loop, which cannot return the borrowed buffer; that costs nothing.
            match self.buffer() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(ZipError::Read { offset: at, source }),
            }
        }
        self.buffer().map_err(|source| ZipError::Read { offset: at, source })
    }

    fn buffer(&mut self) -> io::Result<&[u8]> {
        match self {
            Input::Stream(stream) => stream.fill_buf(),
            Input::Spool(file) => file.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Input::Stream(stream) => stream.consume(count),
            Input::Spool(file) => file.consume(count),
        }
    }
}

/// A [`File`] read from `offset` on.
pub(crate) fn read_from(mut file: &File, offset: u64) -> io::Result<BufReader<impl Read>> {
    file.seek(io::SeekFrom::Start(offset))?;
    Ok(BufReader::with_capacity(SPOOL_BUFFER, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_ahead_across_every_cut_and_loses_nothing() {
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 1..40 {
            let mut source = ByteSource::new(BufReader::with_capacity(cut, &bytes[..]), 0, 100);
            assert_eq!(source.peek(28).unwrap(), &bytes[..28]);
            assert_eq!(source.array::<10>().unwrap(), bytes[..10]);
            assert_eq!(source.peek(4).unwrap(), &bytes[10..14]);
            assert_eq!(source.take(70).unwrap(), &bytes[10..80]);
            source.skip(18).unwrap();
            assert_eq!(source.peek(28).unwrap(), &bytes[98..]);
            assert_eq!(source.at(), 98);
            assert!(source.array::<3>().is_err());
        }
    }

    #[test]
    fn stops_at_the_limit() {
        let mut source = ByteSource::new(&[0; 10][..], 0, 9);
        assert!(source.skip(9).is_ok());
        assert!(matches!(source.skip(1), Err(ZipError::Rejected(rejected)) if rejected.fault == Fault::TooLarge(9)));
        assert!(ByteSource::new(&[0; 10][..], 0, 10).skip(10).is_ok());
    }
}
