use std::time::Duration;

use crate::backoff::Backoff;
use crate::cx::{Cx, Signal, clip, earliest};
use crate::{Event, Options, Output, Reason, Renewal, RenewalError, Time};

/// The part of a token's life after which a new one is asked for.
const RENEW_AT_PERCENT: u32 = 80;
const RETRY_LEAST: Duration = Duration::from_millis(250);
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// A token that is refused within this time of its receipt is refused for another reason than its age: then the next
/// one is asked for ever more slowly.
const YOUNG: Duration = Duration::from_secs(60);
const YOUNG_LEAST: Duration = Duration::from_secs(1);
const YOUNG_BASE: Duration = Duration::from_secs(5);
const YOUNG_CAP: Duration = Duration::from_secs(300);

/// Keeps the token young. Its life is counted from its receipt on the monotonic clock, so that a wrong wall clock
/// does no harm; one renewal runs at a time.
#[derive(Debug)]
pub(crate) struct Renewals {
    possible: bool,
    refused: bool,
    in_flight: bool,
    /// When the next renewal is to begin.
    due: Option<Time>,
    /// Somebody was refused, and `due` is for their sake.
    asked: bool,
    expires: Option<Time>,
    /// When the newest renewed token came.
    received: Option<Time>,
    backoff: Backoff,
    /// Of tokens that were refused while young.
    young: Backoff,
}

impl Renewals {
    pub fn new(options: &Options, now: Time) -> Renewals {
        let mut renewals = Renewals {
            possible: options.can_renew && options.live,
            refused: false,
            in_flight: false,
            due: None,
            asked: false,
            expires: None,
            received: None,
            backoff: Backoff::new(RETRY_LEAST, RETRY_BASE, RETRY_CAP),
            young: Backoff::new(YOUNG_LEAST, YOUNG_BASE, YOUNG_CAP),
        };
        renewals.set_life(options.token_lifetime.filter(|_| options.live), now);
        renewals
    }

    /// Somebody was refused for the token's sake.
    pub fn needed(&mut self, cx: &mut Cx) {
        if !self.possible || self.refused {
            return cx.degrade(Reason::TokenExpired, "the token was refused and cannot be renewed");
        }
        if self.in_flight || self.asked {
            return;
        }
        self.asked = true;
        let wait = match self.received {
            Some(received) if cx.now.since(received) < YOUNG => self.young.next(cx.rng),
            _ => {
                self.young.reset();
                Duration::ZERO
            }
        };
        self.due = Some(cx.now.after(wait));
        self.tick(cx);
    }

    /// The machine slept for nobody knows how long: the token may be old.
    pub fn resumed(&mut self, cx: &mut Cx) {
        if self.possible && !self.refused {
            self.backoff.reset();
            self.due = Some(cx.now);
            self.tick(cx);
        }
    }

    pub fn tick(&mut self, cx: &mut Cx) {
        if self.expires.is_some_and(|expires| expires <= cx.now) {
            self.expires = None;
            cx.degrade(Reason::TokenExpired, "the token's life is over");
        }
        if !self.in_flight && self.due.is_some_and(|due| due <= cx.now) {
            self.due = None;
            self.in_flight = true;
            cx.outputs.push_back(Output::Renew);
        }
    }

    pub fn ended(&mut self, cx: &mut Cx, result: Result<Renewal, RenewalError>) {
        if !std::mem::take(&mut self.in_flight) {
            return cx.skipped("unasked_renewal");
        }
        match result {
            Ok(Renewal { token: Some(life) }) => {
                self.backoff.reset();
                self.received = Some(cx.now);
                self.due = None;
                self.asked = false;
                self.set_life(life, cx.now);
                cx.event(Event::TokenRenewed);
                cx.recover(Reason::TokenExpired);
                cx.signal(Signal::TokenRenewed);
            }
            Ok(Renewal { token: None }) => self.retry(cx),
            Err(RenewalError::Retry(_)) => self.retry(cx),
            Err(RenewalError::Final(reason)) => {
                self.refused = true;
                self.due = None;
                cx.degrade(Reason::RenewalRefused, clip(reason));
                cx.signal(Signal::TokenRefused);
            }
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        earliest([self.due.filter(|_| !self.in_flight), self.expires])
    }

    /// What is left of the token's life, where it is known.
    pub fn left(&self, now: Time) -> Option<Duration> {
        self.expires.map(|expires| expires.since(now))
    }

    fn retry(&mut self, cx: &mut Cx) {
        self.due = Some(cx.now.after(self.backoff.next(cx.rng)));
    }

    fn set_life(&mut self, life: Option<Duration>, now: Time) {
        self.expires = life.map(|life| now.after(life));
        if self.possible && !self.refused {
            self.due = life.map(|life| now.after(life / 100 * RENEW_AT_PERCENT));
        }
    }
}
