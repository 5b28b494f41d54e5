//! The channel comes back to joined after whatever ends it, and the token stays young.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Desk, PROJECT, options};
use serde_json::{Value, json};
use sync_core::wire::{Push, project_topic, status_topic};
use sync_core::{
    Event, Input, DisconnectReason, Options, Output, Phase, Read, ReadError, DegradedReason, Renewal, RenewalError, SocketEvent, Time,
};

fn topic() -> String {
    project_topic(PROJECT)
}

fn renewed(life: u64) -> Input {
    Input::Renewed(Ok(Renewal { token: Some(Some(Duration::from_secs(life))) }))
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

fn joined() -> Desk {
    let mut desk = Desk::new();
    desk.start(5, &[]);
    desk
}

/// Answers every heartbeat while time goes by; what else came.
fn live(desk: &mut Desk, ms: u64) -> Vec<Output> {
    let end = desk.now.after(Duration::from_millis(ms));
    let mut others = Vec::new();
    while let Some(deadline) = desk.agent.deadline().filter(|deadline| *deadline <= end) {
        desk.now = desk.now.max(deadline);
        desk.agent.tick(desk.now);
        for output in desk.outputs() {
            match output {
                Output::Send(message) if message.push == Push::Heartbeat => {
                    let ok = json!({"status": "ok", "response": {}});
                    others.extend(desk.frame(json!([null, message.reference.to_string(), "phoenix", "phx_reply", ok])));
                }
                Output::Read(id, Read::Head) => {
                    let head = json!({"head_revision": 5, "digest": "0".repeat(64)});
                    others.extend(desk.answer(id, head));
                }
                other => others.push(other),
            }
        }
    }
    desk.now = end;
    others
}

#[test]
fn beats_every_15_seconds_whatever_the_traffic_and_gives_up_8_seconds_after_an_unanswered_beat() {
    let mut desk = joined();
    let opened = desk.now;
    let mut beats = Vec::new();
    for _ in 0..200 {
        for output in desk.tick_until(100) {
            if let Output::Send(message) = output {
                beats.push(desk.now.since(opened).as_secs());
                assert_eq!(message.encode(""), format!(r#"[null,"{}","phoenix","heartbeat",{{}}]"#, message.reference));
            }
        }
        desk.broadcast("cursor:move", json!({}));
    }
    assert_eq!(beats, [15]);
    let outputs = desk.tick_until(3_100);
    assert_eq!(count(&outputs, |o| matches!(o, Output::Disconnect)), 1, "{outputs:?}");
    assert!(desk.now.since(opened) < Duration::from_secs(25));
    assert_ne!(desk.agent.status(desk.now).channel, "joined");
}

#[test]
fn a_slow_answer_to_a_beat_is_an_answer() {
    let mut desk = joined();
    let outputs = desk.tick_until(15_000);
    let beat = outputs.iter().find_map(|o| if let Output::Send(message) = o { Some(message.reference) } else { None });
    desk.pass(7_900);
    desk.frame(
        json!([null, beat.expect("a beat").to_string(), "phoenix", "phx_reply", {"status": "ok", "response": {}}]),
    );
    desk.agent.tick(desk.now);
    assert_eq!(desk.agent.status(desk.now).channel, "joined");
}

#[test]
fn waits_ten_seconds_for_the_stream_and_then_catches_up_without() {
    let mut desk = Desk::new();
    let outputs = desk.hydrate(5, &[]);
    desk.answer(Desk::read_of(&outputs).0, json!({"head_revision": 5, "complete": true, "files": []}));
    let join = join_of(&desk.handle(Input::Socket(SocketEvent::Opened)));
    desk.frame(reply(join, "ok", json!({})));
    assert_eq!(count(&desk.tick_until(9_900), |o| matches!(o, Output::Read(..))), 0);
    assert_eq!(count(&desk.tick_until(200), |o| matches!(o, Output::Read(_, Read::Changes { .. }))), 1);
}

#[test]
fn a_close_of_an_older_join_is_ignored_and_one_of_ours_leads_back_to_joined() {
    let mut desk = joined();
    assert_eq!(count(&desk.frame(json!(["99", "99", topic(), "phx_close", {}])), |_| true), 0);
    let outputs = desk.frame(json!(["1", "1", topic(), "phx_close", {}]));
    assert_eq!(count(&outputs, |o| matches!(o, Output::Event(Event::ChannelLost { .. }))), 1);
    assert!(desk.agent.status(desk.now).degraded.contains(&DegradedReason::ChannelDown));
    let outputs = desk.tick_until(600);
    let join = join_of(&outputs);
    assert_eq!(count(&outputs, is_connect), 0, "the socket stands");
    let outputs = desk.frame(reply(join, "ok", json!({})));
    assert_eq!(count(&outputs, |o| matches!(o, Output::Event(Event::ChannelJoined { rejoin: true, .. }))), 1);
    assert!(!desk.agent.status(desk.now).degraded.contains(&DegradedReason::ChannelDown));
    let outputs = desk.frame(json!([join.to_string(), null, topic(), "system",
        {"message": "Replication connection established", "status": "ok", "extension": "system"}]));
    assert!(matches!(Desk::read_of(&outputs).1, Read::Changes { since: 5, .. }), "every rejoin ends in a catch-up");
}

#[test]
fn each_end_leads_back_to_joined() {
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
        let mut desk = joined();
        desk.frame(end);
        assert_eq!(desk.agent.status(desk.now).channel, "disconnected", "{name}");
        join_of(&desk.tick_until(600));
    }
    for end in [SocketEvent::Closed { code: 1012, reason: "".into() }, SocketEvent::Failed("reset".into())] {
        let mut desk = joined();
        desk.handle(Input::Socket(end));
        assert_eq!(count(&desk.tick_until(1_000), is_connect), 1);
    }
}

/// Every way to lose the channel has a code of its own, and each attempt after it says what it mends.
#[test]
fn each_loss_is_told_with_its_code_and_so_is_the_attempt_after_it() {
    let refused = |status| SocketEvent::Refused { status, body: "no".into() };
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
    let mut told = |mut desk: Desk, mut outputs: Vec<Output>, code: &'static str| {
        if outputs.iter().any(is_renew) {
            outputs.extend(desk.handle(renewed(3_600)));
        }
        outputs.extend(desk.tick_until(10_000));
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
        let mut desk = Desk::new();
        desk.outputs();
        let outputs = desk.handle(Input::Socket(event));
        told(desk, outputs, code);
    }
    for (frame, code) in frames {
        let mut desk = joined();
        let outputs = desk.frame(frame);
        told(desk, outputs, code);
    }
    let mut desk = joined();
    let outputs = desk.handle(Input::Resumed);
    told(desk, outputs, "suspended");
    let mut desk = joined();
    let outputs = desk.tick_until(24_000);
    told(desk, outputs, "heartbeat_timeout");
    let mut desk = Desk::new();
    let outputs = desk.tick_until(15_000);
    told(desk, outputs, "connect_timeout");
    let mut desk = Desk::new();
    desk.handle(Input::Socket(SocketEvent::Opened));
    let outputs = desk.tick_until(10_000);
    told(desk, outputs, "join_timeout");
    // That takes a database that is ahead: the test of the head has it.
    seen.push("silent");
    let all: BTreeSet<_> = DisconnectReason::ALL.into_iter().map(DisconnectReason::as_str).collect();
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
}

#[test]
fn a_refused_subscription_to_rows_does_not_take_the_channel_down() {
    let mut desk = joined();
    desk.frame(json!(["1", null, topic(), "system", {"message": "Unable to subscribe to changes", "status": "error", "extension": "postgres_changes"}]));
    assert_eq!(desk.agent.status(desk.now).channel, "joined");
}

#[test]
fn an_unanswered_join_drops_the_socket() {
    let mut desk = Desk::new();
    desk.handle(Input::Socket(SocketEvent::Opened));
    let outputs = desk.tick_until(10_000);
    assert_eq!(count(&outputs, |o| matches!(o, Output::Disconnect)), 1);
    assert_eq!(count(&desk.tick_until(1_000), is_connect), 1);
}

#[test]
fn retries_grow_and_begin_small_again_only_after_a_stable_minute() {
    let mut desk = Desk::new();
    desk.outputs();
    let mut waits = Vec::new();
    for _ in 0..40 {
        let outputs = desk.handle(Input::Socket(SocketEvent::Failed("no route".into())));
        waits.extend(
            outputs.iter().find_map(|o| {
                if let Output::Event(Event::ChannelRetry { after, .. }) = o { Some(*after) } else { None }
            }),
        );
        let waited = (0..101).find(|_| count(&desk.tick_until(100), is_connect) == 1);
        assert!(waited.is_some(), "no attempt within 10 s");
    }
    assert!(waits[0] <= Duration::from_secs(1), "{waits:?}");
    assert!(waits.iter().max().is_some_and(|longest| *longest > Duration::from_secs(8)), "{waits:?}");
    let attempt = |desk: &mut Desk| {
        let outputs = desk.handle(Input::Socket(SocketEvent::Closed { code: 1006, reason: "".into() }));
        outputs.iter().find_map(|o| {
            if let Output::Event(Event::ChannelRetry { attempt, .. }) = o { Some(*attempt) } else { None }
        })
    };
    let outputs = desk.handle(Input::Socket(SocketEvent::Opened));
    desk.frame(reply(join_of(&outputs), "ok", json!({})));
    live(&mut desk, 30_000);
    assert!(attempt(&mut desk) > Some(40), "half a minute is not stable");
    desk.tick_until(30_000);
    let outputs = desk.handle(Input::Socket(SocketEvent::Opened));
    desk.frame(reply(join_of(&outputs), "ok", json!({})));
    live(&mut desk, 61_000);
    assert_eq!(attempt(&mut desk), Some(1));
}

#[test]
fn a_server_that_says_it_has_too_many_is_left_alone_for_longer_each_time() {
    let mut desk = Desk::new();
    desk.outputs();
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        let crowded = SocketEvent::Refused { status: 429, body: "Too many joins per second".into() };
        let outputs = desk.handle(Input::Socket(crowded));
        let after = outputs.iter().find_map(|o| match o {
            Output::Event(Event::ChannelRetry { after, .. }) => Some(*after),
            _ => None,
        });
        let after = after.expect("a retry");
        assert!(longest > Duration::ZERO || after <= Duration::from_secs(6), "{after:?}");
        longest = longest.max(after);
        let tried = (0..1_501).any(|_| count(&desk.tick_until(100), is_connect) == 1);
        assert!(tried, "no attempt within 150 s");
    }
    assert!(longest > Duration::from_secs(100), "{longest:?}");
}

