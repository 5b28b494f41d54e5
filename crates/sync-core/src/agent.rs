//! The whole agent as one state machine.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::channel::Channel;
use crate::cx::{Cx, Signal, earliest};
use crate::frame::{ClientMessage, ProtocolVersion};
use crate::publisher::Publisher;
use crate::renewal::Renewals;
use crate::replica::Replica;
use crate::rng::Rng;
use crate::{
    Answer, BatchId, ContentHash, Event, Op, ProjectPath, Read, ReadError, ReadId, Reason, Revision, Saved,
    TableDigest, Time, Version, Written,
};

/// What an agent is told once, at its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// UUID of the project.
    pub project_id: String,
    /// Logged everywhere, sent with status.
    pub session_id: String,
    /// There is a Supabase URL and a token: join the channel and read the database.
    pub live: bool,
    /// Phoenix serializer to speak.
    pub protocol: ProtocolVersion,
    /// A private channel (a JWT), or a public one (the older envelope token).
    pub private: bool,
    /// Subscribe to `postgres_changes` of `project_files` as nudges.
    pub postgres_changes: bool,
    /// Publish `preview:status` and `preview:applied` on the status topic.
    pub publish_status: bool,
    /// `exp - iat` of the first token, where it has both.
    pub token_lifetime: Option<Duration>,
    /// There is a renewal endpoint.
    pub can_renew: bool,
    /// For jitter and backoff.
    pub seed: u64,
}

/// Something that happened outside.
#[derive(Debug, Clone)]
pub enum Input {
    /// The snapshot's files are verified and in place (or there was no snapshot: revision 0, no files).
    Hydrated(Hydration),
    /// Instead of a snapshot: the directory was kept, and with it the state of an earlier agent.
    Restored(Restored),
    /// Something about the websocket.
    Socket(SocketEvent),
    /// A read ended.
    Read(ReadId, Result<Answer, ReadError>),
    /// A batch ended; one entry an operation, in its order.
    Written(BatchId, Vec<Written>),
    /// A renewal ended.
    Renewed(Result<Renewal, RenewalError>),
    /// The machine slept: sockets are dead, whatever they say.
    Resumed,
    /// What the agent is about changed: told on the status topic, where publishing is on.
    Phase(Phase),
}

/// What the status topic is told of the rest of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// `starting`, `hydrating`, `installing`, `serving`, `stopping`, `failed`.
    pub phase: &'static str,
    /// The dev server's state.
    pub dev_server: String,
    /// For people.
    pub detail: Option<String>,
    /// The wall clock now, in Unix milliseconds: the core has none.
    pub unix_ms: u64,
}

/// What a snapshot brought.
#[derive(Debug, Clone, Default)]
pub struct Hydration {
    /// From the manifest; none without one: counts as revision 0.
    pub revision: Option<Revision>,
    /// Every file that now lies in the project because of the snapshot.
    pub files: Vec<HydratedFile>,
}

/// A directory that was kept, with state that [`Saved::decode`] accepted.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the earlier agent had accepted.
    pub saved: Saved,
    /// Every file that the earlier agent owned and that is there, with the hash of what lies there now: also those
    /// that the state does not know, since it may be older than the directory.
    pub files: Vec<HydratedFile>,
}

/// One file of a snapshot.
#[derive(Debug, Clone)]
pub struct HydratedFile {
    /// Where it lies.
    pub path: ProjectPath,
    /// From the manifest.
    pub version: Option<Version>,
    /// Verified.
    pub hash: ContentHash,
    /// Bytes.
    pub size: u64,
}

/// What the websocket's shell reports. After `Refused`, `Failed` and `Closed` there is no socket.
#[derive(Debug, Clone)]
pub enum SocketEvent {
    /// The upgrade succeeded.
    Opened,
    /// A text frame.
    Text(Bytes),
    /// A binary frame.
    Binary(Bytes),
    /// The server answered the upgrade with this HTTP status.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body, cut to a bound.
        body: String,
    },
    /// No connection, or a broken one.
    Failed(String),
    /// A close frame.
    Closed {
        /// The close code, 1006 where the connection just ended.
        code: u16,
        /// The peer's reason.
        reason: String,
    },
}

/// A renewal that succeeded. The token itself stays with the shell, which uses it from now on.
#[derive(Debug, Clone, Default)]
pub struct Renewal {
    /// A new token came, with this `exp - iat`.
    pub token: Option<Option<Duration>>,
}

/// A renewal that failed.
#[derive(Debug, Clone)]
pub enum RenewalError {
    /// 401, 403, 410: never again.
    Final(String),
    /// Anything else: try again with backoff.
    Retry(String),
}

/// Something to be done outside.
#[derive(Debug, Clone)]
pub enum Output {
    /// Open a websocket (closing one that is open), with the current token's `apikey`.
    Connect,
    /// Close the websocket. Nothing more is reported of that one.
    Disconnect,
    /// Send this over it, as a text frame: [`ClientMessage::encode`] takes the token that the core never holds.
    Send(ClientMessage),
    /// Ask the database.
    Read(ReadId, Read),
    /// Change the directory; answered by [`Input::Written`].
    Write(BatchId, Vec<Op>),
    /// Remove a file from the staging directory: it will not be written. A batch takes over what it names, whatever
    /// becomes of it.
    Discard(crate::StageId),
    /// `POST SESSION_URL` for a token; answered by [`Input::Renewed`].
    Renew,
    /// Tell the world.
    Event(Event),
}

