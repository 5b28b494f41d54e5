use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::binary;

/// The largest frame that is parsed, in bytes. Realtime's own limit lies at 5,000,000 for what a client sends and
/// about 3 MB for a payload; escaping can at most double that.
pub const MAX_FRAME: usize = 16 << 20;

/// A message of the server, on any topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// `phx_reply`: the answer to the message with this ref.
    Reply {
        /// The wire topic.
        topic: String,
        /// The ref of the message that is answered.
        reference: Option<String>,
        /// Status `ok`.
        ok: bool,
        /// The server's reason, where it refused.
        reason: String,
    },
    /// `broadcast`: an event, its payload a slice of the frame.
    Broadcast {
        /// The wire topic.
        topic: String,
        /// The event inside the broadcast.
        event: String,
        /// Its payload: JSON, not parsed yet.
        payload: Bytes,
    },
    /// `broadcast` with raw bytes instead of JSON (`send_binary`, protocol 2.0.0). The bytes are not read.
    RawBroadcast {
        /// The wire topic.
        topic: String,
        /// The event inside the broadcast.
        event: String,
    },
    /// `postgres_changes`: a row, its payload a slice of the frame.
    PostgresChanges {
        /// The wire topic.
        topic: String,
        /// JSON, not parsed yet.
        payload: Bytes,
    },
    /// `system`.
    System {
        /// The wire topic.
        topic: String,
        /// The join that it is about, where it names one.
        join_ref: Option<String>,
        /// Status `ok`.
        ok: bool,
        /// `system` or `postgres_changes`.
        extension: String,
        /// For people; nothing else distinguishes an expired token from other errors.
        message: String,
    },
    /// `phx_close`: the channel is gone.
    Close {
        /// The wire topic.
        topic: String,
        /// The join that is closed; protocol 1.0.0 has it in `ref`.
        join_ref: Option<String>,
    },
    /// `phx_error`: the channel crashed.
    Error {
        /// The wire topic.
        topic: String,
        /// Which join crashed.
        join_ref: Option<String>,
    },
    /// Any other event, such as presence.
    Other {
        /// The wire topic.
        topic: String,
        /// Its name.
        event: String,
    },
}