#[test]
fn a_token_is_renewed_at_80_percent_of_its_life_and_pushed_to_the_channel() {
    let mut desk = joined();
    let outputs = live(&mut desk, 2_879_900);
    assert_eq!(count(&outputs, is_renew), 0);
    assert_eq!(count(&live(&mut desk, 200), is_renew), 1);
    assert_eq!(count(&live(&mut desk, 60_000), is_renew), 0, "one renewal at a time");
    let outputs = desk.handle(renewed(3_600));
    assert_eq!(Desk::pushes(&outputs), [Push::AccessToken]);
    assert_eq!(desk.agent.status(desk.now).token_left, Some(Duration::from_secs(3_600)));
}

#[test]
fn an_expired_token_is_renewed_before_the_rejoin() {
    let mut desk = joined();
    let expired = json!({"message": "Token has expired 0 seconds ago", "status": "error", "extension": "system"});
    let outputs = desk.frame(json!(["1", null, topic(), "system", expired]));
    assert_eq!(count(&outputs, is_renew), 1);
    desk.frame(json!(["1", "1", topic(), "phx_close", {}]));
    assert_eq!(Desk::pushes(&live(&mut desk, 5_000)), []);
    let outputs = desk.handle(renewed(3_600));
    join_of(&outputs);
    assert_eq!(count(&outputs, is_connect), 0);
}

