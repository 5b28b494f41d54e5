use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Realtime;
use super::channels::Channels;
use super::frame::{Vsn, decode};
use super::queue::{Outbox, queue};
use crate::faults::Cut;

/// How long a client may take to answer a close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Frames written before the socket is flushed.
const BATCH: usize = 64;

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Serves one websocket until either side ends it.
pub async fn serve(
    mut socket: Socket,
    realtime: Arc<Realtime>,
    vsn: Vsn,
    apikey: String,
    mut cuts: broadcast::Receiver<Cut>,
) {
    let (sender, mut outbox) = queue(realtime.queue_bytes);
    let overflow = outbox.overflow();
    let mut channels = Channels::new(realtime.clone(), vsn, sender, apikey);
    let end = tokio::select! {
        end = run(&mut socket, &realtime, vsn, &mut channels, &mut outbox) => end,
        cut = cuts.recv() => cut.ok(),
        () = overflow.notified() => {
            tracing::warn!("a slow websocket client is cut");
            Some(Cut::Abruptly)
        }
    };
    match end {
        Some(Cut::Code(code)) => close(&mut socket, code).await,
        Some(Cut::Reload) => {
            channels.disconnect();
            while let Some(frame) = outbox.ready() {
                if socket.feed(frame).await.is_err() {
                    return;
                }
            }
            close(&mut socket, 1012).await;
        }
        Some(Cut::Abruptly) | None => {}
    }
}

/// Nothing where the client has gone, else how it is to be sent away.
async fn run(
    socket: &mut Socket,
    realtime: &Realtime,
    vsn: Vsn,
    channels: &mut Channels,
    outbox: &mut Outbox,
) -> Option<Cut> {
    let mut faults = realtime.faults.watch();
    let mut heard = Instant::now();
    loop {
        if realtime.faults.roll(|all, _| all.silent) {
            faults.changed().await.ok()?;
            continue;
        }
        let tick = channels.next_tick().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        // A fault that was switched on counts before anything that is ready; the rest is fair.
        let step = tokio::select! {
            biased;
            _ = faults.changed() => continue,
            step = next_step(socket, outbox, tick, heard + realtime.silence_limit) => step,
        };
        match step {
            Step::Tick => channels.tick(Instant::now()),
            Step::Silence => return Some(Cut::Code(1000)),
            Step::Out(frame) => write(socket, outbox, frame?).await.ok()?,
            Step::In(received) => {
                heard = Instant::now();
                match received? {
                    Ok(message) => {
                        let Some(frame) = decode(vsn, &message) else { continue };
                        if let Some(late) = channels.handle(frame).await {
                            sleep(late.after).await;
                            write(socket, outbox, late.frame).await.ok()?;
                        }
                    }
                    Err(Error::Capacity(_)) => return Some(Cut::Abruptly),
                    Err(_) => return None,
                }
            }
        }
    }
}

enum Step {
    Tick,
    Silence,
    Out(Option<Message>),
    In(Option<Result<Message, Error>>),
}

/// Waits for one thing and does nothing yet: so it may be dropped at any time.
async fn next_step(socket: &mut Socket, outbox: &mut Outbox, tick: Instant, silence: Instant) -> Step {
    tokio::select! {
        () = sleep_until(tick) => Step::Tick,
        () = sleep_until(silence) => Step::Silence,
        frame = outbox.next() => Step::Out(frame),
        received = socket.next() => Step::In(received),
    }
}

/// `frame`, and what else is ready, in one go.
async fn write(socket: &mut Socket, outbox: &mut Outbox, frame: Message) -> Result<(), Error> {
    socket.feed(frame).await?;
    for _ in 0..BATCH {
        match outbox.ready() {
            Some(frame) => socket.feed(frame).await?,
            None => break,
        }
    }
    socket.flush().await
}

/// Sends a close frame and waits for its answer, since closing TCP at once could destroy it on the way.
async fn close(socket: &mut Socket, code: u16) {
    let frame = CloseFrame { code: code.into(), reason: "".into() };
    let closing = async {
        if socket.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    if timeout(CLOSE_WAIT, closing).await.is_err() {
        tracing::debug!(code, "a client did not answer the close frame");
    }
}
