//! The records of a zip (PKWARE's APPNOTE, section 4.3).

use std::io::BufRead;

use crate::byte_source::ByteSource;
use crate::error::{Fault, ZipError};
use crate::limits::Limits;
use crate::name;

pub(crate) const LOCAL: u32 = u32::from_le_bytes(*b"PK\x03\x04");
pub(crate) const DESCRIPTOR: u32 = u32::from_le_bytes(*b"PK\x07\x08");
pub(crate) const CENTRAL: u32 = u32::from_le_bytes(*b"PK\x01\x02");
pub(crate) const END: u32 = u32::from_le_bytes(*b"PK\x05\x06");
pub(crate) const ZIP64_END: u32 = u32::from_le_bytes(*b"PK\x06\x06");
pub(crate) const ZIP64_LOCATOR: u32 = u32::from_le_bytes(*b"PK\x06\x07");
/// The first bytes of a split archive that has only one part.
pub(crate) const ONE_PART: u32 = u32::from_le_bytes(*b"PK00");

pub(crate) const STORED: u16 = 0;
pub(crate) const DEFLATED: u16 = 8;

/// Bit of an entry's flags: a descriptor follows the data.
pub(crate) const HAS_DESCRIPTOR: u16 = 1 << 3;
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// Bits that are refused: patches and reserved bits. Bits 1 and 2 are the compression level; 4 and 11 do not matter here.
const UNREAD: u16 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 14 | 1 << 15;

/// The local header, which comes before an entry's data.
pub(crate) struct Local {
    pub name: String,
    pub flags: u16,
    pub method: u16,
    /// These three are `None` where a descriptor after the data has them.
    pub crc: Option<u32>,
    pub compressed: Option<u64>,
    pub size: Option<u64>,
    /// Whether there is a zip64 field: then the sizes in the descriptor have eight bytes.
    pub zip64: bool,
}

/// An entry as the central directory lists it.
pub(crate) struct Central {
    pub name: String,
    pub flags: u16,
    pub method: u16,
    pub crc: u32,
    pub compressed: u64,
    pub size: u64,
    pub offset: u64,
    /// The Unix mode, where the archive was made on a system that has modes.
    pub mode: Option<u32>,
}

impl Local {
    /// Reads the record, its signature included.
    pub fn read<R: BufRead>(source: &mut ByteSource<R>, limits: &Limits) -> Result<Local, ZipError> {
        let at = source.at();
        let fixed = Fields(source.array::<30>()?);
        let raw = source.take(fixed.u16(26).into())?;
        let extra = source.take(fixed.u16(28).into())?;
        Local::parse(&fixed, &raw, &extra, limits).map_err(|fault| fault.at(at).of(&String::from_utf8_lossy(&raw)))
    }

    fn parse(fixed: &Fields<30>, raw: &[u8], extra: &[u8], limits: &Limits) -> Result<Local, Fault> {
        let (flags, method) = (fixed.u16(6), fixed.u16(8));
        readable(flags, method)?;
        let extra = Extra::parse(extra)?;
        let name = name::decode(raw, &extra, limits)?;
        let later = flags & HAS_DESCRIPTOR != 0;
        let mut wide = Wide(extra.zip64);
        // In the order of the zip64 field.
        let size = wide.or_later(fixed.u32(22), later)?;
        let compressed = wide.or_later(fixed.u32(18), later)?;
        let crc = Some(fixed.u32(14)).filter(|crc| !later || *crc != 0);
        Ok(Local { name, flags, method, crc, compressed, size, zip64: extra.zip64.is_some() })
    }
}

impl Central {
    /// Reads the record, its signature included.
    pub fn read<R: BufRead>(source: &mut ByteSource<R>, limits: &Limits) -> Result<Central, ZipError> {
        let at = source.at();
        let fixed = Fields(source.array::<46>()?);
        let raw = source.take(fixed.u16(28).into())?;
        let extra = source.take(fixed.u16(30).into())?;
        source.skip(fixed.u16(32).into())?;
        Central::parse(&fixed, &raw, &extra, limits).map_err(|fault| fault.at(at).of(&String::from_utf8_lossy(&raw)))
    }