#[test]
fn a_401_at_the_upgrade_renews_and_connects_again() {
    let mut desk = Desk::new();
    desk.outputs();
    let outputs = desk.handle(Input::Socket(SocketEvent::Refused { status: 401, body: "Token has expired".into() }));
    assert_eq!((count(&outputs, is_renew), count(&outputs, is_connect)), (1, 0));
    assert_eq!(count(&desk.handle(renewed(60)), is_connect), 1);
}

#[test]
fn a_final_refusal_is_said_and_never_asked_again() {
    let mut desk = joined();
    let outputs = desk.frame(json!(["1", null, topic(), "system", {"message": "Token has expired", "status": "error", "extension": "system"}]));
    assert_eq!(count(&outputs, is_renew), 1);
    desk.handle(Input::Renewed(Err(RenewalError::Final("410: the session ended".into()))));
    assert!(desk.agent.status(desk.now).degraded.contains(&DegradedReason::RenewalRefused));
    let outputs = desk.tick_until(4_000_000);
    assert_eq!(count(&outputs, is_renew), 0);
    assert!(count(&outputs, is_connect) > 10, "it keeps trying with what it has");
}

#[test]
fn renewals_that_fail_are_tried_again_without_a_storm() {
    let mut desk = joined();
    live(&mut desk, 2_880_000);
    let mut renewals = 0;
    for _ in 0..60 {
        desk.handle(Input::Renewed(Err(RenewalError::Retry("503".into()))));
        renewals += count(&live(&mut desk, 60_000), is_renew);
    }
    assert_eq!(renewals, 60);
    assert!(desk.agent.status(desk.now).degraded.contains(&DegradedReason::TokenExpired));
    desk.handle(renewed(3_600));
    assert!(!desk.agent.status(desk.now).degraded.contains(&DegradedReason::TokenExpired));
}

