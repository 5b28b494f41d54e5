//! A state file with a right checksum and any content: it is read or refused, and what was read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_core::{ContentHash, Saved};

const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

fuzz_target!(|data: &[u8]| {
    let _ = Saved::decode(data, PROJECT);
    let mut file = format!("{}\n", ContentHash::of(data)).into_bytes();
    file.extend_from_slice(data);
    if let Ok(saved) = Saved::decode(&file, PROJECT) {
        let again = Saved::decode(saved.encode().as_bytes(), PROJECT).expect("its own encoding is readable");
        assert_eq!(saved.encode(), again.encode());
    }
});
