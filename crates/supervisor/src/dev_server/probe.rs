use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::select_ok;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// The longest time that a connection to loopback takes. The kernel answers it at once, or drops it while a queue is full.
const CONNECT: Duration = Duration::from_secs(1);

/// Whether an HTTP answer, with any status, comes from `port` on IPv4 or IPv6 loopback within `patience`.
pub(super) async fn answers(port: u16, patience: Duration) -> bool {
    let requests = LOOPBACKS.map(|ip| Box::pin(request(SocketAddr::new(ip, port))));
    timeout(patience, select_ok(requests)).await.is_ok_and(|answer| answer.is_ok())
}

/// Whether a program listens on `port` already.
pub(super) async fn is_taken(port: u16) -> bool {
    let connects = LOOPBACKS.map(|ip| Box::pin(connect(SocketAddr::new(ip, port))));
    if select_ok(connects).await.is_ok() {
        return true;
    }
    let refused = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    refused.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    timeout(CONNECT, TcpStream::connect(address)).await?
}

async fn request(address: SocketAddr) -> io::Result<()> {
    let mut stream = connect(address).await?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost:{}\r\nAccept: text/html\r\nUser-Agent: preview-agent\r\nConnection: close\r\n\r\n",
        address.port()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut start = [0; 7];
    stream.read_exact(&mut start).await?;
    if &start == b"HTTP/1." { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
