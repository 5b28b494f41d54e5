//! A local HTTP server with one archive, as fast as the loopback or as slow as a line of 100 Mbit/s.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// 100 Mbit/s in bytes.
const LINE: f64 = 100e6 / 8.0;
/// What leaves at once on a slow line: a bit over a millisecond of it.
const SLICE: usize = 16 * 1024;

/// How fast an archive comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speed {
    Unthrottled,
    Line,
}

impl Speed {
    pub fn name(self) -> &'static str {
        match self {
            Speed::Unthrottled => "unthrottled",
            Speed::Line => "100 Mbit/s",
        }
    }
}

/// Serves until it is dropped.
pub struct Server {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Server {
    pub fn start(archive: Arc<Vec<u8>>, speed: Speed) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let archive = archive.clone();
                std::thread::spawn(move || answer(stream, &archive, speed));
            }
        });
        Server { address, stopped }
    }

    pub fn url(&self) -> String {
        format!("http://{}/snapshot.zip", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes it up, so that it lets the archive go; where it is gone already there is nothing to wake.
        let _ = TcpStream::connect(self.address);
    }
}

/// The request's content does not matter, and a client that went away needs no answer.
fn answer(mut stream: TcpStream, archive: &[u8], speed: Speed) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", archive.len());
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    let _ = match speed {
        Speed::Unthrottled => stream.write_all(archive),
        Speed::Line => trickle(&mut stream, archive),
    };
}

fn trickle(stream: &mut TcpStream, archive: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let started = Instant::now();
    let mut sent = 0;
    for slice in archive.chunks(SLICE) {
        sent += slice.len();
        let due = Duration::from_secs_f64(sent as f64 / LINE);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
        stream.write_all(slice)?;
    }
    Ok(())
}
