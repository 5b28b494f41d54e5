use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, Write};

use crate::error::{Fault, ZipError};

/// Where the bytes come from, counted and bounded; what lies ahead can be looked at across any cut.
pub(crate) struct ByteSource<R> {
    input: Input<R>,
    /// Taken from `input` already, for a look ahead; they come first.
    ahead: Vec<u8>,
    /// Bytes consumed.
    at: u64,
    limit: u64,
}

enum Input<R> {
    Stream(R),
    Spool(BufReader<File>),
}

/// What is read from a spooled file at a time.
const SPOOL_BUFFER: usize = 64 * 1024;

impl<R: BufRead> ByteSource<R> {
    pub fn new(input: R, at: u64, limit: u64) -> ByteSource<R> {
        ByteSource { input: Input::Stream(input), ahead: Vec::new(), at, limit }
    }

    /// Bytes from the archive's beginning.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Some of the next bytes; none only at the end.
    pub fn chunk(&mut self) -> Result<&[u8], ZipError> {
        let left = self.limit.saturating_sub(self.at);
        let bytes = if self.ahead.is_empty() { self.input.fill(self.at)? } else { &self.ahead };
        if left == 0 && !bytes.is_empty() {
            return Err(Fault::TooLarge(self.limit).at(self.at));
        }
        Ok(&bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))])
    }

    /// Takes `count` bytes of what was given last.
    pub fn consume(&mut self, count: usize) {
        self.at += count as u64;
        if self.ahead.is_empty() {
            self.input.consume(count);
        } else {
            self.ahead.drain(..count);
        }
    }

    /// The next `count` bytes, a few; fewer only at the end. They stay to be read.
    pub fn peek(&mut self, count: usize) -> Result<&[u8], ZipError> {
        if self.ahead.is_empty() && self.input.fill(self.at)?.len() >= count {
            return Ok(&self.input.fill(self.at)?[..count]);
        }
        while self.ahead.len() < count {
            let more = self.input.fill(self.at)?;
            let take = more.len().min(count - self.ahead.len());
            if take == 0 {
                break;
            }
            self.ahead.extend(&more[..take]);
            self.input.consume(take);
        }
        Ok(&self.ahead[..count.min(self.ahead.len())])
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

    /// Passes over exactly `count` bytes.
    pub fn skip(&mut self, mut count: u64) -> Result<(), ZipError> {
        while count > 0 {
            let found = self.chunk()?.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            if found == 0 {
                return Err(Fault::Truncated.at(self.at));
            }
            self.consume(found);
            count -= found as u64;
        }
        Ok(())
    }

    fn fill_exactly(&mut self, bytes: &mut [u8]) -> Result<(), ZipError> {
        let mut filled = 0;
        while filled < bytes.len() {
            let chunk = self.chunk()?;
            let count = chunk.len().min(bytes.len() - filled);
            if count == 0 {
                return Err(Fault::Truncated.at(self.at));
            }
            bytes[filled..filled + count].copy_from_slice(&chunk[..count]);
            self.consume(count);
            filled += count;
        }
        Ok(())
    }

    /// Moves everything that is still to come into `file`, and goes on reading from there. Returns `file` again, to
    /// look at, and how many bytes it holds.
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
        let length = self.at - start;
        self.at = start;
        self.ahead.clear();
        let copy = file.try_clone().map_err(ZipError::Spool)?;
        self.input = Input::Spool(BufReader::with_capacity(SPOOL_BUFFER, file));
        Ok((copy, length))
    }

    /// Back to the first byte of the spooled file, whose position its copies share.
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
            // Asked twice, because the first answer cannot be kept over the loop; the second costs nothing.
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
