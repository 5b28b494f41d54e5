//! The whole agent as one state machine.

use std::collections::{BTreeSet, VecDeque};

use crate::channel::{Channel, StatusPublisher};
use crate::context::{Context, Signal};
use crate::renewal::Renewals;
use crate::replica::Replica;
use crate::rng::Rng;
use crate::time::{Timer, earliest};
use crate::{ChannelState, DegradedReason, Input, LiveOptions, Options, Output, Revision, Saved, Status, Time};

/// See [`crate`]. After each call, take outputs with [`Agent::poll`] until there are none, then sleep until
/// [`Agent::deadline`] or the next input, whichever comes first.
#[derive(Debug)]
pub struct Agent {
    project_id: String,
    outputs: VecDeque<Output>,
    signals: VecDeque<Signal>,
    degraded: BTreeSet<DegradedReason>,
    rng: Rng,
    replica: Replica,
    live: Option<Live>,
}

/// What exists only where there is a database to follow.
#[derive(Debug)]
struct Live {
    channel: Channel,
    renewals: Renewals,
    publisher: Option<StatusPublisher>,
}

/// A [`Context`] of the agent's fields, so that the parts beside them can be borrowed at the same time.
macro_rules! context {
    ($agent:ident, $now:expr) => {
        Context {
            now: $now,
            rng: &mut $agent.rng,
            outputs: &mut $agent.outputs,
            signals: &mut $agent.signals,
            degraded: &mut $agent.degraded,
        }
    };
}

impl Agent {
    /// An agent at its start. Its first outputs connect the channel, where there is one.
    pub fn new(options: Options, now: Time) -> Agent {
        let mut agent = Agent {
            outputs: VecDeque::new(),
            signals: VecDeque::new(),
            degraded: BTreeSet::new(),
            rng: Rng::new(options.seed),
            replica: Replica::new(&options),
            live: None,
            project_id: options.project_id.clone(),
        };
        let mut cx = context!(agent, now);
        agent.live = match &options.live {
            Some(live) => Some(Live::start(&mut cx, &options, live)),
            None => {
                cx.degrade(DegradedReason::NoLiveUpdates, "there is no Supabase URL or no token");
                None
            }
        };
        agent
    }

    /// Processes what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        let mut cx = context!(self, now);
        match input {
            Input::Hydrated(hydration) => self.replica.hydrated(&mut cx, hydration),
            Input::Restored(restored) => self.replica.restored(&mut cx, restored),
            Input::Read(id, result) => self.replica.on_read(&mut cx, id, result),
            Input::Written(id, results) => self.replica.on_written(&mut cx, id, results),
            Input::Observed(files) => self.replica.observed(&mut cx, files),
            Input::Socket(event) => {
                if let Some(live) = &mut self.live {
                    live.channel.on_socket(&mut cx, event);
                }
            }
            Input::Renewed(result) => {
                if let Some(live) = &mut self.live {
                    live.renewals.ended(&mut cx, result);
                }
            }
            Input::PhaseChanged(report) => {
                let publisher = self.live.as_mut().and_then(|live| live.publisher.as_mut());
                if let Some(publisher) = publisher {
                    publisher.phase_changed(now, report, self.replica.known());
                }
            }
            Input::Publish(event, payload) => {
                let publisher = self.live.as_mut().and_then(|live| live.publisher.as_mut());
                if let Some(publisher) = publisher {
                    publisher.publish(event, payload);
                }
            }
            Input::Resumed => {
                if let Some(live) = &mut self.live {
                    live.renewals.resumed(&mut cx);
                    live.channel.resumed(&mut cx);
                }
                self.replica.resumed(&mut cx);
            }
        }
        self.deliver_signals(now);
    }

    /// Does what is due by now.
    pub fn tick(&mut self, now: Time) {
        let mut cx = context!(self, now);
        if let Some(live) = &mut self.live {
            live.renewals.tick(&mut cx);
            live.channel.tick(&mut cx);
        }
        self.replica.tick(&mut cx);
        self.deliver_signals(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Agent::tick`] is to be called, and what for.
    pub fn deadline(&self) -> Option<Timer> {
        let live = self.live.as_ref().and_then(Live::deadline);
        earliest([live, self.replica.deadline()])
    }

    /// Everything up to this revision is accepted.
    pub fn revision(&self) -> Revision {
        self.replica.known()
    }

    /// The whole state, for people.
    pub fn status(&self, now: Time) -> Status {
        let live = self.live.as_ref();
        Status {
            revision: self.replica.known(),
            head: self.replica.head(),
            head_age: self.replica.head_age(now),
            current: self.replica.is_current(now),
            channel: live.map_or(ChannelState::Off, |live| live.channel.state()),
            pending_files: self.replica.pending_files(),
            local_changes: self.replica.local_changes().collect(),
            files: self.replica.files(),
            digest: self.replica.digest(),
            held: self.replica.held(),
            degraded: self.degraded.clone(),
            token_left: live.and_then(|live| live.renewals.left(now)),
        }
    }

    /// What a later agent can start from: to be written after the renames it refers to. `None` before hydration.
    pub fn saved(&self) -> Option<Saved> {
        self.replica.saved(&self.project_id)
    }

    /// Passes the signals of one part to the others, until there are none.
    fn deliver_signals(&mut self, now: Time) {
        while let Some(signal) = self.signals.pop_front() {
            let mut cx = context!(self, now);
            let Some(live) = &mut self.live else { continue };
            match signal {
                Signal::Streaming => {
                    live.renewals.network_is_back(&mut cx);
                    self.replica.streaming(&mut cx);
                }
                Signal::ReadsWork => live.renewals.network_is_back(&mut cx),
                Signal::Broadcast { event, payload } => self.replica.broadcast(&mut cx, &event, &payload),
                Signal::RawBroadcast { event } => self.replica.raw_broadcast(&mut cx, &event),
                Signal::RowChanged { payload } => self.replica.row_changed(&mut cx, &payload),
                Signal::TokenNeeded => live.renewals.needed(&mut cx),
                Signal::TokenRenewed => {
                    live.channel.token_renewed(&mut cx);
                    self.replica.token_renewed(&mut cx);
                }
                Signal::TokenRefused => live.channel.token_refused(&mut cx),
                Signal::StreamStalled => live.channel.rejoin(&mut cx),
            }
        }
        let lag = self.replica.take_applied();
        let Some(live) = &mut self.live else { return };
        let Some(publisher) = &mut live.publisher else { return };
        if let Some(lag) = lag {
            publisher.applied(lag);
        }
        while let Some(message) = publisher.next(now, self.replica.known()) {
            live.channel.publish(&mut context!(self, now), message);
        }
    }
}

impl Live {
    fn start(cx: &mut Context, options: &Options, live: &LiveOptions) -> Live {
        Live {
            channel: Channel::start(cx, &options.project_id, live),
            renewals: Renewals::new(live, cx.now),
            publisher: live.publish_status.then(|| StatusPublisher::new(options.session_id.clone())),
        }
    }

    fn deadline(&self) -> Option<Timer> {
        let publisher = self.publisher.as_ref().and_then(StatusPublisher::deadline);
        earliest([self.channel.deadline(), self.renewals.deadline(), publisher])
    }
}
