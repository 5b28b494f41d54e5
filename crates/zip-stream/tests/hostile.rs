//! Archives that lie: each is refused, and for its own reason.

mod support;

use support::{Shape, Sizes, deflate, fault, fault_within, pieces, read, zip};
use zip_stream::{Archive, Fault, Limits, ZipError};

const AFTER: Sizes = Sizes::After { signed: true, wide: false };

fn two() -> Vec<Shape> {
    vec![Shape::new("a", b"first"), Shape::new("b", &b"second ".repeat(20)).deflated()]
}

/// One little-endian field of a piece, changed.
fn set(piece: &mut [u8], at: usize, bytes: &[u8]) {
    piece[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn what_does_not_begin_as_a_zip_is_none() {
    assert_eq!(fault(b"<!doctype html>"), Fault::NotAZip);
    assert_eq!(fault(b"PK"), Fault::Truncated);
    assert_eq!(fault(b""), Fault::Truncated);
    assert_eq!(fault(&[b"#!/bin/sh\n".to_vec(), zip(&two())].concat()), Fault::NotAZip);
    assert_eq!(fault(&[b"PK\x07\x08".to_vec(), zip(&two())].concat()), Fault::Split);
    assert_eq!(fault(&[b"PK00".to_vec(), zip(&two())].concat()), Fault::Split);
}

#[test]
fn an_empty_archive_is_an_archive() {
    assert_eq!(read(&zip(&[])).unwrap(), []);
}

#[test]
fn bytes_between_and_after_are_refused() {
    let mut gap = pieces(&two());
    gap.entries[0][1].extend(b"gap!");
    assert!(matches!(fault(&gap.join()), Fault::UnknownRecord(_)));
    assert_eq!(fault(&[zip(&two()), vec![0, 1]].concat()), Fault::BytesAfterEnd);
    assert_eq!(fault(&[zip(&two()), vec![0; 10_240]].concat()), Fault::BytesAfterEnd);
    assert_eq!(read(&[zip(&two()), vec![0; 10_239]].concat()).unwrap().len(), 2);
    let mut commented = pieces(&two());
    commented.comment = zip(&[Shape::new("other", b"")]);
    assert_eq!(fault(&commented.join()), Fault::TwoEnds);
}

#[test]
fn an_error_names_the_entry_and_the_place() {
    let mut wrong = pieces(&two());
    set(&mut wrong.entries[1][0], 14, &[1, 2, 3, 4]);
    let at = wrong.entries.concat().concat().len() as u64;
    let Err(ZipError::Rejected(rejected)) = read(&wrong.join()) else { panic!("accepted") };
    assert!(matches!(rejected.fault, Fault::Crc { recorded: 0x0403_0201, .. }));
    assert_eq!((rejected.entry.as_deref(), rejected.offset), (Some("b"), at));
    assert!(rejected.to_string().ends_with(&format!("(entry \"b\"), at byte {at}")), "{rejected}");
}

#[test]
fn after_a_fault_nothing_more_is_read() {
    let mut wrong = pieces(&two());
    wrong.entries[0][1][0] ^= 1;
    let bytes = wrong.join();
    let mut archive = Archive::new(&bytes[..], Limits::default());
    archive.next_entry().unwrap().unwrap();
    assert!(archive.next_entry().is_err());
    let Err(ZipError::Rejected(again)) = archive.next_entry() else { panic!("it went on") };
    assert_eq!(again.fault, Fault::Failed);
    assert!(archive.finish().is_err());
}

#[test]
fn what_cannot_be_read_is_refused() {
    let flags = |flags| fault(&zip(&[Shape { flags, ..Shape::new("a", b"") }]));
    assert_eq!(flags(1), Fault::Encrypted);
    assert_eq!(flags(1 << 6), Fault::Encrypted);
    assert_eq!(flags(1 << 13), Fault::Encrypted);
    assert_eq!(flags(1 << 5), Fault::Flags(1 << 5));
    let mut bzip2 = pieces(&two());
    set(&mut bzip2.entries[0][0], 8, &[12, 0]);
    assert_eq!(fault(&bzip2.join()), Fault::Method(12));
}

#[test]
fn names_are_text_of_bounded_length() {
    let name = |name: &[u8]| zip(&[Shape { name: name.to_vec(), flags: 0, ..Shape::new("", b"") }]);
    assert_eq!(fault(&name(b"")), Fault::NoName);
    assert_eq!(fault(&name(b"caf\x82")), Fault::NameNotUtf8); // é in cp437
    assert_eq!(read(&name("café".as_bytes())).unwrap()[0].0, "café");
    assert_eq!(fault(&name(&b"a/".repeat(2049))), Fault::NameTooLong(4098));
    assert_eq!(fault(&name(&[b'a'; 256])), Fault::ComponentTooLong(256));
    assert!(read(&name(&[b'a'; 255])).is_ok());
}

#[test]
fn a_name_in_unicode_is_taken_where_it_belongs_to_the_name() {
    let named = |crc: u32| {
        let mut extra = vec![0x75, 0x70, 10, 0, 1];
        extra.extend(crc.to_le_bytes());
        extra.extend("café".as_bytes());
        zip(&[Shape { name: b"caf\x82".to_vec(), flags: 0, extra, ..Shape::new("", b"") }])
    };
    assert_eq!(read(&named(crc32fast::hash(b"caf\x82"))).unwrap()[0].0, "café");
    assert_eq!(fault(&named(1)), Fault::NameNotUtf8);
}

#[test]
fn extra_fields_are_whole() {
    let extra = |extra: &[u8]| fault(&zip(&[Shape { extra: extra.to_vec(), ..Shape::new("a", b"") }]));
    assert_eq!(extra(&[0x55, 0x54, 9, 0, 1]), Fault::Extra);
    assert_eq!(extra(&[1, 2, 3]), Fault::Extra);
    assert_eq!(extra(&[1, 0, 0, 0, 1, 0, 0, 0]), Fault::Extra);
    let mut missing = pieces(&two());
    set(&mut missing.entries[0][0], 18, &[0xff; 8]);
    assert_eq!(fault(&missing.join()), Fault::Zip64Missing);
}

#[test]
fn the_same_name_twice_is_refused() {
    assert_eq!(fault(&zip(&[Shape::new("a", b"1"), Shape::new("b", b""), Shape::new("a", b"2")])), Fault::Duplicate);
}

#[test]
fn directories_are_empty() {
    assert_eq!(fault(&zip(&[Shape::new("d/", b"x")])), Fault::DirectoryWithContent);
    assert_eq!(fault(&zip(&[Shape::new("d/", b"x").deflated()])), Fault::DirectoryWithContent);
    let empty =
        [Shape::new("d/", b"").sizes(AFTER), Shape::new("e/", b"").deflated().sizes(AFTER), Shape::new("f", b"")];
    assert_eq!(read(&zip(&empty)).unwrap().len(), 3);
}

#[test]
fn a_local_header_that_lies_is_found_out() {
    let local = |entry: usize, at: usize, bytes: &[u8]| {
        let mut pieces = pieces(&two());
        set(&mut pieces.entries[entry][0], at, bytes);
        fault(&pieces.join())
    };
    assert_eq!(local(0, 22, &[4]), Fault::StoredSizes);
    assert_eq!(
        local(0, 18, &[4, 0, 0, 0, 4]),
        Fault::Crc { recorded: crc32fast::hash(b"first"), computed: crc32fast::hash(b"firs") }
    );
    assert_eq!(local(1, 22, &[141]), Fault::Size { recorded: 141, found: 140 });
    assert_eq!(local(0, 30, b"x"), Fault::ListedName("a".into()));
    // The data is one byte longer than what it inflates.
    let mut longer = pieces(&two());
    let length = longer.entries[1][1].len() as u8;
    set(&mut longer.entries[1][0], 18, &[length + 1]);
    assert_eq!(fault(&longer.join()), Fault::DataLeft);
    let mut shorter = pieces(&two());
    set(&mut shorter.entries[1][0], 18, &[length - 1]);
    assert_eq!(fault(&shorter.join()), Fault::Deflate);
}

#[test]
fn a_central_directory_that_lies_is_found_out() {
    let central = |at: usize, bytes: &[u8]| {
        let mut pieces = pieces(&two());
        set(&mut pieces.central[1], at, bytes);
        fault(&pieces.join())
    };
    assert_eq!(central(46, b"x"), Fault::ListedName("x".into()));
    assert_eq!(central(10, &[0]), Fault::ListedMethod);
    assert_eq!(central(8, &[0, 0]), Fault::ListedMethod);
    assert_eq!(central(16, &[0; 4]), Fault::ListedCrc(0));
    assert!(matches!(central(20, &[1, 0, 0, 0]), Fault::ListedSize(1)));
    assert!(matches!(central(24, &[1, 0, 0, 0]), Fault::ListedSize(1)));
    // Both entries in the same place.
    assert_eq!(central(42, &[0; 4]), Fault::ListedOffset(0));
}

#[test]
fn both_sides_list_the_same_entries() {
    let mut fewer = pieces(&two());
    fewer.central.pop();
    assert_eq!(fault(&fewer.join()), Fault::NotListed);
    let mut more = pieces(&two());
    more.entries.pop();
    assert_eq!(fault(&more.join()), Fault::ListedOnly);
    let mut swapped = pieces(&two());
    swapped.central.swap(0, 1);
    assert_eq!(fault(&swapped.join()), Fault::ListedName("b".into()));
}

#[test]
fn the_end_is_checked() {
    let end = |at: usize, bytes: &[u8]| {
        let mut bytes_of = zip(&two());
        let end = bytes_of.len() - 22;
        set(&mut bytes_of[end..], at, bytes);
        fault(&bytes_of)
    };
    assert_eq!(end(4, &[1]), Fault::Split);
    assert_eq!(end(8, &[3]), Fault::EndCount(3));
    assert_eq!(end(10, &[1]), Fault::EndCount(1));
    assert_eq!(end(12, &[1]), Fault::EndPlace);
    assert_eq!(end(16, &[1]), Fault::EndPlace);
    assert_eq!(end(20, &[1]), Fault::Truncated);

    let wide = |at: usize, bytes: &[u8]| {
        let mut pieces = pieces(&two());
        pieces.zip64 = true;
        let mut bytes_of = pieces.join();
        let end = bytes_of.len() - 22 - 20 - 56;
        set(&mut bytes_of[end..], at, bytes);
        fault(&bytes_of)
    };
    assert_eq!(wide(4, &[0]), Fault::Zip64End);
    assert_eq!(wide(16, &[1]), Fault::Split);
    assert_eq!(wide(32, &[9]), Fault::EndCount(9));
    assert_eq!(wide(48, &[9]), Fault::EndPlace);
    assert_eq!(wide(56 + 8, &[9]), Fault::Zip64End);
}

#[test]
fn links_and_devices_are_refused() {
    let mode = |mode| fault(&zip(&[Shape::new("a", b"/etc/passwd").mode(mode)]));
    assert_eq!(mode(0o120_777), Fault::Symlink);
    assert_eq!(mode(0o020_666), Fault::Special(0o020_666));
    assert_eq!(mode(0o010_644), Fault::Special(0o010_644));
    assert_eq!(mode(0o040_755), Fault::Special(0o040_755));
    let dos = Shape { made_by: 20, ..Shape::new("a", b"/etc/passwd").mode(0o120_777) };
    assert_eq!(fault(&zip(&[dos])), Fault::Symlink);
}

#[test]
fn a_descriptor_says_what_was_read() {
    for shape in [Shape::new("a", b"some text"), Shape::new("a", b"some text").deflated()] {
        let mut lying = pieces(&[shape.clone().sizes(AFTER)]);
        lying.entries[0][2][8] ^= 1;
        assert_eq!(fault(&lying.join()), Fault::Descriptor);
        let mut none = pieces(&[shape.sizes(AFTER)]);
        none.entries[0][2].clear();
        assert!(
            matches!(fault(&none.join()), Fault::Descriptor | Fault::EndPlace | Fault::Truncated),
            "{:?}",
            fault(&none.join())
        );
    }
}

/// An inner archive whose end is crafted to look like that of the outer one, at every place where a reader could fall
/// for it.
#[test]
fn a_zip_in_a_zip_is_content() {
    let evil = pieces(&[Shape::new("evil", b"evil")]);
    let mut inner = b"text PK\x07\x08".to_vec();
    inner.extend(crc32fast::hash(b"text ").to_le_bytes());
    inner.extend([5, 0, 0, 0, 5, 0, 0, 0]);
    inner.extend(evil.join());
    for sizes in [Sizes::Before, AFTER, Sizes::After { signed: false, wide: true }] {
        let outer = [Shape::new("outer", &inner).sizes(sizes), Shape::new("next", b"n").sizes(sizes)];
        let files = read(&zip(&outer)).unwrap();
        assert_eq!(files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["outer", "next"]);
        assert_eq!(files[0].1, inner);
    }
}

#[test]
fn a_spooled_archive_is_checked_like_any_other() {
    let shapes = [Shape::new("a", b"first").sizes(AFTER), Shape::new("b", b"second").sizes(AFTER)];
    let central = |at: usize, bytes: &[u8]| {
        let mut pieces = pieces(&shapes);
        set(&mut pieces.central[0], at, bytes);
        fault(&pieces.join())
    };
    assert_eq!(read(&zip(&shapes)).unwrap().len(), 2);
    assert_eq!(central(20, &[4]), Fault::Descriptor);
    assert_eq!(central(20, &[200]), Fault::Truncated);
    assert_eq!(central(42, &[1]), Fault::NotListed);
    let whole = zip(&shapes);
    assert_eq!(fault(&whole[..whole.len() - 1]), Fault::Truncated);
    let mut early = whole.clone();
    let end = early.len() - 6;
    set(&mut early, end, &[0; 4]);
    assert_eq!(fault(&early), Fault::EndPlace);
    // A file that cannot be made is the machine's fault.
    let mut archive = Archive::new(&whole[..], Limits::default()).spool_with(|| Err(std::io::Error::other("no disk")));
    assert!(matches!(archive.next_entry().map(|_| ()), Err(ZipError::Spool(_))));
}

#[test]
fn every_limit_holds_while_bytes_stream() {
    let limits =
        Limits { compressed: 1000, expanded: 2000, entries: 3, ratio: 100, ratio_from: 100, ..Limits::default() };
    let within = |shapes: &[Shape]| fault_within(&zip(shapes), limits);
    let noise: Vec<u8> = (0..999u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(within(&[Shape::new("a", &noise)]), Fault::TooLarge(1000));
    assert_eq!(within(&[Shape::new("a", &[1; 2001]).deflated()]), Fault::TooLargeExpanded(2000));
    assert_eq!(within(&[Shape::new("a", &[1; 2001]).deflated().sizes(AFTER)]), Fault::TooLargeExpanded(2000));
    let many: Vec<_> = (0..4).map(|n| Shape::new(&n.to_string(), b"")).collect();
    assert_eq!(within(&many), Fault::TooManyEntries(3));
    let tight = Limits { expanded: 1 << 30, ratio: 20, ..limits };
    assert_eq!(fault_within(&zip(&[Shape::new("a", &[1; 9_000]).deflated()]), tight), Fault::Ratio(20));
    // A local header that announces too much is not waited for.
    let mut announced = pieces(&two());
    set(&mut announced.entries[1][0], 22, &[0, 0, 0, 0x7f]);
    assert_eq!(fault(&announced.join()[..70]), Fault::TooLargeExpanded(1 << 30));
}

#[test]
fn a_bomb_goes_off_nowhere() {
    let data = deflate(&vec![0; 8 << 20]);
    let mut bomb = pieces(&[Shape::new("bomb", b"").deflated().sizes(AFTER)]);
    bomb.entries[0][1] = data;
    assert_eq!(fault(&bomb.join()), Fault::Ratio(200));
}