    fn parse(fixed: &Fields<46>, raw: &[u8], extra: &[u8], limits: &Limits) -> Result<Central, Fault> {
        let (flags, method) = (fixed.u16(8), fixed.u16(10));
        readable(flags, method)?;
        let extra = Extra::parse(extra)?;
        let name = name::decode(raw, &extra, limits)?;
        let mut wide = Wide(extra.zip64);
        let size = wide.or_wide(fixed.u32(24))?;
        let compressed = wide.or_wide(fixed.u32(20))?;
        let offset = wide.or_wide(fixed.u32(42))?;
        if !matches!(fixed.u16(34), 0 | u16::MAX) {
            return Err(Fault::Split);
        }
        let (made_by, mode) = (fixed.u16(4) >> 8, fixed.u32(38) >> 16);
        // Unix and macOS. A symbolic link counts as one on every system.
        let has_mode = matches!(made_by, 3 | 19) || mode & 0o170_000 == 0o120_000;
        let mode = has_mode.then_some(mode);
        Ok(Central { name, flags, method, crc: fixed.u32(16), compressed, size, offset, mode })
    }
}

fn readable(flags: u16, method: u16) -> Result<(), Fault> {
    if flags & ENCRYPTED != 0 {
        return Err(Fault::Encrypted);
    }
    if flags & UNREAD != 0 {
        return Err(Fault::Flags(flags));
    }
    if !matches!(method, STORED | DEFLATED) {
        return Err(Fault::Method(method));
    }
    Ok(())
}

/// The little-endian numbers of a record. An offset outside of the record gives 0; every caller uses constant offsets.
pub(crate) struct Fields<const N: usize>(pub [u8; N]);

impl<const N: usize> Fields<N> {
    pub fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.bytes(offset))
    }

    pub fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes(offset))
    }

    pub fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.bytes(offset))
    }

    fn bytes<const COUNT: usize>(&self, offset: usize) -> [u8; COUNT] {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        debug_assert!(bytes.is_some(), "offset {offset} of a record of {N} bytes");
        bytes.copied().unwrap_or([0; COUNT])
    }
}

/// The extra fields that matter.
pub(crate) struct Extra<'a> {
    zip64: Option<&'a [u8]>,
    unicode_name: Option<&'a [u8]>,
}

impl<'a> Extra<'a> {
    fn parse(mut bytes: &'a [u8]) -> Result<Extra<'a>, Fault> {
        let mut extra = Extra { zip64: None, unicode_name: None };
        while let [a, b, c, d, rest @ ..] = bytes {
            let size = usize::from(u16::from_le_bytes([*c, *d]));
            let (field, rest) = rest.split_at_checked(size).ok_or(Fault::Extra)?;
            let slot = match u16::from_le_bytes([*a, *b]) {
                0x0001 => Some(&mut extra.zip64),
                0x7075 => Some(&mut extra.unicode_name),
                _ => None,
            };
            // With two fields of one kind, two readers could choose different ones.
            if slot.is_some_and(|slot| slot.replace(field).is_some()) {
                return Err(Fault::Extra);
            }
            bytes = rest;
        }
        // Tools that align data add zeros.
        if bytes.iter().all(|byte| *byte == 0) { Ok(extra) } else { Err(Fault::Extra) }
    }

    /// Info-ZIP's field: a version, the checksum of the raw name, and the name in UTF-8.
    pub fn unicode_name(&self, raw: &[u8]) -> Option<&'a [u8]> {
        match self.unicode_name? {
            [1, a, b, c, d, name @ ..] if crc32fast::hash(raw) == u32::from_le_bytes([*a, *b, *c, *d]) => Some(name),
            _ => None,
        }
    }
}

/// The rest of a zip64 field.
struct Wide<'a>(Option<&'a [u8]>);

impl Wide<'_> {
    fn next(&mut self) -> Option<u64> {
        let (number, rest) = self.0?.split_first_chunk::<8>()?;
        self.0 = Some(rest);
        Some(u64::from_le_bytes(*number))
    }

    /// A size or an offset, which is in the zip64 field where `narrow` has all bits set.
    fn or_wide(&mut self, narrow: u32) -> Result<u64, Fault> {
        if narrow == u32::MAX { self.next().ok_or(Fault::Zip64Missing) } else { Ok(narrow.into()) }
    }

    /// The same; `None` where only the descriptor has it.
    fn or_later(&mut self, narrow: u32, later: bool) -> Result<Option<u64>, Fault> {
        match self.or_wide(narrow) {
            Err(Fault::Zip64Missing) if later => Ok(None),
            Ok(0) if later => Ok(None),
            size => size.map(Some),
        }
    }
}
