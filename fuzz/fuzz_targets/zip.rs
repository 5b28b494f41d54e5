//! Any bytes as an archive, in small limits: entries are read or refused, within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zip_stream::{Archive, Limits, ZipError};

const MAX_EXPANDED: u64 = 1 << 20;

fn read(data: &[u8]) -> Result<u64, ZipError> {
    let limits = Limits { expanded: MAX_EXPANDED, entries: 100, ..Limits::default() };
    let mut archive = Archive::new(data, limits);
    let mut total = 0;
    let mut buffer = vec![0; 4096];
    while let Some(mut entry) = archive.next_entry()? {
        loop {
            match entry.read(&mut buffer)? {
                0 => break,
                count => total += count as u64,
            }
        }
    }
    archive.finish()?;
    Ok(total)
}

fuzz_target!(|data: &[u8]| {
    if let Ok(total) = read(data) {
        assert!(total <= MAX_EXPANDED, "{total} bytes were read");
    }
});
