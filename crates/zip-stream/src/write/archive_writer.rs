use std::io::{self, Write};

use flate2::{Compress, Compression, FlushCompress, Status};

use super::WriteError;

/// Writes the records of one archive.
pub(super) struct ArchiveWriter<W> {
    out: W,
    /// Bytes written so far.
    position: u64,
    /// The central directory, written at the end.
    directory: Vec<u8>,
    entries: u64,
    deflate: Compress,
}

/// Flag bit 11: names are UTF-8.
const FLAGS: u16 = 1 << 11;
/// 1980-01-01 as a DOS date. The DOS time is 0.
const DOS_DATE: u16 = 1 << 5 | 1;
/// The version of the format that deflate needs.
const VERSION: u16 = 20;
const MADE_BY_UNIX: u16 = 3 << 8 | VERSION;
const REGULAR_FILE: u32 = 0o100_644 << 16;

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn new(out: W) -> ArchiveWriter<W> {
        let deflate = Compress::new(Compression::default(), false);
        ArchiveWriter { out, position: 0, directory: Vec::new(), entries: 0, deflate }
    }

    pub(super) fn entry(&mut self, path: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let too_large = |_| WriteError::TooLarge(path.to_owned());
        let length = u16::try_from(path.len()).map_err(|_| WriteError::Path(path.to_owned()))?;
        if path.is_empty() || path.ends_with('/') {
            return Err(WriteError::Path(path.to_owned()));
        }
        let offset = u32::try_from(self.position).map_err(too_large)?;
        let size = u32::try_from(bytes.len()).map_err(too_large)?;
        let deflated = self.deflate(bytes)?;
        let (method, data) = deflated.as_deref().map_or((0u16, bytes), |data| (8, data));

        let mut common = Vec::with_capacity(26);
        for field in [VERSION, FLAGS, method, 0, DOS_DATE] {
            common.extend(field.to_le_bytes());
        }
        common.extend(crc32fast::hash(bytes).to_le_bytes());
        // Not larger than `size`, which fits.
        common.extend((data.len() as u32).to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(length.to_le_bytes());
        common.extend([0; 2]); // no extra field

        self.put(b"PK\x03\x04")?;
        self.put(&common)?;
        self.put(path.as_bytes())?;
        self.put(data)?;

        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(MADE_BY_UNIX.to_le_bytes());
        self.directory.extend(&common);
        self.directory.extend([0; 6]); // no comment, first disk, no internal attributes
        self.directory.extend(REGULAR_FILE.to_le_bytes());
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(path.as_bytes());
        self.entries = self.entries.saturating_add(1);
        Ok(())
    }

    /// `None` where deflating does not make the content smaller.
    fn deflate(&mut self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.deflate.reset();
        // Enough for incompressible content: zlib-rs 0.6 panics when a stream that was not ended is followed by another.
        let mut deflated = Vec::with_capacity(bytes.len().saturating_add(bytes.len() / 1000).saturating_add(64));
        let status =
            self.deflate.compress_vec(bytes, &mut deflated, FlushCompress::Finish).map_err(io::Error::other)?;
        Ok((status == Status::StreamEnd && deflated.len() < bytes.len()).then_some(deflated))
    }

    /// Writes the central directory and the end of the archive.
    pub(super) fn finish(mut self) -> Result<(), WriteError> {
        let directory = std::mem::take(&mut self.directory);
        let size = u32::try_from(directory.len()).map_err(|_| WriteError::TooLarge("the directory".into()))?;
        let offset = u32::try_from(self.position).map_err(|_| WriteError::TooLarge("the directory".into()))?;
        self.put(&directory)?;
        // 65,535 means that the count is in the zip64 record.
        let count = u16::try_from(self.entries).unwrap_or(u16::MAX);
        if count == u16::MAX {
            self.zip64_end(u64::from(size), u64::from(offset))?;
        }
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(count.to_le_bytes());
        end.extend(count.to_le_bytes());
        end.extend(size.to_le_bytes());
        end.extend(offset.to_le_bytes());
        end.extend([0; 2]);
        self.put(&end)?;
        Ok(self.out.flush()?)
    }

    fn zip64_end(&mut self, size: u64, offset: u64) -> io::Result<()> {
        let position = self.position;
        let mut end = b"PK\x06\x06".to_vec();
        end.extend(44u64.to_le_bytes());
        end.extend(MADE_BY_UNIX.to_le_bytes());
        end.extend(45u16.to_le_bytes());
        end.extend([0; 8]); // the first disk
        for field in [self.entries, self.entries, size, offset] {
            end.extend(field.to_le_bytes());
        }
        end.extend(b"PK\x06\x07\0\0\0\0");
        end.extend(position.to_le_bytes());
        end.extend(1u32.to_le_bytes());
        self.put(&end)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position = self.position.saturating_add(bytes.len() as u64);
        self.out.write_all(bytes)
    }
}
