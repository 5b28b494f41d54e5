/// Bounds on an archive, checked while it is read. The defaults are the contract's (section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the archive in bytes: the limit of the bucket of snapshots.
    pub compressed: u64,
    /// Size of all files together, in bytes.
    pub expanded: u64,
    /// Entries, directories included.
    pub entries: u64,
    /// The largest ratio of bytes out to bytes in, checked after `ratio_from` bytes out.
    pub ratio: u64,
    /// Bytes out without a check of the ratio: a text of one letter deflates to a thousandth.
    pub ratio_from: u64,
    /// Longest path in bytes.
    pub path: usize,
    /// Longest part of a path in bytes.
    pub component: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        const MIB: u64 = 1024 * 1024;
        Limits {
            compressed: 50 * MIB,
            expanded: 1024 * MIB,
            entries: 100_000,
            ratio: 200,
            ratio_from: MIB,
            path: 1024,
            component: 255,
        }
    }
}
