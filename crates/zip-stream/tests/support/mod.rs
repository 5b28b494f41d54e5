//! Archives of every shape, made by hand, and a plain way to read them.
#![allow(dead_code)] // each test file uses a part

use std::io::{BufReader, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use zip_stream::{Archive, Fault, Limits, Listed, ZipError};

/// How an entry says how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    Before,
    After {
        signed: bool,
        wide: bool,
    },
    /// Before, in a zip64 field.
    Zip64,
}

#[derive(Debug, Clone)]
pub struct Shape {
    pub name: Vec<u8>,
    pub content: Vec<u8>,
    pub deflated: bool,
    pub sizes: Sizes,
    pub flags: u16,
    pub extra: Vec<u8>,
    pub made_by: u16,
    pub mode: u32,
}

impl Shape {
    pub fn new(name: &str, content: &[u8]) -> Shape {
        Shape {
            name: name.into(),
            content: content.into(),
            deflated: false,
            sizes: Sizes::Before,
            flags: 1 << 11,
            extra: Vec::new(),
            made_by: 3 << 8 | 20,
            mode: if name.ends_with('/') { 0o40_755 } else { 0o100_644 },
        }
    }

    pub fn deflated(mut self) -> Shape {
        self.deflated = true;
        self
    }

    pub fn sizes(mut self, sizes: Sizes) -> Shape {
        self.sizes = sizes;
        self
    }

