//! PostgreSQL's replication protocol, which the driver does not support: a temporary slot, and the commits.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// How often the position is reported; after a minute without a report the server closes the connection.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How long authentication and the creation of the slot may take together.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest message in bytes: a row holds at most 1 GB.
const MAX_MESSAGE: usize = 1 << 30;
const DEFAULT_PORT: u16 = 5432;

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection on which the server sends commits in their order. Its slot ends with the connection.
pub struct Stream {
    socket: Box<dyn Socket>,
    received: BytesMut,
    /// The position in the log up to which everything was read.
    read_to: u64,
    report_at: Instant,
}

impl Stream {
    /// Authenticates, creates a temporary slot and starts. The stream has every later commit.
    pub async fn start(config: &Config, publications: &[&str]) -> io::Result<Stream> {
        let start = async {
            let mut stream = Stream::connect(config).await?;
            stream.sign_in(config).await?;
            let slot = format!("preview_agent_{}", uuid::Uuid::new_v4().simple());
            stream
                .query(&format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT"))
                .await?;
            while stream.message().await?.0 != b'Z' {}
            let publications: Vec<String> = publications.iter().map(|name| format!("\"{name}\"")).collect();
            let options = format!("proto_version '1', publication_names '{}'", publications.join(","));
            stream.query(&format!("START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})")).await?;
            while stream.message().await?.0 != b'W' {}
            Ok(stream)
        };
        tokio::time::timeout(START_TIMEOUT, start).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// The next message of the plugin. An error ends the stream.
    pub async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            let now = Instant::now();
            if now >= self.report_at {
                self.report().await?;
            }
            // `message` keeps partial input, so the timeout may cancel it.
            let Ok(message) = tokio::time::timeout_at(self.report_at, self.message()).await else { continue };
            let (tag, mut data) = message?;
            if tag != b'd' || data.is_empty() {
                continue;
            }
            match data.get_u8() {
                b'w' if data.len() >= 24 => {
                    let start = data.get_u64();
                    data.advance(16);
                    self.read_to = self.read_to.max(start);
                    return Ok(data);
                }
                b'k' if data.len() >= 17 => {
                    self.read_to = self.read_to.max(data.get_u64());
                    data.advance(8);
                    if data.get_u8() == 1 {
                        self.report().await?;
                    }
                }
                _ => {}
            }
        }
    }

    /// Connects to the first host that answers. There is no TLS: the stream is for servers on this machine or network.
    async fn connect(config: &Config) -> io::Result<Stream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (index, host) in config.get_hosts().iter().enumerate() {
            let ports = config.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            let opened: io::Result<Box<dyn Socket>> = match host {
                Host::Tcp(name) => TcpStream::connect((name.as_str(), port)).await.and_then(|socket| {
                    socket.set_nodelay(true)?;
                    Ok(Box::new(socket) as _)
                }),
                Host::Unix(directory) => UnixStream::connect(directory.join(format!(".s.PGSQL.{port}")))
                    .await
                    .map(|socket| Box::new(socket) as _),
            };
            match opened {
                Ok(socket) => {
                    let report_at = next_report();
                    return Ok(Stream { socket, received: BytesMut::new(), read_to: 0, report_at });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn sign_in(&mut self, config: &Config) -> io::Result<()> {
        let user = config.get_user().unwrap_or("postgres");
        let database = config.get_dbname().unwrap_or(user);
        // Timestamps are read as text in one format.
        let options = "-c datestyle=ISO -c timezone=UTC";
        let parameters = [("user", user), ("database", database), ("replication", "database"), ("options", options)];
        self.send(|out| frontend::startup_message(parameters, out)).await?;
        let password = config.get_password().unwrap_or_default();
        let mut scram = None;
        loop {
            let (tag, mut data) = self.message().await?;
            match tag {
                b'Z' => return Ok(()),
                b'R' if data.len() >= 4 => match data.get_i32() {
                    0 => {}
                    3 => self.send(|out| frontend::password_message(password, out)).await?,
                    5 if data.len() >= 4 => {
                        let mut salt = [0; 4];
                        data.copy_to_slice(&mut salt);
                        let hash = md5_hash(user.as_bytes(), password, salt);
                        self.send(|out| frontend::password_message(hash.as_bytes(), out)).await?;
                    }
                    10 => {
                        let first = ScramSha256::new(password, ChannelBinding::unsupported());
                        self.send(|out| frontend::sasl_initial_response("SCRAM-SHA-256", first.message(), out)).await?;
                        scram = Some(first);
                    }
                    step @ (11 | 12) => {
                        let scram: &mut ScramSha256 =
                            scram.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
                        if step == 11 {
                            scram.update(&data)?;
                            self.send(|out| frontend::sasl_response(scram.message(), out)).await?;
                        } else {
                            scram.finish(&data)?;
                        }
                    }
                    other => {
                        return Err(io::Error::other(format!(
                            "the server requires the authentication method {other}, which is not supported"
                        )));
                    }
                },
                _ => {}
            }
        }
    }

    async fn query(&mut self, text: &str) -> io::Result<()> {
        self.send(|out| frontend::query(text, out)).await
    }

    /// Reports the position, which also keeps the connection open.
    async fn report(&mut self) -> io::Result<()> {
        self.report_at = next_report();
        let mut status = BytesMut::new();
        status.put_u8(b'r');
        for _ in ["written", "flushed", "applied"] {
            status.put_u64(self.read_to);
        }
        // The client's time, which the server ignores, and no request for an answer.
        status.put_u64(0);
        status.put_u8(0);
        self.send(|out| {
            frontend::CopyData::new(status)?.write(out);
            Ok(())
        })
        .await
    }

    async fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> io::Result<()> {
        let mut out = BytesMut::new();
        write(&mut out)?;
        self.socket.write_all(&out).await?;
        self.socket.flush().await
    }

    /// The next message of the protocol, its tag and its body; an error message as an error. May be cancelled.
    async fn message(&mut self) -> io::Result<(u8, Bytes)> {
        loop {
            if let Some(&[_, a, b, c, d]) = self.received.first_chunk() {
                // The length counts itself and the body; the tag comes before it.
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if !(4..=MAX_MESSAGE).contains(&length) {
                    return Err(io::Error::from(io::ErrorKind::InvalidData));
                }
                let whole = length.saturating_add(1);
                if self.received.len() >= whole {
                    let mut message = self.received.split_to(whole).freeze();
                    let tag = message.get_u8();
                    message.advance(4);
                    return if tag == b'E' { Err(server_error(&message)) } else { Ok((tag, message)) };
                }
                self.received.reserve(whole.saturating_sub(self.received.len()));
            }
            if self.socket.read_buf(&mut self.received).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    }
}

fn next_report() -> Instant {
    let now = Instant::now();
    now.checked_add(REPORT_EVERY).unwrap_or(now)
}

/// Message and SQLSTATE of an error message.
fn server_error(message: &[u8]) -> io::Error {
    let field = |wanted: u8| {
        let field = message.split(|byte| *byte == 0).find(|field| field.first() == Some(&wanted));
        field
            .and_then(<[u8]>::split_first)
            .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
            .unwrap_or_default()
    };
    io::Error::other(format!("{} ({})", field(b'M'), field(b'C')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_message_becomes_text_and_sqlstate() {
        let message = b"SERROR\0VERROR\0C55006\0Mall replication slots are in use\0\0";
        assert_eq!(server_error(message).to_string(), "all replication slots are in use (55006)");
        assert_eq!(server_error(b"").to_string(), " ()");
    }
}
