/// What an archive may be, checked while it streams. The defaults are the contract's (section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive itself: what the bucket of snapshots takes.
    pub compressed: u64,
    /// Bytes of all its files.
    pub expanded: u64,
    /// Entries, directories included.
    pub entries: u64,
    /// How many times the bytes that came in may have come out, once `ratio_from` bytes have.
    pub ratio: u64,
    /// Below so many bytes out, any ratio is fine: text of one letter deflates to a thousandth.
    pub ratio_from: u64,
    /// Bytes of a path.
    pub path: usize,
    /// Bytes between two slashes of a path.
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
