use bytes::Bytes;

use super::{FrameError, ServerMessage};

/// Kind of a broadcast that the server pushes.
const USER_BROADCAST: u8 = 4;
/// Kind, three lengths and the payload's encoding.
const HEADER: usize = 5;
const RAW: u8 = 0;
const JSON: u8 = 1;

/// `04|topic_len|event_len|meta_len|encoding ‖ topic ‖ event ‖ meta JSON ‖ payload`; the meta may be missing. Its
/// content (an id, `replayed`) is for information only and not read.
pub(super) fn decode(frame: &Bytes) -> Result<ServerMessage, FrameError> {
    let &[kind, topic, event, meta, encoding, ..] = &frame[..] else {
        return Err(FrameError::Truncated(frame.len()));
    };
    if kind != USER_BROADCAST {
        return Err(FrameError::UnknownKind(kind));
    }
    let truncated = || FrameError::Truncated(frame.len());
    let (_, rest) = frame.split_at_checked(HEADER).ok_or_else(truncated)?;
    let (topic, rest) = rest.split_at_checked(topic.into()).ok_or_else(truncated)?;
    let (event, rest) = rest.split_at_checked(event.into()).ok_or_else(truncated)?;
    let (_, payload) = rest.split_at_checked(meta.into()).ok_or_else(truncated)?;
    let text = |what, part: &[u8]| std::str::from_utf8(part).map(str::to_owned).map_err(|_| FrameError::NotUtf8(what));
    let topic = || text("topic", topic);
    let event = || text("event", event);
    match encoding {
        JSON => Ok(ServerMessage::Broadcast { topic: topic()?, event: event()?, payload: frame.slice_ref(payload) }),
        RAW => Ok(ServerMessage::RawBroadcast { topic: topic()?, event: event()? }),
        other => Err(FrameError::UnknownEncoding(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &[u8] = b"\x04\x35\x0b\x2d\x01realtime:project:11111111-1111-4111-8111-111111111111file:update{\"id\":\"aee17413-ee4d-4535-9be4-12f7c949dc99\"}{\"id\": \"aee17413-ee4d-4535-9be4-12f7c949dc99\", \"rev\": 1, \"path\": \"a.txt\"}";

    fn decoded(frame: &[u8]) -> Result<ServerMessage, FrameError> {
        decode(&Bytes::copy_from_slice(frame))
    }

    #[test]
    fn reads_a_broadcast_from_the_database_as_recorded() {
        let frame = Bytes::from_static(RECORDED);
        let ServerMessage::Broadcast { topic, event, payload } = decode(&frame).unwrap() else { panic!() };
        assert_eq!(topic, "realtime:project:11111111-1111-4111-8111-111111111111");
        assert_eq!(event, "file:update");
        assert_eq!(payload, &br#"{"id": "aee17413-ee4d-4535-9be4-12f7c949dc99", "rev": 1, "path": "a.txt"}"#[..]);
        assert!(frame.as_ptr_range().contains(&payload.as_ptr()));
    }

    #[test]
    fn reads_one_without_meta() {
        let ServerMessage::Broadcast { payload, .. } = decoded(b"\x04\x01\x01\x00\x01te{}").unwrap() else { panic!() };
        assert_eq!(payload, "{}");
    }

    #[test]
    fn decodes_a_raw_payload_without_its_bytes() {
        let raw = ServerMessage::RawBroadcast { topic: "t".into(), event: "e".into() };
        assert_eq!(decoded(b"\x04\x01\x01\x00\x00te\xff\x00").unwrap(), raw);
    }

    #[test]
    fn each_bad_frame_has_its_own_error() {
        for end in [0, 1, 4, 5, 60, 5 + 0x35 + 0x0b + 0x2d - 1] {
            assert!(matches!(decoded(&RECORDED[..end]), Err(FrameError::Truncated(n)) if n == end), "{end}");
        }
        assert!(matches!(decoded(b"\x03\x00\x00\x00\x01"), Err(FrameError::UnknownKind(3))));
        assert!(matches!(decoded(b"\x04\x00\x00\x00\x02x"), Err(FrameError::UnknownEncoding(2))));
        assert!(matches!(decoded(b"\x04\x01\x00\x00\x01\xff"), Err(FrameError::NotUtf8("topic"))));
        assert!(matches!(decoded(b"\x04\x00\x01\x00\x01\xff"), Err(FrameError::NotUtf8("event"))));
    }
}
