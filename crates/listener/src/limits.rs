use std::time::Duration;

/// Bounds of one server. The defaults suit a server of health, status and metrics.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once, from everywhere. Each costs one file descriptor (two where the service connects onwards), so
    /// it must stay far below [`open_files_limit`].
    pub connections: usize,
    /// Connections out of `connections` that only loopback peers may have: a local health check or a developer gets
    /// an answer while others use up the rest.
    pub loopback_connections: usize,
    /// From the first byte of a request (or from the connection's start) to the end of its head.
    pub head_time: Duration,
    /// Between two requests of a connection.
    pub idle_time: Duration,
    /// Without progress in a request body, or in the sending of a response. An idle response (server-sent events) is not
    /// bounded by this: only one that the client does not read.
    pub stall_time: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// For requests that run when the server is to stop; what then remains is cut off.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 128,
            loopback_connections: 32,
            head_time: Duration::from_secs(10),
            // Above the usual minute of load balancers, so that they close first and never send into a closed connection.
            idle_time: Duration::from_secs(75),
            stall_time: Duration::from_secs(60),
            head_bytes: 64 << 10,
            headers: 100,
            stop_time: Duration::from_millis(500),
        }
    }
}

/// How many files this process may have open (the soft limit), sockets included. `usize::MAX` where there is no limit.
pub fn open_files_limit() -> usize {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
    }
    #[cfg(not(unix))]
    usize::MAX
}
