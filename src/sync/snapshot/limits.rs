use std::time::Duration;

/// What a snapshot and its download may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of the archive.
    pub archive: zip_stream::Limits,
    /// Requests in a row that bring nothing new before the download is given up.
    pub attempts: u32,
    /// Without a byte, or an answer, for so long, a request is cut and made again: a proxy that hangs up in silence looks
    /// like this, and a healthy storage answers within a second or two.
    pub stall: Duration,
    /// For the whole download: 50 MB in it are under 1 Mbit/s, and nobody waits that long for a preview.
    pub deadline: Duration,
    /// The pause before the next request is of chance, up to this doubled with each one that brought nothing.
    pub backoff: Duration,
    /// And never more than this.
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
