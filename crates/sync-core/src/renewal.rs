use std::time::Duration;

use crate::context::{Context, Signal, clip};
use crate::time::{Timer, TimerReason, earliest};
use crate::{Backoff, DegradedReason, Event, LiveOptions, NewToken, Output, Renewal, RenewalError, SkipReason, Time};

/// The part of a token's lifetime after which a new one is requested.
const RENEW_AT_PERCENT: u32 = 80;
const RETRY_LEAST: Duration = Duration::from_millis(250);
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// A token that is rejected at a lower age was rejected for another reason than its age: then the waits before the next
/// request grow.
const MIN_TOKEN_AGE: Duration = Duration::from_secs(60);
const EARLY_REJECTION_LEAST: Duration = Duration::from_secs(1);
const EARLY_REJECTION_BASE: Duration = Duration::from_secs(5);
const EARLY_REJECTION_CAP: Duration = Duration::from_secs(300);

/// Renews the token before it expires. Its lifetime is counted from its receipt on the monotonic clock, so that a wrong
/// wall clock does no harm; one renewal runs at a time.
#[derive(Debug)]
pub(crate) struct Renewals {
    state: State,
    expires: Option<Time>,
    /// When the newest renewed token was received.
    received: Option<Time>,
    backoff: Backoff,
    /// For tokens that were rejected below [`MIN_TOKEN_AGE`].
    early_rejections: Backoff,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// There is no endpoint, or it refused for good.
    Impossible,
    Idle {
        due: Option<Time>,
        /// A rejected token waits for this renewal: further rejections change nothing.
        requested: bool,
    },
    InFlight {
        requested: bool,
    },
}

impl Renewals {
    pub fn new(options: &LiveOptions, now: Time) -> Renewals {
        let idle = State::Idle { due: None, requested: false };
        let mut renewals = Renewals {
            state: if options.can_renew { idle } else { State::Impossible },
            expires: None,
            received: None,
            backoff: Backoff::new(RETRY_LEAST, RETRY_BASE, RETRY_CAP),
            early_rejections: Backoff::new(EARLY_REJECTION_LEAST, EARLY_REJECTION_BASE, EARLY_REJECTION_CAP),
        };
        renewals.set_lifetime(options.token_lifetime, now);
        renewals
    }

    /// The server or the database rejected the token.
    pub fn needed(&mut self, cx: &mut Context) {
        let scheduled = match self.state {
            State::Impossible => {
                return cx.degrade(DegradedReason::TokenExpired, "the token was rejected and cannot be renewed");
            }
            State::InFlight { .. } | State::Idle { requested: true, .. } => return,
            State::Idle { requested: false, due } => due,
        };
        let wait = match self.received {
            Some(received) if cx.now.since(received) < MIN_TOKEN_AGE => self.early_rejections.next(cx.rng),
            _ => {
                self.early_rejections.reset();
                Duration::ZERO
            }
        };
        // Never later than without the rejection: the token's own end comes nearer meanwhile.
        let at = cx.now.after(wait);
        self.state = State::Idle { due: Some(scheduled.map_or(at, |due| due.min(at))), requested: true };
        self.tick(cx);
    }

    /// The machine was suspended for an unknown time: the token may be old.
    pub fn resumed(&mut self, cx: &mut Context) {
        if let State::Idle { requested, .. } = self.state {
            self.backoff.reset();
            self.state = State::Idle { due: Some(cx.now), requested };
            self.tick(cx);
        }
    }

    /// A request to another endpoint succeeded: a renewal that waits after failures is tried soon.
    pub fn network_is_back(&mut self, cx: &mut Context) {
        if self.backoff.attempts() == 0 {
            return;
        }
        if let State::Idle { due: Some(due), requested } = self.state {
            self.backoff.reset();
            let soon = cx.now.after(cx.rng.between(RETRY_LEAST, RETRY_BASE));
            self.state = State::Idle { due: Some(due.min(soon)), requested };
        }
    }

    pub fn tick(&mut self, cx: &mut Context) {
        if self.expires.is_some_and(|expires| expires <= cx.now) {
            self.expires = None;
            cx.degrade(DegradedReason::TokenExpired, "the token has expired");
        }
        if let State::Idle { due: Some(due), requested } = self.state
            && due <= cx.now
        {
            self.state = State::InFlight { requested };
            cx.outputs.push_back(Output::Renew);
        }
    }

    pub fn ended(&mut self, cx: &mut Context, result: Result<Renewal, RenewalError>) {
        let State::InFlight { requested } = self.state else {
            return cx.skipped(SkipReason::UnaskedRenewal);
        };
        match result {
            Ok(Renewal { token: Some(NewToken { lifetime }) }) => {
                self.backoff.reset();
                self.received = Some(cx.now);
                self.state = State::Idle { due: None, requested: false };
                self.set_lifetime(lifetime, cx.now);
                cx.event(Event::TokenRenewed);
                cx.recover(DegradedReason::TokenExpired);
                cx.signal(Signal::TokenRenewed);
            }
            Ok(Renewal { token: None }) | Err(RenewalError::Retry(_)) => {
                let due = cx.now.after(self.backoff.next(cx.rng));
                self.state = State::Idle { due: Some(due), requested };
            }
            Err(RenewalError::Final(reason)) => {
                self.state = State::Impossible;
                cx.degrade(DegradedReason::RenewalRefused, clip(reason));
                cx.signal(Signal::TokenRefused);
            }
        }
    }

    pub fn deadline(&self) -> Option<Timer> {
        let due = match self.state {
            State::Idle { due, .. } => due,
            State::Impossible | State::InFlight { .. } => None,
        };
        earliest([
            due.map(|at| TimerReason::TokenRenewal.at(at)),
            self.expires.map(|at| TimerReason::TokenExpiry.at(at)),
        ])
    }

    /// What is left of the token's lifetime, where it is known.
    pub fn left(&self, now: Time) -> Option<Duration> {
        self.expires.map(|expires| expires.since(now))
    }

    fn set_lifetime(&mut self, lifetime: Option<Duration>, now: Time) {
        self.expires = lifetime.map(|lifetime| now.after(lifetime));
        if let State::Idle { due, .. } = &mut self.state {
            *due = lifetime.map(|lifetime| {
                now.after(lifetime.saturating_mul(RENEW_AT_PERCENT).checked_div(100).unwrap_or_default())
            });
        }
    }
}
