//! Where websocket frames begin and end in a stream of bytes. The payload is not looked at.

/// The longest header of a frame: two bytes, eight of an extended length, four of a mask.
const MAX_HEADER: usize = 14;
/// The opcode of a close frame.
const CLOSE: u8 = 0x8;

/// A close frame of a server with the status 1012, "service restart": browsers report it as a clean close.
pub(crate) const RESTART: [u8; 4] = [0x80 | CLOSE, 2, 0x03, 0xf4];

/// Follows one direction of a websocket.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: Header,
    /// Bytes of the current frame's payload that are still to come.
    payload_left: u64,
    closed: bool,
}

/// The part of a header that arrived, at most [`MAX_HEADER`] bytes.
#[derive(Debug)]
struct Header {
    bytes: Vec<u8>,
}

impl Default for Header {
    fn default() -> Header {
        Header { bytes: Vec::with_capacity(MAX_HEADER) }
    }
}

impl Frames {
    /// The next bytes of the stream.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
                let (payload, after) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
                self.payload_left = self.payload_left.saturating_sub(payload.len() as u64);
                bytes = after;
                continue;
            }
            bytes = rest;
            if let Some((opcode, payload)) = self.header.push(*first) {
                self.closed |= opcode == CLOSE;
                self.payload_left = payload;
            }
        }
    }

    /// Whether another frame may follow here: the last one is whole, and none said that it is the last.
    pub(crate) fn is_open_boundary(&self) -> bool {
        !self.closed && self.payload_left == 0 && self.header.bytes.is_empty()
    }
}

impl Header {
    /// One more byte. The opcode and the payload's length, once the header is whole.
    fn push(&mut self, byte: u8) -> Option<(u8, u64)> {
        self.bytes.push(byte);
        let [first, second, rest @ ..] = self.bytes.as_slice() else { return None };
        let (extended, short) = match second & 0x7f {
            126 => (2, None),
            127 => (8, None),
            short => (0, Some(u64::from(short))),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (extended, after) = rest.split_at_checked(extended)?;
        if after.len() < mask {
            return None;
        }
        let read = |length: u64, byte: &u8| length << 8 | u64::from(*byte);
        let whole = (first & 0x0f, short.unwrap_or_else(|| extended.iter().fold(0, read)));
        self.bytes.clear();
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text frame, masked where it is a client's.
    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x81];
        match length {
            0..126 => bytes.push(mask | length as u8),
            126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(if masked { vec![1, 2, 3, 4] } else { Vec::new() });
        // Bytes that would be headers of close frames.
        bytes.resize(bytes.len() + length, 0x88);
        bytes
    }

    #[test]
    fn boundaries_are_found_however_the_bytes_are_split() {
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 65_535, 65_536] {
                let one = frame(length, masked);
                let both = [one.clone(), one.clone()].concat();
                for step in [1, 2, 3, 1_000, both.len()] {
                    let (mut frames, mut at) = (Frames::default(), 0);
                    for part in both.chunks(step) {
                        frames.take(part);
                        at += part.len();
                        assert_eq!(frames.is_open_boundary(), at % one.len() == 0, "{length} {masked} {step} {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut frames = Frames::default();
        frames.take(&RESTART);
        assert!(!frames.is_open_boundary());
    }
}