    pub fn mode(mut self, mode: u32) -> Shape {
        self.mode = mode;
        self
    }
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The pieces of an archive, for tests that change one of them.
pub struct Pieces {
    /// For each entry: local header, data, descriptor.
    pub entries: Vec<[Vec<u8>; 3]>,
    pub central: Vec<Vec<u8>>,
    pub comment: Vec<u8>,
    pub zip64: bool,
}

pub fn pieces(shapes: &[Shape]) -> Pieces {
    let mut pieces = Pieces { entries: Vec::new(), central: Vec::new(), comment: Vec::new(), zip64: false };
    let mut at = 0u64;
    for shape in shapes {
        let data = if shape.deflated { deflate(&shape.content) } else { shape.content.clone() };
        let crc = crc32fast::hash(&shape.content);
        let (compressed, size) = (data.len() as u64, shape.content.len() as u64);
        let after = matches!(shape.sizes, Sizes::After { .. });
        let mut extra = shape.extra.clone();
        let (local_crc, narrow) = match shape.sizes {
            Sizes::Before => (crc, [compressed as u32, size as u32]),
            Sizes::Zip64 => {
                extra.extend([1, 0, 16, 0]);
                extra.extend(size.to_le_bytes());
                extra.extend(compressed.to_le_bytes());
                (crc, [u32::MAX; 2])
            }
            Sizes::After { .. } => (0, [0; 2]),
        };
        let flags = shape.flags | if after { 8 } else { 0 };
        let method = if shape.deflated { 8u16 } else { 0 };
        let mut local = b"PK\x03\x04".to_vec();
        for field in [20, flags, method, 0x6000, 0x5a21] {
            local.extend(field.to_le_bytes());
        }
        for field in [local_crc, narrow[0], narrow[1]] {
            local.extend(field.to_le_bytes());
        }
        local.extend((shape.name.len() as u16).to_le_bytes());
        local.extend((extra.len() as u16).to_le_bytes());
        local.extend(&shape.name);
        local.extend(&extra);

        let mut descriptor = Vec::new();
        if let Sizes::After { signed, wide } = shape.sizes {
            if signed {
                descriptor.extend(b"PK\x07\x08");
            }
            descriptor.extend(crc.to_le_bytes());
            for field in [compressed, size] {
                descriptor.extend(&field.to_le_bytes()[..if wide { 8 } else { 4 }]);
            }
        }

        let mut central = b"PK\x01\x02".to_vec();
        for field in [shape.made_by, 20, flags, method, 0x6000, 0x5a21] {
            central.extend(field.to_le_bytes());
        }
        for field in [crc, compressed as u32, size as u32] {
            central.extend(field.to_le_bytes());
        }
        central.extend((shape.name.len() as u16).to_le_bytes());
        central.extend((shape.extra.len() as u16).to_le_bytes());
        central.extend([0; 6]);
        central.extend((shape.mode << 16).to_le_bytes());
        central.extend((at as u32).to_le_bytes());
        central.extend(&shape.name);
        central.extend(&shape.extra);

        at += (local.len() + data.len() + descriptor.len()) as u64;
        pieces.entries.push([local, data, descriptor]);
        pieces.central.push(central);
    }
    pieces
}

impl Pieces {
    pub fn join(&self) -> Vec<u8> {
        let mut zip = self.entries.concat().concat();
        let start = zip.len() as u64;
        zip.extend(self.central.concat());
        let size = zip.len() as u64 - start;
        let count = self.central.len() as u64;
        let at = zip.len() as u64;
        if self.zip64 {
            zip.extend(b"PK\x06\x06");
            zip.extend(44u64.to_le_bytes());
            zip.extend([45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for field in [count, count, size, start] {
                zip.extend(field.to_le_bytes());
            }
            zip.extend(b"PK\x06\x07\0\0\0\0");
            zip.extend(at.to_le_bytes());
            zip.extend(1u32.to_le_bytes());
        }
        zip.extend(b"PK\x05\x06\0\0\0\0");
        let count = if self.zip64 { u16::MAX } else { count as u16 };
        zip.extend(count.to_le_bytes());
        zip.extend(count.to_le_bytes());
        zip.extend(if self.zip64 { u32::MAX } else { size as u32 }.to_le_bytes());
        zip.extend(if self.zip64 { u32::MAX } else { start as u32 }.to_le_bytes());
        zip.extend((self.comment.len() as u16).to_le_bytes());
        zip.extend(&self.comment);
        zip
    }
}

pub fn zip(shapes: &[Shape]) -> Vec<u8> {
    pieces(shapes).join()
}

pub type Files = Vec<(String, Vec<u8>)>;

/// Every entry, read from cuts of `cut` bytes into a buffer of `buffer`.
pub fn read_cut(bytes: &[u8], limits: Limits, cut: usize, buffer: usize) -> Result<(Files, Vec<Listed>), ZipError> {
    let mut archive = Archive::new(BufReader::with_capacity(cut, bytes), limits);
    let (mut files, mut buffer) = (Files::new(), vec![0; buffer]);
    while let Some(mut entry) = archive.next_entry()? {
        let mut content = Vec::new();
        loop {
            match entry.read(&mut buffer)? {
                0 => break,
                count => content.extend(&buffer[..count]),
            }
        }
        files.push((entry.name().to_string(), content));
    }
    Ok((files, archive.finish()?))
}

pub fn read(bytes: &[u8]) -> Result<Files, ZipError> {
    read_cut(bytes, Limits::default(), 64 * 1024, 64 * 1024).map(|(files, _)| files)
}

/// The fault for which `bytes` are refused.
pub fn fault(bytes: &[u8]) -> Fault {
    fault_within(bytes, Limits::default())
}

pub fn fault_within(bytes: &[u8], limits: Limits) -> Fault {
    match read_cut(bytes, limits, 64 * 1024, 64 * 1024) {
        Err(ZipError::Rejected(rejected)) => rejected.fault,
        Err(other) => panic!("{other}"),
        Ok((files, _)) => panic!("accepted with {} files", files.len()),
    }
}

/// What the `zip` crate reads.
pub fn oracle(bytes: &[u8]) -> Result<Files, zip::result::ZipError> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes))?;
    let mut files = Files::new();
    for at in 0..archive.len() {
        let mut file = archive.by_index(at)?;
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut content)?;
        files.push((file.name()?.into_owned(), content));
    }
    Ok(files)
}
