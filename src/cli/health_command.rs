//! `preview-agent health`: asks the agent on this machine whether it works.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::arguments::HealthArgs;
use super::exit::Exit;

/// The longest time that the whole check takes: below the usual timeout of a container's health check (5 s and more).
const TIMEOUT: Duration = Duration::from_secs(4);
/// Before another attempt: an agent whose connections are all in use answers 503 until one of them is free.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The longest first line of an answer, in bytes.
const MAX_LINE: usize = 4096;

/// Why the agent does not count as healthy.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no answer: {0}")]
    Answer(io::Error),
    #[error("the answer is {0:?}, not 200")]
    Status(String),
}

/// Asks `/healthz`. Exit status 0: the agent answered; 69: it did not.
pub fn run(args: &HealthArgs) -> Exit {
    let deadline = Instant::now() + TIMEOUT;
    let addresses = addresses(args.status_addr);
    loop {
        let mut failure = None;
        for address in &addresses {
            match ask(*address, deadline) {
                Ok(()) => {
                    // A closed standard output does not make the agent unhealthy.
                    let _ = writeln!(io::stdout(), "healthy: http://{address}/healthz answers");
                    return Exit::fine();
                }
                // The first address is the more likely one.
                Err(error) => failure = failure.or(Some((*address, error))),
            }
        }
        let Some((address, error)) = failure else { return Exit::fault("there is no address to ask") };
        // Nothing listens there: another attempt would not help.
        let is_final =
            matches!(&error, HealthError::Connect(cause) if cause.kind() == io::ErrorKind::ConnectionRefused);
        if is_final || Instant::now() + RETRY_PAUSE >= deadline {
            return Exit::unavailable(format!("the agent at http://{address}/healthz is not healthy: {error}"));
        }
        sleep(RETRY_PAUSE);
    }
}

/// The addresses to ask: where the agent listens on all addresses, those of the loopback.
fn addresses(listening: SocketAddr) -> Vec<SocketAddr> {
    let at = |ip: IpAddr| SocketAddr::new(ip, listening.port());
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![at(Ipv4Addr::LOCALHOST.into())],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())],
        _ => vec![listening],
    }
}

fn ask(address: SocketAddr, deadline: Instant) -> Result<(), HealthError> {
    let stream = TcpStream::connect_timeout(&address, left(deadline)).map_err(HealthError::Connect)?;
    let line = status_line(stream, address, deadline).map_err(HealthError::Answer)?;
    if line.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(HealthError::Status(line)) }
}

/// Sends the request and reads the answer's first line.
fn status_line(mut stream: TcpStream, address: SocketAddr, deadline: Instant) -> io::Result<String> {
    stream.set_write_timeout(Some(left(deadline)))?;
    stream.write_all(format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < MAX_LINE {
        stream.set_read_timeout(Some(left(deadline)))?;
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")),
            read => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim().to_owned())
}

/// The time until `deadline`. Never zero, which a socket takes for no timeout.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_on_all_addresses_is_asked_on_the_loopback() {
        let asked = |text: &str| {
            addresses(text.parse().expect("an address")).iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(asked("0.0.0.0:9464"), ["127.0.0.1:9464"]);
        assert_eq!(asked("[::]:9464"), ["127.0.0.1:9464", "[::1]:9464"]);
        assert_eq!(asked("10.0.0.7:1"), ["10.0.0.7:1"]);
    }
}
