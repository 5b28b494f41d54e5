//! The whole agent as one state machine.

use std::collections::{BTreeSet, VecDeque};

use crate::channel::Channel;
use crate::cx::{Cx, Signal, earliest};
use crate::publisher::Publisher;
use crate::renewal::Renewals;
use crate::replica::Replica;
use crate::rng::Rng;
use crate::{Input, Options, Output, Reason, Saved, Status, Time};

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
            replica: Replica::new(&options),
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
            Input::Looked(seen) => self.replica.looked(&mut cx, seen),
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
            local_changes: self.replica.local_changes().collect(),
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
