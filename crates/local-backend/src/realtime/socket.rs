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
use super::channels::{AfterReply, Channels};
use super::frame::{Protocol, decode};
use super::outbox::{Outbox, outbox};
use crate::faults::Cut;

/// How long a client may take to answer a close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Frames that are written before the socket is flushed.
const BATCH: usize = 64;

/// The close code after silence.
const NORMAL_CLOSURE: u16 = 1000;
/// The close code of a server that restarts.
const SERVICE_RESTART: u16 = 1012;
/// The longest wait of a socket without channels.
const IDLE_TICK: Duration = Duration::from_secs(3600);

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Serves one websocket until either side ends it.
pub async fn serve(
    mut socket: Socket,
    realtime: Arc<Realtime>,
    protocol: Protocol,
    apikey: String,
    mut cuts: broadcast::Receiver<Cut>,
) {
    let (sender, mut outbox) = outbox(realtime.settings.queue_bytes);
    let overflow = outbox.overflow();
    let mut channels = Channels::new(realtime.clone(), protocol, sender, apikey);
    loop {
        let end = tokio::select! {
            end = run(&mut socket, &realtime, protocol, &mut channels, &mut outbox) => end,
            cut = cuts.recv() => cut.ok(),
            () = overflow.notified() => {
                tracing::warn!("a websocket client reads too slowly; its socket is cut");
                Some(Cut::Abruptly)
            }
        };
        match end {
            Some(Cut::CrashChannels) => channels.crash_all(),
            Some(Cut::Code(code)) => return close(&mut socket, code).await,
            Some(Cut::Reload) => {
                channels.announce_reload();
                while let Some(frame) = outbox.try_next() {
                    if socket.feed(frame).await.is_err() {
                        return;
                    }
                }
                return close(&mut socket, SERVICE_RESTART).await;
            }
            Some(Cut::Abruptly) | None => return,
        }
    }
}

/// Serves until the socket ends. Returns how to close it, or `None` if the client is gone. May be cancelled between steps.
async fn run(
    socket: &mut Socket,
    realtime: &Realtime,
    protocol: Protocol,
    channels: &mut Channels,
    outbox: &mut Outbox,
) -> Option<Cut> {
    let mut faults = realtime.faults.watch();
    let mut last_message = Instant::now();
    loop {
        if realtime.faults.roll(|all, _| all.freeze_sockets) {
            faults.changed().await.ok()?;
            continue;
        }
        let now = Instant::now();
        let tick = channels.next_tick().or_else(|| now.checked_add(IDLE_TICK)).unwrap_or(now);
        let silence = last_message.checked_add(realtime.settings.silence_limit).unwrap_or(last_message);
        // A change of the faults applies before anything else that is ready; the other branches are fair.
        let step = tokio::select! {
            biased;
            _ = faults.changed() => continue,
            step = next_step(socket, outbox, tick, silence) => step,
        };
        match step {
            Step::Tick => channels.tick(Instant::now()),
            Step::Silence => return Some(Cut::Code(NORMAL_CLOSURE)),
            Step::Out(frame) => write(socket, outbox, frame?).await.ok()?,
            Step::In(received) => {
                last_message = Instant::now();
                match received? {
                    Ok(message) => {
                        let Some(frame) = decode(protocol, &message) else { continue };
                        if let Some(reply) = channels.handle(frame).await {
                            sleep(reply.after).await;
                            write(socket, outbox, reply.frame).await.ok()?;
                            if let AfterReply::Close(code) = reply.then {
                                return Some(Cut::Code(code));
                            }
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

/// Waits for one step and does nothing yet, so it may be cancelled.
async fn next_step(socket: &mut Socket, outbox: &mut Outbox, tick: Instant, silence: Instant) -> Step {
    tokio::select! {
        () = sleep_until(tick) => Step::Tick,
        () = sleep_until(silence) => Step::Silence,
        frame = outbox.next() => Step::Out(frame),
        received = socket.next() => Step::In(received),
    }
}

/// Writes `frame` and the queued frames, then flushes.
async fn write(socket: &mut Socket, outbox: &mut Outbox, frame: Message) -> Result<(), Error> {
    socket.feed(frame).await?;
    for _ in 0..BATCH {
        match outbox.try_next() {
            Some(frame) => socket.feed(frame).await?,
            None => break,
        }
    }
    socket.flush().await
}

/// Sends a close frame and waits for its answer: closing TCP at once could discard the frame.
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
