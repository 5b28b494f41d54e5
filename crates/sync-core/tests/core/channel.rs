//! The channel comes back to joined after whatever ends it, and the token stays young.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{Harness, PROJECT, live_options, options, with_live};
use serde_json::{Value, json};
use sync_core::wire::{Push, project_topic, status_topic};
use sync_core::{
    ChannelState, DegradedReason, DisconnectReason, Event, Input, LiveOptions, NewToken, Options, Output, Phase,
    PhaseReport, Read, ReadError, Renewal, RenewalError, SocketEvent,
};

fn topic() -> String {
    project_topic(PROJECT)
}

fn renewed(life: u64) -> Input {
    Input::Renewed(Ok(Renewal { token: Some(NewToken { lifetime: Some(Duration::from_secs(life)) }) }))
}

fn count(outputs: &[Output], wanted: impl Fn(&Output) -> bool) -> usize {
    outputs.iter().filter(|output| wanted(output)).count()
}

fn is_connect(output: &Output) -> bool {
    matches!(output, Output::Connect)
}

fn is_renew(output: &Output) -> bool {
    matches!(output, Output::Renew)
}

/// The join that was sent, as its ref.
fn join_of(outputs: &[Output]) -> u64 {
    let join = outputs.iter().find_map(|output| match output {
        Output::Send(message) if matches!(message.push, Push::Join(_)) && message.topic == topic() => message.join_ref,
        _ => None,
    });
    join.unwrap_or_else(|| panic!("no join in {outputs:?}"))
}

fn reply(reference: u64, status: &str, response: Value) -> Value {
    let reference = reference.to_string();
    json!([reference, reference, topic(), "phx_reply", {"status": status, "response": response}])
}

fn joined() -> Harness {
    let mut harness = Harness::new();
    harness.start(5, &[]);
    harness
}

/// Answers every heartbeat while time goes by; what else came.
fn live(harness: &mut Harness, ms: u64) -> Vec<Output> {
    let end = harness.now.after(Duration::from_millis(ms));
    let mut others = Vec::new();
    while let Some(deadline) = harness.agent.deadline().map(|timer| timer.at).filter(|deadline| *deadline <= end) {
        harness.now = harness.now.max(deadline);
        harness.agent.tick(harness.now);
        for output in harness.outputs() {
            match output {
                Output::Send(message) if message.push == Push::Heartbeat => {
                    let ok = json!({"status": "ok", "response": {}});
                    others.extend(harness.frame(json!([
                        null,
                        message.reference.to_string(),
                        "phoenix",
                        "phx_reply",
                        ok
                    ])));
                }
                Output::Read(id, Read::Head) => {
                    let head = json!({"head_revision": 5, "digest": "0".repeat(64)});
                    others.extend(harness.answer(id, head));
                }
                other => others.push(other),
            }
        }
    }
    harness.now = end;
    others
}

