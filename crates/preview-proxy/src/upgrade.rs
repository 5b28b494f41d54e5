//! Websockets: once both sides have agreed, bytes are passed both ways until either side ends.

use std::io;
use std::pin::pin;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, sink, split};
use tokio::time::timeout;
use tracing::debug;

use crate::frames::{Frames, RESTART};

/// Bytes of the buffer for each direction. Small: there are two for each of a thousand sockets.
const BUFFER: usize = 4 << 10;
/// How long a client may take to end its side after the close frame. A connection that is closed with unread bytes is
/// reset, and a reset can overtake the frame.
const CLOSE_TIME: Duration = Duration::from_secs(2);

type Stream = TokioIo<Upgraded>;

/// Passes bytes between the two connections in a task of their own.
pub(crate) fn join(client: OnUpgrade, dev_server: OnUpgrade) {
    tokio::spawn(async move {
        let (client, dev_server) = match tokio::try_join!(client, dev_server) {
            Ok(both) => both,
            Err(error) => return debug!(%error, "an upgrade was not completed"),
        };
        if let Err(error) = pass(TokioIo::new(client), TokioIo::new(dev_server)).await {
            // The usual end where a browser goes away.
            debug!(%error, "a websocket broke");
        }
    });
}

/// Passes bytes until both sides have ended. A dev server that is killed ends without a close frame: then the client gets
/// one, so that a page sees a clean close and connects again by itself.
async fn pass(client: Stream, dev_server: Stream) -> io::Result<()> {
    let (mut from_client, to_client) = split(client);
    let (from_dev_server, mut to_dev_server) = split(dev_server);
    let mut answers = Box::pin(pass_answers(from_dev_server, to_client));
    let client_ended = {
        let requests = pin!(async {
            copy(&mut from_client, &mut to_dev_server, |_| {}).await?;
            to_dev_server.shutdown().await
        });
        tokio::select! {
            ended = requests => ended.map(|()| true),
            ended = &mut answers => ended.map(|()| false),
        }?
    };
    if client_ended {
        return answers.await;
    }
    // What the client still sends has no receiver.
    let mut nowhere = sink();
    let rest = copy(&mut from_client, &mut nowhere, |_| {});
    Ok(timeout(CLOSE_TIME, rest).await.unwrap_or(Ok(()))?)
}

/// Passes the dev server's bytes on until it ends, in whatever way.
async fn pass_answers(mut from: ReadHalf<Stream>, mut to: WriteHalf<Stream>) -> io::Result<()> {
    let mut frames = Frames::default();
    match copy(&mut from, &mut to, |bytes| frames.take(bytes)).await {
        Err(Broken::Write(error)) => return Err(error),
        Err(Broken::Read(error)) => debug!(%error, "the dev server broke a websocket"),
        Ok(()) => {}
    }
    if frames.is_open_boundary() {
        to.write_all(&RESTART).await?;
    }
    to.shutdown().await
}

/// Which side of a copy broke.
enum Broken {
    Read(io::Error),
    Write(io::Error),
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> io::Error {
        match broken {
            Broken::Read(error) | Broken::Write(error) => error,
        }
    }
}

/// Copies until the reading side ends, and shows all bytes to `seen`.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut seen: impl FnMut(&[u8]),
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await.map_err(Broken::Read)?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            return Ok(());
        }
        seen(read);
        to.write_all(read).await.map_err(Broken::Write)?;
        to.flush().await.map_err(Broken::Write)?;
    }
}
