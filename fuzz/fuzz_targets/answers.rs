//! A database that answers each read with any bytes, cut into as many answers as there are zero bytes: the agent goes on.
#![no_main]

use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sync_core::wire::ProtocolVersion;
use sync_core::{
    Agent, Answer, ChannelAccess, Hydration, Input, LiveOptions, LocalChangePolicy, OpResult, Options, Outcome, Output,
    Time,
};

/// More steps than this end a run: an agent that retries has no end of its own.
const MAX_STEPS: usize = 500;

fn options() -> Options {
    Options {
        project_id: "11111111-1111-4111-8111-111111111111".into(),
        session_id: "fuzz".into(),
        live: Some(LiveOptions {
            protocol: ProtocolVersion::default(),
            access: ChannelAccess::Private,
            postgres_changes: false,
            publish_status: false,
            token_lifetime: None,
            can_renew: false,
        }),
        local_changes: LocalChangePolicy::Keep,
        seed: 1,
    }
}

fuzz_target!(|data: &[u8]| {
    let mut answers = data.split(|byte| *byte == 0).map(Bytes::copy_from_slice);
    let mut now = Time(Duration::ZERO);
    let mut agent = Agent::new(options(), now);
    agent.handle(now, Input::Hydrated(Hydration::default()));
    for _ in 0..MAX_STEPS {
        let input = match agent.poll() {
            Some(Output::Read(id, _)) => {
                let Some(answer) = answers.next() else { return };
                Input::Read(id, Ok(Answer::Json(answer)))
            }
            Some(Output::Write(id, operations)) => {
                let results = operations.iter().map(|operation| OpResult {
                    path: operation.path().clone(),
                    outcome: Outcome::Unchanged,
                });
                Input::Written(id, results.collect())
            }
            Some(_) => continue,
            None => {
                let Some(timer) = agent.deadline() else { return };
                now = timer.at.max(now);
                agent.tick(now);
                continue;
            }
        };
        agent.handle(now, input);
    }
});