#[test]
fn sends_a_heartbeat_every_15_seconds_whatever_the_traffic_and_gives_up_8_seconds_after_one_without_answer() {
    let mut harness = joined();
    let opened = harness.now;
    let mut beats = Vec::new();
    for _ in 0..200 {
        for output in harness.tick_until(100) {
            if let Output::Send(message) = output {
                beats.push(harness.now.since(opened).as_secs());
                assert_eq!(message.encode(""), format!(r#"[null,"{}","phoenix","heartbeat",{{}}]"#, message.reference));
            }
        }
        harness.broadcast("cursor:move", json!({}));
    }
    assert_eq!(beats, [15]);
    let outputs = harness.tick_until(3_100);
    assert_eq!(count(&outputs, |o| matches!(o, Output::Disconnect)), 1, "{outputs:?}");
    assert!(harness.now.since(opened) < Duration::from_secs(25));
    assert_ne!(harness.agent.status(harness.now).channel, ChannelState::Joined);
}

#[test]
fn a_slow_answer_to_a_heartbeat_counts() {
    let mut harness = joined();
    let outputs = harness.tick_until(15_000);
    let beat = outputs.iter().find_map(|o| if let Output::Send(message) = o { Some(message.reference) } else { None });
    harness.pass(7_900);
    harness.frame(
        json!([null, beat.expect("a beat").to_string(), "phoenix", "phx_reply", {"status": "ok", "response": {}}]),
    );
    harness.agent.tick(harness.now);
    assert_eq!(harness.agent.status(harness.now).channel, ChannelState::Joined);
}

#[test]
fn waits_ten_seconds_for_the_stream_and_then_catches_up_without() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(5, &[]);
    harness.answer(Harness::read_of(&outputs).0, json!({"head_revision": 5, "complete": true, "files": []}));
    let join = join_of(&harness.handle(Input::Socket(SocketEvent::Opened)));
    harness.frame(reply(join, "ok", json!({})));
    assert_eq!(count(&harness.tick_until(9_900), |o| matches!(o, Output::Read(..))), 0);
    assert_eq!(count(&harness.tick_until(200), |o| matches!(o, Output::Read(_, Read::Changes { .. }))), 1);
}

#[test]
fn a_close_of_an_earlier_join_is_ignored_and_one_of_the_present_join_leads_to_a_rejoin() {
    let mut harness = joined();
    assert_eq!(count(&harness.frame(json!(["99", "99", topic(), "phx_close", {}])), |_| true), 0);
    let outputs = harness.frame(json!(["1", "1", topic(), "phx_close", {}]));
    assert_eq!(count(&outputs, |o| matches!(o, Output::Event(Event::ChannelLost { .. }))), 1);
    assert!(harness.agent.status(harness.now).degraded.contains(&DegradedReason::ChannelDown));
    let outputs = harness.tick_until(600);
    let join = join_of(&outputs);
    assert_eq!(count(&outputs, is_connect), 0, "the socket stands");
    let outputs = harness.frame(reply(join, "ok", json!({})));
    assert_eq!(count(&outputs, |o| matches!(o, Output::Event(Event::ChannelJoined { rejoin: true, .. }))), 1);
    assert!(!harness.agent.status(harness.now).degraded.contains(&DegradedReason::ChannelDown));
    let outputs = harness.frame(json!([join.to_string(), null, topic(), "system",
        {"message": "Replication connection established", "status": "ok", "extension": "system"}]));
    assert!(matches!(Harness::read_of(&outputs).1, Read::Changes { since: 5, .. }), "every rejoin ends in a catch-up");
}

#[test]
fn the_channel_is_joined_again_after_each_kind_of_disconnect() {
    let ends: [(&str, Value); 4] = [
        ("phx_error", json!(["1", "1", topic(), "phx_error", {}])),
        ("late refusal", reply(1, "error", json!({"reason": "Unauthorized: no"}))),
        (
            "system",
            json!([null, null, topic(), "system", {"message": "Too many messages per second", "status": "error", "extension": "system"}]),
        ),
        ("v1 close", json!({"ref": "1", "event": "phx_close", "topic": topic(), "payload": {}})),
    ];
    for (name, end) in ends {
        let mut harness = joined();
        harness.frame(end);
        assert_eq!(harness.agent.status(harness.now).channel, ChannelState::Disconnected, "{name}");
        join_of(&harness.tick_until(600));
    }
    for end in [SocketEvent::Closed { code: 1012, reason: "".into() }, SocketEvent::Failed("reset".into())] {
        let mut harness = joined();
        harness.handle(Input::Socket(end));
        assert_eq!(count(&harness.tick_until(1_000), is_connect), 1);
    }
}

/// A server that asks for a pause gets it, whatever the class of its refusal; the attempt after it is not delayed again.
#[test]
fn refused_upgrade_waits_as_long_as_the_server_asks() {
    let asked = Duration::from_secs(200);
    for status in [403, 429, 503] {
        let mut harness = Harness::new();
        harness.outputs();
        let body = "later".to_owned();
        let refused = SocketEvent::Refused { status, body: body.clone(), retry_after: Some(asked) };
        harness.handle(Input::Socket(refused));
        assert_eq!(count(&harness.tick_until(199_000), is_connect), 0, "{status}");
        assert_eq!(count(&harness.tick_until(7_100), is_connect), 1, "{status}");
        harness.handle(Input::Socket(SocketEvent::Refused { status: 503, body, retry_after: None }));
        assert_eq!(count(&harness.tick_until(6_100), is_connect), 1, "{status}");
    }
}

/// Every way to lose the channel has a code of its own, and each attempt after it says what it mends.
#[test]
fn each_disconnect_and_the_attempt_after_it_have_its_reason() {
    let refused = |status| SocketEvent::Refused { status, body: "no".into(), retry_after: None };
    let sockets = [
        (SocketEvent::Failed("reset".into()), "unreachable"),
        (SocketEvent::Closed { code: 1012, reason: String::new() }, "closed"),
        (refused(403), "refused"),
        (refused(502), "server_fault"),
        (refused(429), "crowded"),
        (refused(401), "token"),
    ];
    let system = |message: &str| json!(["1", null, topic(), "system", {"message": message, "status": "error", "extension": "system"}]);
    let frames = [
        (reply(1, "error", json!({"reason": "Unauthorized: no"})), "join_refused"),
        (reply(1, "error", json!({"reason": "Too many joins per second"})), "crowded"),
        (reply(1, "error", json!({"reason": "InvalidJWTToken: expired"})), "token"),
        (json!(["1", "1", topic(), "phx_close", {}]), "channel_closed"),
        (system("Too many messages per second"), "channel_closed"),
        (json!(["1", "1", topic(), "phx_error", {}]), "channel_crashed"),
    ];
    let mut seen = Vec::new();
    let mut told = |mut harness: Harness, mut outputs: Vec<Output>, code: &'static str| {
        if outputs.iter().any(is_renew) {
            outputs.extend(harness.handle(renewed(3_600)));
        }
        outputs.extend(harness.tick_until(10_000));
        let losses = outputs.iter().filter_map(|o| match o {
            Output::Event(Event::ChannelLost { reason, .. }) => Some(reason.as_str()),
            _ => None,
        });
        assert_eq!(losses.take(1).collect::<Vec<_>>(), [code], "{outputs:?}");
        let retries = outputs.iter().filter_map(|o| match o {
            Output::Event(Event::ChannelRetry { reason, .. }) => Some(reason.as_str()),
            _ => None,
        });
        assert_eq!(retries.take(1).collect::<Vec<_>>(), [code], "{outputs:?}");
        seen.push(code);
    };
    for (event, code) in sockets {
        let mut harness = Harness::new();
        harness.outputs();
        let outputs = harness.handle(Input::Socket(event));
        told(harness, outputs, code);
    }
    for (frame, code) in frames {
        let mut harness = joined();
        let outputs = harness.frame(frame);
        told(harness, outputs, code);
    }
    let mut harness = joined();
    let outputs = harness.handle(Input::Resumed);
    told(harness, outputs, "suspended");
    let mut harness = joined();
    let outputs = harness.tick_until(24_000);
    told(harness, outputs, "heartbeat_timeout");
    let mut harness = Harness::new();
    let outputs = harness.tick_until(15_000);
    told(harness, outputs, "connect_timeout");
    let mut harness = Harness::new();
    harness.handle(Input::Socket(SocketEvent::Opened));
    let outputs = harness.tick_until(10_000);
    told(harness, outputs, "join_timeout");
    // That takes a database that is ahead: the test of the head has it.
    seen.push("silent");
    let all: BTreeSet<_> = DisconnectReason::ALL.into_iter().map(DisconnectReason::as_str).collect();
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
}