#[test]
fn a_read_that_is_refused_for_the_old_token_does_not_renew_the_new_one() {
    let mut desk = Desk::new();
    let outputs = desk.hydrate(5, &[]);
    let (id, _) = Desk::read_of(&outputs);
    desk.pass(10_000);
    desk.handle(Input::Resumed);
    desk.handle(renewed(3_600));
    let outputs = desk.read(id, Err(ReadError::Unauthorized("expired".into())));
    assert_eq!(count(&outputs, is_renew), 0);
    let outputs = desk.tick_until(1_000);
    assert!(matches!(Desk::read_of(&outputs).1, Read::Changes { .. }));
}

#[test]
fn after_a_suspension_the_socket_is_dropped_the_token_renewed_and_the_channel_joined_again() {
    let mut desk = joined();
    let outputs = desk.handle(Input::Resumed);
    assert_eq!((count(&outputs, |o| matches!(o, Output::Disconnect)), count(&outputs, is_renew)), (1, 1));
    assert_eq!(count(&desk.handle(renewed(3_600)), is_connect), 1);
    let outputs = desk.handle(Input::Socket(SocketEvent::Opened));
    join_of(&outputs);
}

#[test]
fn a_head_that_stays_above_ours_leads_to_a_catch_up_and_a_rejoin() {
    let mut desk = joined();
    let outputs = desk.tick_until(14_900);
    assert_eq!(count(&outputs, |o| matches!(o, Output::Read(..))), 0);
    let mut outputs = live_until_head(&mut desk);
    outputs.extend(desk.tick_until(2_100));
    assert!(matches!(Desk::read_of(&outputs).1, Read::Changes { since: 5, .. }));
    assert!(desk.agent.status(desk.now).degraded.contains(&DegradedReason::Behind));
    let silent = |o: &Output| matches!(o, Output::Event(Event::ChannelLost { reason: DisconnectReason::Silent, .. }));
    assert_eq!(count(&outputs, silent), 1, "{outputs:?}");
    join_of(&desk.tick_until(600));
}

/// Lets time go by until the head is asked for, and answers that it is 7.
fn live_until_head(desk: &mut Desk) -> Vec<Output> {
    for _ in 0..400 {
        desk.pass(100);
        desk.agent.tick(desk.now);
        for output in desk.outputs() {
            match output {
                Output::Send(message) if message.push == Push::Heartbeat => {
                    let ok = json!({"status": "ok", "response": {}});
                    desk.frame(json!([null, message.reference.to_string(), "phoenix", "phx_reply", ok]));
                }
                Output::Read(id, Read::Head) => {
                    return desk.answer(id, json!({"head_revision": 7, "digest": "0".repeat(64)}));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("the head was not asked for within 40 s");
}

#[test]
fn status_goes_to_a_topic_of_its_own_whose_refusal_disturbs_nothing() {
    let mut desk = Desk::with(Options { publish_status: true, ..options() });
    let phase = |phase, at| Input::PhaseChanged(Phase { phase, dev_server: "ready".into(), detail: None, unix_ms: at });
    desk.handle(phase("hydrating", 1_795_229_496_878));
    let outputs = desk.hydrate(5, &[]);
    desk.answer(Desk::read_of(&outputs).0, json!({"head_revision": 5, "complete": true, "files": []}));
    let main = join_of(&desk.handle(Input::Socket(SocketEvent::Opened)));
    let outputs = desk.frame(reply(main, "ok", json!({})));
    let status = outputs.iter().find_map(|output| match output {
        Output::Send(message) if message.topic == status_topic(PROJECT) => message.join_ref,
        _ => None,
    });
    let status = status.expect("a join of the status topic").to_string();
    let outputs =
        desk.frame(json!([status, status, status_topic(PROJECT), "phx_reply", {"status": "ok", "response": {}}]));
    let [Push::Broadcast { event, payload }] = &Desk::pushes(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(event, "preview:status");
    assert_eq!(payload["phase"], "hydrating");
    assert_eq!(payload["at"], "2026-11-21T02:51:36.878Z");
    assert_eq!(desk.handle(phase("hydrating", 1_795_229_500_000)).len(), 0, "the same phase is told once");
    desk.frame(json!([status, status, status_topic(PROJECT), "phx_close", {}]));
    assert_eq!(desk.agent.status(desk.now).channel, "joined");
    assert_eq!(count(&desk.handle(phase("serving", 1_795_229_500_000)), |o| matches!(o, Output::Send(_))), 0);
}

#[test]
fn without_a_database_there_is_no_channel() {
    let mut desk = Desk::with(Options { live: false, ..options() });
    desk.handle(Input::Hydrated(Default::default()));
    assert_eq!(desk.agent.status(desk.now).channel, "off");
    assert!(desk.agent.status(desk.now).current);
    assert!(desk.agent.status(desk.now).degraded.contains(&DegradedReason::NoLiveUpdates));
    assert_eq!(desk.agent.deadline(), None::<Time>);
}
