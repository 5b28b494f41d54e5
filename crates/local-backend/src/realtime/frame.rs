use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// The version of the protocol that a socket uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// 1.0.0: JSON objects.
    V1,
    /// 2.0.0: JSON arrays, and binary frames for broadcasts.
    V2,
}

/// A frame from a client. References may be any JSON and are returned unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    pub join_ref: Value,
    pub reference: Value,
    pub topic: String,
    pub event: String,
    pub payload: Payload,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    Json(Value),
    /// A binary push (kind 3).
    Broadcast {
        event: String,
        body: Body,
    },
}

/// The payload of a binary broadcast.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The text of a JSON value.
    Json(String),
    /// Raw bytes, which protocol 1.0.0 cannot carry.
    Bytes(Bytes),
}

const KIND_PUSH: u8 = 3;
/// Bytes before the parts of a binary push.
const PUSH_HEADER: usize = 7;
const KIND_BROADCAST: u8 = 4;
const ENCODING_BINARY: u8 = 0;
const ENCODING_JSON: u8 = 1;

/// Decodes a frame. `None` for a malformed one, which the real server ignores without an answer.
pub fn decode(protocol: Protocol, message: &Message) -> Option<Incoming> {
    match (protocol, message) {
        (Protocol::V1, Message::Text(text)) => object(serde_json::from_str(text).ok()?),
        (Protocol::V2, Message::Text(text)) => array(serde_json::from_str(text).ok()?),
        (Protocol::V2, Message::Binary(bytes)) => push(bytes.clone()),
        _ => None,
    }
}

/// `join_ref` is optional, the other four keys are required.
fn object(mut frame: Value) -> Option<Incoming> {
    let fields = frame.as_object_mut()?;
    Some(Incoming {
        join_ref: fields.remove("join_ref").unwrap_or(Value::Null),
        reference: fields.remove("ref")?,
        topic: fields.get("topic")?.as_str()?.into(),
        event: fields.get("event")?.as_str()?.into(),
        payload: Payload::Json(fields.remove("payload")?),
    })
}

fn array(frame: Value) -> Option<Incoming> {
    let Value::Array(fields) = frame else { return None };
    let [join_ref, reference, topic, event, payload] = <[Value; 5]>::try_from(fields).ok()?;
    Some(Incoming {
        join_ref,
        reference,
        topic: topic.as_str()?.into(),
        event: event.as_str()?.into(),
        payload: Payload::Json(payload),
    })
}

/// `03 | join_ref_len | ref_len | topic_len | event_len | meta_len | encoding`, then the five parts, then the payload.
fn push(bytes: Bytes) -> Option<Incoming> {
    let &[KIND_PUSH, join_ref, reference, topic, event, meta, encoding] = bytes.first_chunk()? else { return None };
    let mut rest = bytes.slice(PUSH_HEADER..);
    let mut part = |len: u8| {
        let len = usize::from(len);
        let part = if len <= rest.len() { rest.split_to(len) } else { return None };
        String::from_utf8(part.to_vec()).ok()
    };
    let reference_or_null = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    let join_ref = reference_or_null(&part(join_ref)?);
    let reference = reference_or_null(&part(reference)?);
    let topic = part(topic)?;
    let event = part(event)?;
    part(meta)?;
    let body = match encoding {
        ENCODING_BINARY => Body::Bytes(rest),
        ENCODING_JSON => {
            let text = String::from_utf8(rest.to_vec()).ok()?;
            serde_json::from_str::<serde::de::IgnoredAny>(&text).ok()?;
            Body::Json(text)
        }
        _ => return None,
    };
    Some(Incoming {
        join_ref,
        reference,
        topic,
        event: "broadcast".into(),
        payload: Payload::Broadcast { event, body },
    })
}