#[test]
fn a_refused_subscription_to_rows_does_not_take_the_channel_down() {
    let mut harness = joined();
    harness.frame(json!(["1", null, topic(), "system", {"message": "Unable to subscribe to changes", "status": "error", "extension": "postgres_changes"}]));
    assert_eq!(harness.agent.status(harness.now).channel, ChannelState::Joined);
}

#[test]
fn an_unanswered_join_drops_the_socket() {
    let mut harness = Harness::new();
    harness.handle(Input::Socket(SocketEvent::Opened));
    let outputs = harness.tick_until(10_000);
    assert_eq!(count(&outputs, |o| matches!(o, Output::Disconnect)), 1);
    assert_eq!(count(&harness.tick_until(1_000), is_connect), 1);
}

#[test]
fn waits_grow_and_start_small_again_only_after_a_stable_minute() {
    let mut harness = Harness::new();
    harness.outputs();
    let mut waits = Vec::new();
    for _ in 0..40 {
        let outputs = harness.handle(Input::Socket(SocketEvent::Failed("no route".into())));
        waits.extend(
            outputs.iter().find_map(|o| {
                if let Output::Event(Event::ChannelRetry { after, .. }) = o { Some(*after) } else { None }
            }),
        );
        let waited = (0..101).find(|_| count(&harness.tick_until(100), is_connect) == 1);
        assert!(waited.is_some(), "no attempt within 10 s");
    }
    assert!(waits[0] <= Duration::from_secs(1), "{waits:?}");
    assert!(waits.iter().max().is_some_and(|longest| *longest > Duration::from_secs(8)), "{waits:?}");
    let attempt = |harness: &mut Harness| {
        let outputs = harness.handle(Input::Socket(SocketEvent::Closed { code: 1006, reason: "".into() }));
        outputs.iter().find_map(|o| {
            if let Output::Event(Event::ChannelRetry { attempt, .. }) = o { Some(*attempt) } else { None }
        })
    };
    let outputs = harness.handle(Input::Socket(SocketEvent::Opened));
    harness.frame(reply(join_of(&outputs), "ok", json!({})));
    live(&mut harness, 30_000);
    assert!(attempt(&mut harness) > Some(40), "half a minute is not stable");
    harness.tick_until(30_000);
    let outputs = harness.handle(Input::Socket(SocketEvent::Opened));
    harness.frame(reply(join_of(&outputs), "ok", json!({})));
    live(&mut harness, 61_000);
    assert_eq!(attempt(&mut harness), Some(1));
}