/// See [`crate`]. After every call take outputs with [`Agent::poll`] until there are none, then sleep until
/// [`Agent::deadline`] or the next input, whichever comes first.
#[derive(Debug)]
pub struct Agent {
    options: Options,
    outputs: VecDeque<Output>,
    signals: VecDeque<Signal>,
    degraded: BTreeSet<Reason>,
    rng: Rng,
    channel: Channel,
    replica: Replica,
    renewals: Renewals,
    publisher: Publisher,
}

/// The parts side by side, so that one can be told while the others lend their context.
macro_rules! cx {
    ($agent:ident, $now:expr) => {
        Cx {
            now: $now,
            rng: &mut $agent.rng,
            outputs: &mut $agent.outputs,
            signals: &mut $agent.signals,
            degraded: &mut $agent.degraded,
        }
    };
}

impl Agent {
    /// An agent that has not heard of anything yet. Its first outputs connect the channel, where there is one.
    pub fn new(options: Options, now: Time) -> Agent {
        let mut agent = Agent {
            outputs: VecDeque::new(),
            signals: VecDeque::new(),
            degraded: BTreeSet::new(),
            rng: Rng::new(options.seed),
            channel: Channel::new(&options),
            replica: Replica::new(options.live),
            renewals: Renewals::new(&options, now),
            publisher: Publisher::new(&options),
            options,
        };
        let mut cx = cx!(agent, now);
        if agent.options.live {
            agent.channel.start(&mut cx);
        } else {
            cx.degrade(Reason::NoLiveUpdates, "there is no Supabase URL or no token");
        }
        agent
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        let mut cx = cx!(self, now);
        match input {
            Input::Hydrated(hydration) => self.replica.hydrated(&mut cx, hydration),
            Input::Restored(restored) => self.replica.restored(&mut cx, restored),
            Input::Socket(event) => self.channel.on_socket(&mut cx, event),
            Input::Read(id, result) => self.replica.on_read(&mut cx, id, result),
            Input::Written(id, written) => {
                self.replica.on_written(&mut cx, id, written);
            }
            Input::Renewed(result) => self.renewals.ended(&mut cx, result),
            Input::Phase(phase) => {
                self.publisher.phase_is(now, phase, self.replica.known());
            }
            Input::Resumed => {
                self.renewals.resumed(&mut cx);
                self.channel.resumed(&mut cx);
                self.replica.retry_reads(&mut cx);
            }
        }
        self.pass_on(now);
    }

    /// Does what is due by now.
    pub fn tick(&mut self, now: Time) {
        let mut cx = cx!(self, now);
        self.renewals.tick(&mut cx);
        self.channel.tick(&mut cx);
        self.replica.tick(&mut cx);
        self.pass_on(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Agent::tick`] wants to be called.
    pub fn deadline(&self) -> Option<Time> {
        earliest([
            self.channel.deadline(),
            self.replica.deadline(),
            self.renewals.deadline(),
            self.publisher.deadline(),
        ])
    }

    /// The whole state, for people.
    pub fn status(&self, now: Time) -> Status {
        Status {
            revision: self.replica.known(),
            head: self.replica.head(),
            current: self.replica.is_current(),
            channel: self.channel.name(),
            debts: self.replica.debts(),
            files: self.replica.files(),
            digest: self.replica.digest(),
            held: self.replica.held(),
            degraded: self.degraded.clone(),
            token_left: self.renewals.left(now),
        }
    }

    /// What a later agent can start from: to be written after the renames that it speaks of. None before hydration.
    pub fn saved(&self) -> Option<Saved> {
        self.replica.saved(&self.options.project_id)
    }

    /// What one part said is heard by the others, until none has anything more to say.
    fn pass_on(&mut self, now: Time) {
        while let Some(signal) = self.signals.pop_front() {
            let mut cx = cx!(self, now);
            match signal {
                Signal::Streaming => self.replica.streaming(&mut cx),
                Signal::Broadcast { event, payload } => self.replica.broadcast(&mut cx, &event, &payload),
                Signal::RowChanged { payload } => self.replica.row_changed(&mut cx, &payload),
                Signal::TokenNeeded => self.renewals.needed(&mut cx),
                Signal::TokenRenewed => {
                    self.channel.token_renewed(&mut cx);
                    self.replica.token_renewed(&mut cx);
                }
                Signal::TokenRefused => self.channel.token_refused(&mut cx),
                Signal::Deaf => self.channel.rejoin(&mut cx),
            }
        }
        if let Some(lag) = self.replica.take_applied() {
            self.publisher.applied(lag);
        }
        while let Some((event, payload)) = self.publisher.next(now, self.replica.known()) {
            self.channel.publish(&mut cx!(self, now), event, payload);
        }
    }
}

/// What `/status` and the metrics show of the core.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Everything up to here is accepted.
    pub revision: Revision,
    /// The newest revision heard of.
    pub head: Option<Revision>,
    /// At the head, with no debt.
    pub current: bool,
    /// `disconnected`, `connecting`, `joining`, `joined`, `off`.
    pub channel: &'static str,
    /// Accepted and not yet on disk: path, reason, error.
    pub debts: Vec<(String, &'static str, String)>,
    /// Live paths of the table.
    pub files: usize,
    /// Of what was accepted, as the contract computes it.
    pub digest: TableDigest,
    /// Events held while hydrating or catching up.
    pub held: usize,
    /// Reasons beside the phase.
    pub degraded: BTreeSet<Reason>,
    /// Until the current token is no longer valid.
    pub token_left: Option<Duration>,
}
