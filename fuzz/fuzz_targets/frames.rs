//! A Realtime server that sends any bytes: frames are decoded or refused, in both protocols.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sync_core::wire::ServerMessage;

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    for decoded in [ServerMessage::decode_text(&frame), ServerMessage::decode_binary(&frame)] {
        if let Ok(message) = decoded {
            let _ = message.topic();
        }
    }
});