#[test]
fn waits_after_a_rate_limit_grow() {
    let mut harness = Harness::new();
    harness.outputs();
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        let crowded = SocketEvent::Refused { status: 429, body: "Too many joins per second".into(), retry_after: None };
        let outputs = harness.handle(Input::Socket(crowded));
        let after = outputs.iter().find_map(|o| match o {
            Output::Event(Event::ChannelRetry { after, .. }) => Some(*after),
            _ => None,
        });
        let after = after.expect("a retry");
        assert!(longest > Duration::ZERO || after <= Duration::from_secs(6), "{after:?}");
        longest = longest.max(after);
        let tried = (0..1_501).any(|_| count(&harness.tick_until(100), is_connect) == 1);
        assert!(tried, "no attempt within 150 s");
    }
    assert!(longest > Duration::from_secs(100), "{longest:?}");
}

#[test]
fn a_token_is_renewed_at_80_percent_of_its_life_and_pushed_to_the_channel() {
    let mut harness = joined();
    let outputs = live(&mut harness, 2_879_900);
    assert_eq!(count(&outputs, is_renew), 0);
    assert_eq!(count(&live(&mut harness, 200), is_renew), 1);
    assert_eq!(count(&live(&mut harness, 60_000), is_renew), 0, "one renewal at a time");
    let outputs = harness.handle(renewed(3_600));
    assert_eq!(Harness::pushes(&outputs), [Push::AccessToken]);
    assert_eq!(harness.agent.status(harness.now).token_left, Some(Duration::from_secs(3_600)));
}

