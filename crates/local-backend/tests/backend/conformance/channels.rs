//! Answers to joins and pushes that go wrong, as the real server gives them.

use serde_json::{Value, json};

use super::channel::Channel;
use super::target::{Scene, Who};

/// The payload of a join with this `config`.
fn join(scene: &Scene, who: Who, config: Value) -> Value {
    json!({"config": config, "access_token": scene.token(who)})
}

fn topic(scene: &Scene) -> String {
    format!("realtime:project:{}", scene.project())
}

pub async fn a_topic_that_was_not_joined_is_unmatched(scene: Scene) {
    for vsn in ["1.0.0", "2.0.0"] {
        let (reply, join_ref) = Channel::unmatched(&scene, vsn).await;
        assert_eq!(reply, json!({"status": "error", "response": {"reason": "unmatched topic"}}), "{vsn}");
        assert_eq!(join_ref, Value::Null, "{vsn}");
    }
}

pub async fn a_join_without_config_is_public(scene: Scene) {
    let (mut channel, reply, _) = Channel::join_raw(&scene, "2.0.0", &topic(&scene), json!({})).await;
    let changes = &reply["response"]["postgres_changes"];
    assert_eq!(reply["status"], "ok", "{reply}");
    assert_eq!(changes[0]["schema"], "project", "{reply}");
    assert_eq!(changes[0]["table"], scene.project(), "{reply}");
    assert!(changes[0]["id"].is_number() && changes.as_array().is_some_and(|all| all.len() == 1), "{reply}");
    let system = channel.next("system").await;
    assert_eq!((&system["status"], &system["extension"]), (&json!("error"), &json!("postgres_changes")));
    // A public channel gets no event of the project.
    scene.save("a", "1").await;
    channel.heartbeat_without_broadcasts().await;
    let (_, reply, _) = Channel::join_raw(&scene, "1.0.0", &topic(&scene), join(&scene, Who::Agent, json!({}))).await;
    assert_eq!(reply, json!({"status": "ok", "response": {"postgres_changes": []}}));
}

pub async fn a_config_of_a_wrong_type_is_refused(scene: Scene) {
    let reason = "UnknownErrorOnChannel: no function clause matching in Access.get/3";
    for config in [json!("x"), json!({"broadcast": "x", "private": true})] {
        let payload = join(&scene, Who::Agent, config.clone());
        let (_, reply, _) = Channel::join_raw(&scene, "1.0.0", &topic(&scene), payload).await;
        assert_eq!(reply, json!({"status": "error", "response": {"reason": reason}}), "{config}");
    }
    // A flag of a wrong type counts as missing: this join is public.
    let payload = join(&scene, Who::Stranger, json!({"private": "yes"}));
    let (_, reply, _) = Channel::join_raw(&scene, "2.0.0", &topic(&scene), payload).await;
    assert_eq!(reply["status"], "ok");
}

pub async fn presence_without_the_right_is_an_error(scene: Scene) {
    for who in [Who::Agent, Who::Owner] {
        let mut channel = Channel::join(&scene, who, "2.0.0", "").await.expect("joined");
        let track = json!({"type": "presence", "event": "track", "payload": {"at": 1}});
        let reply = channel.request("presence", track).await;
        assert_eq!(reply, json!({"status": "error", "response": {}}), "{who:?}");
    }
}

pub async fn refusals_have_the_texts_of_the_real_server(scene: Scene) {
    let private = |token: Value| json!({"config": {"private": true}, "access_token": token});
    let refusal = async |topic: &str, payload: Value| {
        let (_, reply, _) = Channel::join_raw(&scene, "2.0.0", topic, payload).await;
        assert_eq!(reply["status"], "error", "{reply}");
        reply["response"]["reason"].as_str().unwrap_or_default().to_owned()
    };
    let (agent, project) = (json!(scene.token(Who::Agent)), scene.project());
    assert_eq!(refusal("realtime:", private(agent.clone())).await, "TopicNameRequired: You must provide a topic name");
    assert_eq!(
        refusal(&format!("realtime:project:{project}:other"), private(agent.clone())).await,
        format!("Unauthorized: You do not have permissions to read from this Channel topic: project:{project}:other")
    );
    assert_eq!(
        refusal(&topic(&scene), private(json!("abc"))).await,
        "MalformedJWT: The token provided is not a valid JWT"
    );
    let replay = |private: bool, since: Value| json!({"config": {"private": private, "broadcast": {"replay": {"since": since}}}, "access_token": agent});
    assert_eq!(
        refusal(&topic(&scene), replay(true, json!("x"))).await,
        "UnableToReplayMessages: Replay params are not valid"
    );
    assert_eq!(
        refusal(&topic(&scene), replay(false, json!(1))).await,
        "UnableToReplayMessages: Replay is not allowed for public channels"
    );
}
