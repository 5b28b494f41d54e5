use std::io;

/// Why reading an archive ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ZipError {
    #[error("cannot read the archive at byte {offset}")]
    Read { offset: u64, source: io::Error },
    #[error("cannot write the archive to a temporary file")]
    Spool(#[source] io::Error),
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

/// A fault of the archive itself, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}{}, at byte {offset}", .entry.as_ref().map(|entry| format!(" (entry {entry:?})")).unwrap_or_default())]
pub struct Rejected {
    /// The fault.
    pub fault: Fault,
    /// The name of the entry with the fault, cut to a bound.
    pub entry: Option<Box<str>>,
    /// Where it was found, in bytes from the beginning of the archive.
    pub offset: u64,
}

/// A fault of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Fault {
    #[error("this is not a zip: it does not begin with an entry")]
    NotAZip,
    #[error("the archive is one part of several")]
    Split,
    #[error("the archive ends too early")]
    Truncated,
    #[error("unknown record (signature {0:#010x})")]
    UnknownRecord(u32),
    #[error("reading continued after an error")]
    Failed,

    #[error("the entry is encrypted")]
    Encrypted,
    #[error("the entry uses unsupported features (flags {0:#06x})")]
    Flags(u16),
    #[error("the entry uses the unsupported compression method {0}")]
    Method(u16),
    #[error("the entry has no name")]
    NoName,
    #[error("the entry's name is not UTF-8")]
    NameNotUtf8,
    #[error("the entry's name is {0} bytes long, too many")]
    NameTooLong(usize),
    #[error("a part of the entry's name is {0} bytes long, too many")]
    ComponentTooLong(usize),
    #[error("the archive has the name twice")]
    Duplicate,
    #[error("the entry's extra field is malformed")]
    Extra,
    #[error("the entry's zip64 field is missing")]
    Zip64Missing,
    #[error("a directory has content")]
    DirectoryWithContent,
    #[error("a stored entry has two different sizes")]
    StoredSizes,

    #[error("the entry's compressed data is damaged")]
    Deflate,
    #[error("the entry's compressed data is shorter than its recorded size")]
    DataLeft,
    #[error("the entry's checksum is {computed:08x}, not {recorded:08x}")]
    Crc { recorded: u32, computed: u32 },
    #[error("the entry has {found} bytes, not {recorded}")]
    Size { recorded: u64, found: u64 },
    #[error("the descriptor after the entry's data does not match the data")]
    Descriptor,

    #[error("the central directory does not list the entry")]
    NotListed,
    #[error("the central directory lists more entries than there are")]
    ListedOnly,
    #[error("the central directory lists {0:?} in place of this entry")]
    ListedName(Box<str>),
    #[error("the central directory gives the entry another offset, {0}")]
    ListedOffset(u64),
    #[error("the central directory gives the entry another compression method or other flags")]
    ListedMethod,
    #[error("the central directory gives the entry another checksum, {0:08x}")]
    ListedCrc(u32),
    #[error("the central directory gives the entry another size, {0} bytes")]
    ListedSize(u64),
    #[error("the entry is a symbolic link")]
    Symlink,
    #[error("the entry is neither a file nor a directory (mode {0:o})")]
    Special(u32),
    #[error("the end of the archive gives a wrong number of entries, {0}")]
    EndCount(u64),
    #[error("the end of the archive gives a wrong offset or size of the central directory")]
    EndPlace,
    #[error("the zip64 end of the archive is malformed")]
    Zip64End,
    #[error("the archive's comment contains the end of another archive")]
    TwoEnds,
    #[error("more bytes follow the end of the archive")]
    BytesAfterEnd,

    #[error("the archive is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the archive's files are more than {0} bytes together")]
    TooLargeExpanded(u64),
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    #[error("the archive expands more than {0} times")]
    Ratio(u64),
}

/// The longest name in an error, in characters.
const SHOWN: usize = 200;

impl Fault {
    pub(crate) fn at(self, offset: u64) -> ZipError {
        Rejected { fault: self, entry: None, offset }.into()
    }
}

impl ZipError {
    /// Adds the entry's name, where the error has none.
    pub(crate) fn of(mut self, entry: &str) -> ZipError {
        if let ZipError::Rejected(Rejected { entry: unknown @ None, .. }) = &mut self {
            *unknown = Some(entry.chars().take(SHOWN).collect::<String>().into());
        }
        self
    }
}