/// Encodes a text frame around `payload`, which is JSON text. Protocol 1.0.0 has no field for `join_ref`.
pub fn encode(
    protocol: Protocol,
    join_ref: &Value,
    reference: &Value,
    topic: &str,
    event: &str,
    payload: &str,
) -> Message {
    let (topic, event) = (json!(topic), json!(event));
    let text = match protocol {
        Protocol::V1 => format!(r#"{{"ref":{reference},"event":{event},"topic":{topic},"payload":{payload}}}"#),
        Protocol::V2 => format!("[{join_ref},{reference},{topic},{event},{payload}]"),
    };
    Message::text(text)
}

/// `04 | topic_len | event_len | meta_len | encoding`, then topic, event and meta, then the payload. `None` if a part is
/// longer than 255 bytes.
pub fn binary_broadcast(topic: &str, event: &str, meta: &str, body: &Body) -> Option<Message> {
    let (encoding, payload) = match body {
        Body::Json(text) => (ENCODING_JSON, text.as_bytes()),
        Body::Bytes(bytes) => (ENCODING_BINARY, bytes.as_ref()),
    };
    let mut frame = BytesMut::new();
    frame.put_u8(KIND_BROADCAST);
    for part in [topic, event, meta] {
        frame.put_u8(u8::try_from(part.len()).ok()?);
    }
    frame.put_u8(encoding);
    for part in [topic.as_bytes(), event.as_bytes(), meta.as_bytes(), payload] {
        frame.put_slice(part);
    }
    Some(Message::Binary(frame.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "realtime:project:11111111-1111-4111-8111-111111111111";

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or("zz"), 16).unwrap_or_default())
            .collect()
    }

    #[test]
    fn decodes_the_recorded_binary_push() {
        let hex = "030101350b000131337265616c74696d653a70726f6a6563743a31313131313131312d313131312d343131312d383131312d31313131313131313131313166696c653a7570646174657b2270617468223a22612e747874222c22726576223a337d";
        let incoming = decode(Protocol::V2, &Message::binary(bytes(hex)));
        let body = Body::Json(r#"{"path":"a.txt","rev":3}"#.into());
        let expected = Incoming {
            join_ref: json!("1"),
            reference: json!("3"),
            topic: TOPIC.into(),
            event: "broadcast".into(),
            payload: Payload::Broadcast { event: "file:update".into(), body },
        };
        assert_eq!(incoming, Some(expected));
        assert_eq!(decode(Protocol::V1, &Message::binary(bytes(hex))), None);
    }

    #[test]
    fn encodes_the_recorded_binary_broadcasts() {
        let hex = "04350b2d017265616c74696d653a70726f6a6563743a31313131313131312d313131312d343131312d383131312d31313131313131313131313166696c653a7570646174657b226964223a2231383235333035342d356436632d343839632d623438382d646635653135373465323435227d7b22726177223a20317d";
        let meta = r#"{"id":"18253054-5d6c-489c-b488-df5e1574e245"}"#;
        let frame = binary_broadcast(TOPIC, "file:update", meta, &Body::Json(r#"{"raw": 1}"#.into()));
        assert_eq!(frame, Some(Message::binary(bytes(hex))));
        let hex = "04350400007265616c74696d653a70726f6a6563743a31313131313131312d313131312d343131312d383131312d313131313131313131313131626c6f62010203ff";
        let frame = binary_broadcast(TOPIC, "blob", "", &Body::Bytes(Bytes::from_static(&[1, 2, 3, 255])));
        assert_eq!(frame, Some(Message::binary(bytes(hex))));
        assert_eq!(binary_broadcast(TOPIC, &"e".repeat(300), "", &Body::Json("{}".into())), None);
    }

    #[test]
    fn encodes_text_frames_of_both_protocols() {
        let frame = |protocol| encode(protocol, &json!("1"), &json!("2"), "t", "phx_reply", r#"{"a":1}"#);
        assert_eq!(
            frame(Protocol::V1),
            Message::text(r#"{"ref":"2","event":"phx_reply","topic":"t","payload":{"a":1}}"#)
        );
        assert_eq!(frame(Protocol::V2), Message::text(r#"["1","2","t","phx_reply",{"a":1}]"#));
    }

    #[test]
    fn malformed_frames_are_ignored() {
        let beat = r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":7}"#;
        assert_eq!(decode(Protocol::V1, &Message::text(beat)).map(|frame| frame.reference), Some(json!(7)));
        for text in [
            "hello",
            r#"[null,"1","phoenix","heartbeat",{}]"#,
            r#"{"topic":"phoenix","event":"heartbeat","payload":{}}"#,
        ] {
            assert_eq!(decode(Protocol::V1, &Message::text(text)), None, "{text}");
        }
        for text in ["hello", beat, r#"[null,"1","phoenix","heartbeat"]"#, "[1,2,3,4,5]"] {
            assert_eq!(decode(Protocol::V2, &Message::text(text)), None, "{text}");
        }
        for bytes in [&[9, 9, 9][..], &[3, 255, 0, 0, 0, 0, 1], &[3, 0, 0, 0, 0, 0, 9], &[]] {
            assert_eq!(decode(Protocol::V2, &Message::binary(bytes.to_vec())), None, "{bytes:?}");
        }
    }
}
