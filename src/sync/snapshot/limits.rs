use std::time::Duration;

/// Bounds on a snapshot and its download.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bounds on the archive.
    pub archive: zip_stream::Limits,
    /// After this many requests in a row without a new byte the download fails.
    pub attempts: u32,
    /// A request that brings no byte for this long is made again: a proxy may drop a connection without closing it, and a
    /// healthy storage answers within a second or two.
    pub stall: Duration,
    /// For the whole download. 50 MB in this time are less than 1 Mbit/s, too slow for a preview.
    pub deadline: Duration,
    /// The pause before the next request is random, up to this value, which doubles with each request that brought nothing.
    pub backoff: Duration,
    /// The longest random pause.
    pub longest_backoff: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            archive: zip_stream::Limits::default(),
            attempts: 6,
            stall: Duration::from_secs(15),
            deadline: Duration::from_secs(600),
            backoff: Duration::from_millis(250),
            longest_backoff: Duration::from_secs(8),
        }
    }
}