/// Why a frame is rejected.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FrameError {
    #[error("the frame is {0} bytes long, more than {MAX_FRAME}")]
    TooLarge(usize),
    #[error("the text frame begins like neither an object nor an array")]
    NotAFrame,
    #[error("the text frame is not a Phoenix message")]
    Malformed(#[source] serde_json::Error),
    #[error("the payload of {event:?} has an unexpected shape")]
    BadPayload { event: String, source: serde_json::Error },
    #[error("the binary frame ends after {0} bytes, which is less than its header gives")]
    Truncated(usize),
    #[error("the binary frame is of the unknown kind {0}")]
    UnknownKind(u8),
    #[error("the binary frame has the unknown payload encoding {0}")]
    UnknownEncoding(u8),
    #[error("the {0} of the binary frame is not UTF-8")]
    NotUtf8(&'static str),
}

impl ServerMessage {
    /// Reads a text frame of either protocol version.
    pub fn decode_text(frame: &Bytes) -> Result<ServerMessage, FrameError> {
        if frame.len() > MAX_FRAME {
            return Err(FrameError::TooLarge(frame.len()));
        }
        let envelope = match frame.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => serde_json::from_slice(frame).map_err(FrameError::Malformed)?,
            Some(b'[') => {
                let (join_ref, reference, topic, event, payload) =
                    serde_json::from_slice(frame).map_err(FrameError::Malformed)?;
                Envelope { join_ref, reference, topic, event, payload }
            }
            _ => return Err(FrameError::NotAFrame),
        };
        envelope.message(frame)
    }

    /// Reads a binary frame of protocol 2.0.0: a broadcast from the database.
    pub fn decode_binary(frame: &Bytes) -> Result<ServerMessage, FrameError> {
        if frame.len() > MAX_FRAME {
            return Err(FrameError::TooLarge(frame.len()));
        }
        binary::decode(frame)
    }

    /// The wire topic.
    pub fn topic(&self) -> &str {
        match self {
            ServerMessage::Reply { topic, .. }
            | ServerMessage::Broadcast { topic, .. }
            | ServerMessage::RawBroadcast { topic, .. }
            | ServerMessage::PostgresChanges { topic, .. }
            | ServerMessage::System { topic, .. }
            | ServerMessage::Close { topic, .. }
            | ServerMessage::Error { topic, .. }
            | ServerMessage::Other { topic, .. } => topic,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    join_ref: Option<Ref>,
    #[serde(default, rename = "ref")]
    reference: Option<Ref>,
    topic: String,
    event: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// The server gives a ref back as it came, and some clients send numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ref {
    Text(String),
    Number(u64),
}

impl Ref {
    fn into_text(self) -> String {
        match self {
            Ref::Text(text) => text,
            Ref::Number(number) => number.to_string(),
        }
    }
}

impl<'a> Envelope<'a> {
    fn message(self, frame: &Bytes) -> Result<ServerMessage, FrameError> {
        let Envelope { join_ref, reference, topic, event, payload } = self;
        let reference = reference.map(Ref::into_text);
        let join_ref = join_ref.map(Ref::into_text);
        Ok(match event.as_str() {
            "phx_reply" => {
                let reply: ReplyPayload = parse(&event, payload)?;
                let reason = reply.response.get("reason").map(text_of).unwrap_or_default();
                ServerMessage::Reply { topic, reference, ok: reply.status == "ok", reason }
            }
            "broadcast" => {
                let inner: BroadcastPayload<'a> = parse(&event, payload)?;
                let payload = slice(frame, inner.payload.map_or("{}", RawValue::get));
                ServerMessage::Broadcast { topic, event: inner.event.into_owned(), payload }
            }
            "postgres_changes" => ServerMessage::PostgresChanges { topic, payload: slice(frame, payload.get()) },
            "system" => {
                let SystemPayload { status, extension, message } = parse(&event, payload)?;
                let message = text_of(&message);
                ServerMessage::System { topic, join_ref, ok: status == "ok", extension, message }
            }
            "phx_close" => ServerMessage::Close { topic, join_ref: join_ref.or(reference) },
            "phx_error" => ServerMessage::Error { topic, join_ref: join_ref.or(reference) },
            _ => ServerMessage::Other { topic, event },
        })
    }
}

#[derive(Deserialize)]
struct ReplyPayload {
    status: String,
    #[serde(default)]
    response: serde_json::Value,
}

#[derive(Deserialize)]
struct BroadcastPayload<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SystemPayload {
    status: String,
    #[serde(default)]
    extension: String,
    #[serde(default)]
    message: serde_json::Value,
}

fn parse<'a, T: Deserialize<'a>>(event: &str, payload: &'a RawValue) -> Result<T, FrameError> {
    serde_json::from_str(payload.get()).map_err(|source| FrameError::BadPayload { event: event.into(), source })
}

/// The text of a field that is meant for people: mostly a string, sometimes an object.
fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The part of `frame` that `part` is, without a copy where it lies inside.
fn slice(frame: &Bytes, part: &str) -> Bytes {
    let inside = frame.as_ptr_range();
    if part.is_empty() || !inside.contains(&part.as_ptr()) {
        return Bytes::copy_from_slice(part.as_bytes());
    }
    frame.slice_ref(part.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "realtime:project:11111111-1111-4111-8111-111111111111";

    fn text(frame: &'static str) -> ServerMessage {
        ServerMessage::decode_text(&Bytes::from_static(frame.as_bytes())).expect(frame)
    }

    #[test]
    fn reads_replies_as_recorded() {
        let ok = ServerMessage::Reply { topic: T.into(), reference: Some("1".into()), ok: true, reason: "".into() };
        assert_eq!(
            text(
                r#"{"ref":"1","event":"phx_reply","topic":"realtime:project:11111111-1111-4111-8111-111111111111","payload":{"status":"ok","response":{"postgres_changes":[]}}}"#
            ),
            ok
        );
        assert_eq!(
            text(
                r#"["1","1","realtime:project:11111111-1111-4111-8111-111111111111","phx_reply",{"status":"ok","response":{"postgres_changes":[]}}]"#
            ),
            ok
        );
        let refused = text(
            r#"["1","1","realtime:project:11111111-1111-4111-8111-111111111111","phx_reply",{"status":"error","response":{"reason":"InvalidJWTToken: Token has expired 5 seconds ago"}}]"#,
        );
        let ServerMessage::Reply { ok: false, reason, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(reason, "InvalidJWTToken: Token has expired 5 seconds ago");
        let beat = text(r#"[null,9,"phoenix","phx_reply",{"status":"ok","response":{}}]"#);
        assert!(matches!(beat, ServerMessage::Reply { reference: Some(r), .. } if r == "9"));
    }

    #[test]
    fn reads_broadcasts_as_recorded_without_copying_the_payload() {
        let frame = Bytes::from_static(br#"{"ref":null,"event":"broadcast","topic":"realtime:project:11111111-1111-4111-8111-111111111111","payload":{"event":"file:update","meta":{"id":"aee17413-ee4d-4535-9be4-12f7c949dc99"},"payload":{"id":"aee17413-ee4d-4535-9be4-12f7c949dc99","rev":1,"path":"a.txt"},"type":"broadcast"}}"#);
        let ServerMessage::Broadcast { topic, event, payload } = ServerMessage::decode_text(&frame).unwrap() else {
            panic!("no broadcast")
        };
        assert_eq!((topic.as_str(), event.as_str()), (T, "file:update"));
        assert_eq!(payload, &br#"{"id":"aee17413-ee4d-4535-9be4-12f7c949dc99","rev":1,"path":"a.txt"}"#[..]);
        assert!(frame.as_ptr_range().contains(&payload.as_ptr()));
        let empty = text(
            r#"[null,null,"realtime:project:11111111-1111-4111-8111-111111111111","broadcast",{"event":"x","type":"broadcast"}]"#,
        );
        assert!(matches!(empty, ServerMessage::Broadcast { payload, .. } if payload == "{}"));
    }

    #[test]
    fn reads_system_messages_and_ends_as_recorded() {
        let expired = text(
            r#"["1",null,"realtime:project:11111111-1111-4111-8111-111111111111","system",{"message":"Token has expired 0 seconds ago","status":"error","extension":"system","channel":"project:11111111-1111-4111-8111-111111111111"}]"#,
        );
        assert_eq!(
            expired,
            ServerMessage::System {
                topic: T.into(),
                join_ref: Some("1".into()),
                ok: false,
                extension: "system".into(),
                message: "Token has expired 0 seconds ago".into(),
            }
        );
        let closed = ServerMessage::Close { topic: T.into(), join_ref: Some("1".into()) };
        assert_eq!(
            text(
                r#"{"ref":"1","event":"phx_close","topic":"realtime:project:11111111-1111-4111-8111-111111111111","payload":{}}"#
            ),
            closed
        );
        assert_eq!(text(r#"["1","1","realtime:project:11111111-1111-4111-8111-111111111111","phx_close",{}]"#), closed);
        let presence =
            text(r#"["1",null,"realtime:project:11111111-1111-4111-8111-111111111111","presence_state",{}]"#);
        assert!(matches!(presence, ServerMessage::Other { event, .. } if event == "presence_state"));
    }

    #[test]
    fn each_bad_frame_has_its_own_error() {
        let refused = |frame: &[u8]| ServerMessage::decode_text(&Bytes::copy_from_slice(frame)).unwrap_err();
        for frame in [&b""[..], b"  ", b"null", b"\"text\"", b"\xff\xfe"] {
            assert!(matches!(refused(frame), FrameError::NotAFrame), "{frame:?}");
        }
        for frame in
            [&b"{"[..], b"[]", b"{}", b"[1,2,3,4,5]", b"[null,null,\"t\",\"e\",{}] trailing", b"{\"topic\":\"\xff\"}"]
        {
            assert!(matches!(refused(frame), FrameError::Malformed(_)), "{frame:?}");
        }
        for frame in [
            r#"[null,null,"t","broadcast","str"]"#,
            r#"[null,null,"t","phx_reply",{}]"#,
            r#"[null,null,"t","system",7]"#,
        ] {
            assert!(matches!(refused(frame.as_bytes()), FrameError::BadPayload { .. }), "{frame}");
        }
        assert!(matches!(refused(&vec![b'['; MAX_FRAME + 1]), FrameError::TooLarge(_)));
        assert!(matches!(refused(&vec![b'['; 100_000]), FrameError::Malformed(_)));
    }
}