#[test]
fn an_expired_token_is_renewed_before_the_rejoin() {
    let mut harness = joined();
    let expired = json!({"message": "Token has expired 0 seconds ago", "status": "error", "extension": "system"});
    let outputs = harness.frame(json!(["1", null, topic(), "system", expired]));
    assert_eq!(count(&outputs, is_renew), 1);
    harness.frame(json!(["1", "1", topic(), "phx_close", {}]));
    assert_eq!(Harness::pushes(&live(&mut harness, 5_000)), []);
    let outputs = harness.handle(renewed(3_600));
    join_of(&outputs);
    assert_eq!(count(&outputs, is_connect), 0);
}

#[test]
fn a_401_at_the_upgrade_renews_and_connects_again() {
    let mut harness = Harness::new();
    harness.outputs();
    let outputs = harness.handle(Input::Socket(SocketEvent::Refused {
        status: 401,
        body: "Token has expired".into(),
        retry_after: None,
    }));
    assert_eq!((count(&outputs, is_renew), count(&outputs, is_connect)), (1, 0));
    assert_eq!(count(&harness.handle(renewed(60)), is_connect), 1);
}

#[test]
fn rejections_of_new_tokens_never_delay_the_renewal_at_80_percent_of_the_life() {
    let mut harness = Harness::new();
    harness.outputs();
    for attempt in 0..40 {
        let refused = SocketEvent::Refused { status: 401, body: "Token has expired".into(), retry_after: None };
        // Each token is rejected as soon as it is used, so the waits before the next request grow.
        let mut outputs = harness.handle(Input::Socket(refused));
        if count(&outputs, is_renew) == 0 {
            outputs = harness.tick_until(55_300);
        }
        assert_eq!(count(&outputs, is_renew), 1, "attempt {attempt}: {outputs:?}");
        harness.handle(renewed(69));
    }
}

#[test]
fn a_final_refusal_is_shown_and_never_retried() {
    let mut harness = joined();
    let outputs = harness.frame(json!(["1", null, topic(), "system", {"message": "Token has expired", "status": "error", "extension": "system"}]));
    assert_eq!(count(&outputs, is_renew), 1);
    harness.handle(Input::Renewed(Err(RenewalError::Final("410: the session ended".into()))));
    assert!(harness.agent.status(harness.now).degraded.contains(&DegradedReason::RenewalRefused));
    let outputs = harness.tick_until(4_000_000);
    assert_eq!(count(&outputs, is_renew), 0);
    assert!(count(&outputs, is_connect) > 10, "it keeps trying with what it has");
}

#[test]
fn failed_renewals_are_retried_with_backoff() {
    let mut harness = joined();
    live(&mut harness, 2_880_000);
    let mut renewals = 0;
    for _ in 0..60 {
        harness.handle(Input::Renewed(Err(RenewalError::Retry("503".into()))));
        renewals += count(&live(&mut harness, 60_000), is_renew);
    }
    assert_eq!(renewals, 60);
    assert!(harness.agent.status(harness.now).degraded.contains(&DegradedReason::TokenExpired));
    harness.handle(renewed(3_600));
    assert!(!harness.agent.status(harness.now).degraded.contains(&DegradedReason::TokenExpired));
}

#[test]
fn a_read_that_failed_with_the_old_token_does_not_renew_the_new_one() {
    let mut harness = Harness::new();
    let outputs = harness.hydrate(5, &[]);
    let (id, _) = Harness::read_of(&outputs);
    harness.pass(10_000);
    harness.handle(Input::Resumed);
    harness.handle(renewed(3_600));
    let outputs = harness.read(id, Err(ReadError::Unauthorized("expired".into())));
    assert_eq!(count(&outputs, is_renew), 0);
    let outputs = harness.tick_until(1_000);
    assert_eq!(count(&outputs, |o| matches!(o, Output::Read(_, Read::Changes { .. }))), 1);
}

#[test]
fn after_a_suspension_the_socket_is_dropped_the_token_renewed_and_the_channel_joined_again() {
    let mut harness = joined();
    let outputs = harness.handle(Input::Resumed);
    assert_eq!((count(&outputs, |o| matches!(o, Output::Disconnect)), count(&outputs, is_renew)), (1, 1));
    assert_eq!(count(&harness.handle(renewed(3_600)), is_connect), 1);
    let outputs = harness.handle(Input::Socket(SocketEvent::Opened));
    join_of(&outputs);
}

