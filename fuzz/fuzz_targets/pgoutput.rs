//! A PostgreSQL server that sends any replication messages, each after its length in one byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use local_backend::testing::decode_replication;

fuzz_target!(|data: &[u8]| {
    let mut messages = Vec::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (message, next) = after.split_at(usize::from(*length).min(after.len()));
        messages.push(message.to_vec());
        rest = next;
    }
    decode_replication(messages);
});
