use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::select_ok;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use super::tls;
use super::upstream::{RootAnswer, Scheme, Upstream};

const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// The longest time that a connection to loopback takes. The kernel answers it at once, or drops it while a queue is full.
const CONNECT: Duration = Duration::from_secs(1);
/// The largest head of an answer that is read, in bytes.
const MAX_HEAD: usize = 32 << 10;

/// Sends `GET /` to all candidates at the same time, and returns the best answer within `patience`: the first page, else
/// the best of the others when all have answered. Of equal answers, the one of the earlier candidate.
pub(super) async fn best(candidates: Vec<SocketAddr>, patience: Duration) -> Option<Upstream> {
    let deadline = crate::clock::from_now(patience);
    let asked = candidates.into_iter().enumerate();
    let mut answers: FuturesUnordered<_> = asked.map(async |(place, address)| (place, ask(address).await)).collect();
    let mut best: Option<(usize, Upstream)> = None;
    while let Ok(Some((place, answer))) = timeout_at(deadline, answers.next()).await {
        let Ok(upstream) = answer else { continue };
        if upstream.answer == RootAnswer::Page {
            return Some(upstream);
        }
        let better = |(known, best): (usize, Upstream)| {
            upstream.answer > best.answer || (upstream.answer == best.answer && place < known)
        };
        if best.is_none_or(better) {
            best = Some((place, upstream));
        }
    }
    best.map(|(_, upstream)| upstream)
}

/// The addresses that a server on `port` of the loopback may have.
pub(super) fn loopback(port: u16) -> [SocketAddr; 2] {
    LOOPBACKS.map(|ip| SocketAddr::new(ip, port))
}

/// Whether a program listens on `port` already.
pub(super) async fn is_taken(port: u16) -> bool {
    let connects = loopback(port).map(|address| Box::pin(connect(address)));
    if select_ok(connects).await.is_ok() {
        return true;
    }
    let refused = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    refused.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// A loopback port that is free now.
///
/// # Errors
/// What binding returned, where no port is free.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    timeout(CONNECT, TcpStream::connect(address)).await?
}

/// The answer to `GET /` over plain HTTP; where the server does not answer that, over TLS.
async fn ask(address: SocketAddr) -> io::Result<Upstream> {
    let plain = connect(address).await?;
    let (scheme, answer) = match get_root(plain, address.port()).await {
        Ok(answer) => (Scheme::Http, answer),
        Err(_) => {
            let stream = connect(address).await?;
            let stream = tls::connector().connect(tls::server_name(), stream).await?;
            (Scheme::Https, get_root(stream, address.port()).await?)
        }
    };
    Ok(Upstream { address, scheme, answer })
}

async fn get_root(mut stream: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> io::Result<RootAnswer> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: text/html\r\nUser-Agent: preview-agent\r\nConnection: close\r\n\r\n",
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    judge(&head).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Judges the head of an answer; none where it is not HTTP.
fn judge(head: &[u8]) -> Option<RootAnswer> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let fields = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
    let content_type = fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    Some(RootAnswer::of(status, content_type.map_or("", |(_, value)| value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_status_and_type() {
        let judged = |text: &str| judge(text.as_bytes());
        assert_eq!(judged("HTTP/1.1 200 OK\r\nContent-Type: text/html; x\r\n\r\n"), Some(RootAnswer::Page));
        assert_eq!(judged("HTTP/1.1 302 Found\r\nLocation: /app/\r\n\r\n"), Some(RootAnswer::Page));
        assert_eq!(judged("HTTP/1.0 200 OK\r\n\r\nContent-Type: text/html"), Some(RootAnswer::Other));
        assert_eq!(judged("HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\n"), Some(RootAnswer::NotFound));
        assert_eq!(judged("HTTP/1.1 500 x\r\n"), Some(RootAnswer::Failure));
        assert_eq!(judged("\x15\x03\x01\x00\x02\x02"), None);
    }

    async fn serve(answer: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn page_is_preferred_to_other_answers() {
        let api = serve("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{}").await;
        let page = serve("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<p>").await;
        let garbage = serve("hello").await;
        let found = best(vec![garbage, api, page], Duration::from_secs(10)).await.expect("one answers");
        assert_eq!((found.address, found.scheme), (page, Scheme::Http));
        let found = best(vec![garbage, api], Duration::from_secs(10)).await.expect("one answers");
        assert_eq!((found.address, found.answer), (api, RootAnswer::Other));
        assert_eq!(best(vec![garbage], Duration::from_secs(1)).await, None);
    }
}