#[test]
fn a_head_that_stays_above_leads_to_a_catch_up_and_a_rejoin() {
    let mut harness = joined();
    let outputs = harness.tick_until(14_900);
    assert_eq!(count(&outputs, |o| matches!(o, Output::Read(..))), 0);
    let mut outputs = live_until_head(&mut harness);
    outputs.extend(harness.tick_until(2_100));
    assert!(matches!(Harness::read_of(&outputs).1, Read::Changes { since: 5, .. }));
    assert!(harness.agent.status(harness.now).degraded.contains(&DegradedReason::Behind));
    let silent = |o: &Output| matches!(o, Output::Event(Event::ChannelLost { reason: DisconnectReason::Silent, .. }));
    assert_eq!(count(&outputs, silent), 1, "{outputs:?}");
    join_of(&harness.tick_until(600));
}

/// Lets time go by until the head is asked for, and answers that it is 7.
fn live_until_head(harness: &mut Harness) -> Vec<Output> {
    for _ in 0..400 {
        harness.pass(100);
        harness.agent.tick(harness.now);
        for output in harness.outputs() {
            match output {
                Output::Send(message) if message.push == Push::Heartbeat => {
                    let ok = json!({"status": "ok", "response": {}});
                    harness.frame(json!([null, message.reference.to_string(), "phoenix", "phx_reply", ok]));
                }
                Output::Read(id, Read::Head) => {
                    return harness.answer(id, json!({"head_revision": 7, "digest": "0".repeat(64)}));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("the head was not asked for within 40 s");
}

#[test]
fn status_is_published_on_its_own_topic_whose_refusal_changes_nothing_else() {
    let mut harness = Harness::with(with_live(LiveOptions { publish_status: true, ..live_options() }));
    let phase =
        |phase, at| Input::PhaseChanged(PhaseReport { phase, dev_server: "ready".into(), detail: None, unix_ms: at });
    harness.handle(phase(Phase::Hydrating, 1_795_229_496_878));
    let outputs = harness.hydrate(5, &[]);
    harness.answer(Harness::read_of(&outputs).0, json!({"head_revision": 5, "complete": true, "files": []}));
    let main = join_of(&harness.handle(Input::Socket(SocketEvent::Opened)));
    let outputs = harness.frame(reply(main, "ok", json!({})));
    let status = outputs.iter().find_map(|output| match output {
        Output::Send(message) if message.topic == status_topic(PROJECT) => message.join_ref,
        _ => None,
    });
    let status = status.expect("a join of the status topic").to_string();
    let outputs =
        harness.frame(json!([status, status, status_topic(PROJECT), "phx_reply", {"status": "ok", "response": {}}]));
    let [Push::Broadcast { event, payload }] = &Harness::pushes(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(event, "preview:status");
    assert_eq!(payload["phase"], "hydrating");
    assert_eq!(payload["at"], "2026-11-21T02:51:36.878Z");
    assert_eq!(harness.handle(phase(Phase::Hydrating, 1_795_229_500_000)).len(), 0, "the same phase is told once");
    harness.frame(json!([status, status, status_topic(PROJECT), "phx_close", {}]));
    assert_eq!(harness.agent.status(harness.now).channel, ChannelState::Joined);
    assert_eq!(count(&harness.handle(phase(Phase::Serving, 1_795_229_500_000)), |o| matches!(o, Output::Send(_))), 0);
}

#[test]
fn without_a_database_there_is_no_channel() {
    let mut harness = Harness::with(Options { live: None, ..options() });
    harness.handle(Input::Hydrated(Default::default()));
    assert_eq!(harness.agent.status(harness.now).channel, ChannelState::Off);
    assert!(harness.agent.status(harness.now).current);
    assert!(harness.agent.status(harness.now).degraded.contains(&DegradedReason::NoLiveUpdates));
    assert_eq!(harness.agent.deadline(), None);
}
