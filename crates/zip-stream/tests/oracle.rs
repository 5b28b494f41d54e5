//! Random archives of every shape, whole and damaged, against the `zip` crate.

mod support;

use proptest::prelude::*;
use support::{Files, Shape, Sizes, oracle, pieces, read, read_cut, zip};
use zip_stream::Limits;

fn sizes() -> impl Strategy<Value = Sizes> {
    prop_oneof![
        Just(Sizes::Before),
        Just(Sizes::Zip64),
        (any::<bool>(), any::<bool>()).prop_map(|(signed, wide)| Sizes::After { signed, wide }),
    ]
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..200),
        (any::<u8>(), 0..200_000usize).prop_map(|(byte, length)| vec![byte; length]),
        // A zip, whole or in part, inside of the zip.
        (content_small(), any::<bool>(), 0..100usize).prop_map(|(content, deflated, keep)| {
            let inner = Shape { deflated, ..Shape::new("inner", &content) };
            let inner =
                zip(&[inner.clone(), Shape::new("b", b"PK\x07\x08").sizes(Sizes::After { signed: true, wide: false })]);
            inner[..inner.len() * (100 - keep) / 100].to_vec()
        }),
    ]
}

fn content_small() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..50)
}

fn shape() -> impl Strategy<Value = Shape> {
    let name = prop_oneof!["[a-z]{1,8}(/[a-z.]{1,8}){0,3}", "[a-zäß日本]{1,20}", "[a-z]{1,4}/"];
    let extra = prop_oneof![Just(vec![]), Just(vec![0x55, 0x54, 5, 0, 3, 1, 2, 3, 4]), Just(vec![0, 0, 0])];
    (name, content(), any::<bool>(), sizes(), extra, any::<bool>()).prop_map(
        |(name, content, deflated, sizes, extra, runs)| {
            let content = if name.ends_with('/') { Vec::new() } else { content };
            // Padding is for the end only.
            let extra = if sizes == Sizes::Zip64 && extra.len() == 3 { vec![] } else { extra };
            let shape = Shape { deflated, sizes, extra, ..Shape::new(&name, &content) };
            if runs && !name.ends_with('/') { shape.mode(0o100_755) } else { shape }
        },
    )
}

fn archive() -> impl Strategy<Value = (Vec<Shape>, Vec<u8>)> {
    (prop::collection::vec(shape(), 0..8), "[ -~]{0,30}", any::<bool>()).prop_map(|(mut shapes, comment, zip64)| {
        let mut names = std::collections::HashSet::new();
        shapes.retain(|shape| names.insert(shape.name.clone()));
        let mut pieces = pieces(&shapes);
        pieces.comment = comment.into_bytes();
        pieces.zip64 = zip64;
        (shapes, pieces.join())
    })
}

fn contents(shapes: &[Shape]) -> Files {
    shapes.iter().map(|shape| (String::from_utf8(shape.name.clone()).unwrap(), shape.content.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shape_is_read_in_every_cut((shapes, bytes) in archive(), cut in 1..300usize, buffer in 1..70_000usize) {
        let limits = Limits { ratio: u64::MAX, ..Limits::default() };
        let (files, listed) = read_cut(&bytes, limits, cut, buffer).unwrap();
        prop_assert_eq!(&files, &contents(&shapes));
        prop_assert_eq!(&files, &oracle(&bytes).unwrap());
        let runs: Vec<_> = listed.iter().map(|entry| entry.executable).collect();
        prop_assert_eq!(runs, shapes.iter().map(|shape| shape.mode == 0o100_755).collect::<Vec<_>>());
    }

    #[test]
    fn whatever_bytes_come_there_is_an_end(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn what_is_accepted_of_a_damaged_archive_is_what_it_was(
        (shapes, bytes) in archive(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4),
    ) {
        let mut damaged = bytes.clone();
        for (place, byte, how) in places {
            let place = place.index(damaged.len());
            match how {
                0 => damaged[place] = byte,
                1 => damaged.insert(place, byte),
                _ => { damaged.remove(place); }
            }
        }
        accepts_only(&damaged, &contents(&shapes));
    }
}

/// Either refused, or the same files (the damage hit a date, say), which the other reader finds as well.
#[track_caller]
fn accepts_only(damaged: &[u8], files: &Files) {
    let limits = Limits { ratio: u64::MAX, ..Limits::default() };
    if let Ok((accepted, _)) = read_cut(damaged, limits, 4096, 4096) {
        // An empty archive is nothing but its end.
        let names = |files: &Files| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&accepted), names(files));
        assert!(accepted == *files, "other content was accepted");
        assert_eq!(accepted, oracle(damaged).unwrap());
    }
}

/// One of each kind, in few bytes.
fn small() -> (Vec<Shape>, Vec<u8>) {
    let after = |signed, wide| Sizes::After { signed, wide };
    let shapes = vec![
        Shape::new("stored", b"some text"),
        Shape::new("dir/", b""),
        Shape::new("dir/deflated", &b"text ".repeat(9)).deflated(),
        Shape::new("after", b"deflated").deflated().sizes(after(true, false)),
        Shape::new("wide", b"deflated").deflated().sizes(after(false, true)),
        Shape::new("zip64", b"").sizes(Sizes::Zip64),
        Shape::new("stored-after", b"PK\x07\x08PK\x01\x02").sizes(after(true, false)),
        Shape::new("empty", b"").sizes(after(true, true)),
    ];
    let mut pieces = pieces(&shapes);
    pieces.zip64 = true;
    pieces.comment = b"hello".to_vec();
    (shapes, pieces.join())
}

#[test]
fn every_truncation_is_refused() {
    let (shapes, bytes) = small();
    assert_eq!(read(&bytes).unwrap(), contents(&shapes));
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "{end} bytes of {}", bytes.len());
    }
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    let (shapes, bytes) = small();
    let files = contents(&shapes);
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        accepts_only(&damaged, &files);
        refused += usize::from(read(&damaged).is_err());
    }
    assert!(refused * 10 > bytes.len() * 8 * 7, "only {refused} of {} flips were refused", bytes.len() * 8);
}

#[test]
fn every_inserted_removed_or_doubled_byte_is_refused_or_harmless() {
    let (shapes, bytes) = small();
    let files = contents(&shapes);
    for at in 0..bytes.len() {
        for byte in [0, b'P', 0xff] {
            let mut damaged = bytes.clone();
            damaged.insert(at, byte);
            accepts_only(&damaged, &files);
        }
        let mut damaged = bytes.clone();
        damaged.remove(at);
        accepts_only(&damaged, &files);
        let mut damaged = bytes.clone();
        damaged.insert(at, bytes[at]);
        accepts_only(&damaged, &files);
    }
}
