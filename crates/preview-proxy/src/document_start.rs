//! Where an HTML document begins: the place for a script that runs before every other.

/// The place of a script in the first bytes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScriptPlace {
    /// At this byte.
    At(usize),
    /// More bytes are needed. If none come, it is this byte.
    Unknown { otherwise: usize },
}

/// The place behind the byte order mark, the doctype, `<html>` and `<head>`, as far as they are there. A script before the
/// doctype would change how the page is laid out.
pub(crate) fn script_place(bytes: &[u8]) -> ScriptPlace {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if bytes.len() < MARK.len() && MARK.starts_with(bytes) {
        return ScriptPlace::Unknown { otherwise: bytes.len() };
    }
    let mut at = if bytes.starts_with(MARK) { MARK.len() } else { 0 };
    let mut place = at;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = match part(rest) {
            Part::Space(length) => length,
            Part::Start { length, is_head } => {
                place = at.saturating_add(length);
                if is_head {
                    return ScriptPlace::At(place);
                }
                length
            }
            Part::Other => return ScriptPlace::At(place),
            Part::Unfinished => return ScriptPlace::Unknown { otherwise: place },
        };
        at = at.saturating_add(length);
    }
}

/// What a document goes on with.
enum Part {
    /// White space or a comment.
    Space(usize),
    /// The doctype, `<html>` or `<head>`.
    Start {
        length: usize,
        is_head: bool,
    },
    Other,
    /// It cannot be told yet.
    Unfinished,
}

fn part(bytes: &[u8]) -> Part {
    let Some(first) = bytes.first() else { return Part::Unfinished };
    if first.is_ascii_whitespace() {
        return Part::Space(1);
    }
    if let Some(comment) = bytes.strip_prefix(b"<!--") {
        let end = comment.windows(3).position(|window| window == b"-->");
        return end.map_or(Part::Unfinished, |end| Part::Space(end.saturating_add(7)));
    }
    for (name, is_head) in [(&b"<!doctype"[..], false), (b"<html", false), (b"<head", true)] {
        let Some((start, rest)) = bytes.split_at_checked(name.len()) else { continue };
        let ends_name = rest.first().is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'));
        if start.eq_ignore_ascii_case(name) && ends_name {
            return match tag_end(rest) {
                Some(end) => Part::Start { length: name.len().saturating_add(end), is_head },
                None => Part::Unfinished,
            };
        }
    }
    let may_become = |name: &[u8]| name.get(..bytes.len()).is_some_and(|start| start.eq_ignore_ascii_case(bytes));
    let unfinished = [&b"<!--"[..], b"<!doctype", b"<html", b"<head"].into_iter().any(may_become);
    if unfinished { Part::Unfinished } else { Part::Other }
}

/// The number of bytes up to the `>` that ends a tag, with it. One in a quoted value does not.
fn tag_end(bytes: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (index, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(index.saturating_add(1)),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents with `|` where the script belongs.
    const DOCUMENTS: [&str; 11] = [
        "<!doctype html><html><head>|<meta charset=utf-8>",
        "\u{feff}<!DOCTYPE html>\n<!-- <head> -->\n<HTML lang=\"a>b\">\n<Head data-x='>'>|\n<script>",
        "<!doctype html>|<p>hi",
        "<!doctype html><html>|<body>",
        "<!doctype html><html>|\n<header>",
        "|<p>hi</p>",
        "|text",
        "<html>|<!-- no head --><body><head>",
        "<head>|",
        " \n<!doctype html>|\n<title>x</title>",
        "|<htmlx><head>",
    ];

    #[test]
    fn a_script_goes_before_all_others_and_behind_the_doctype() {
        for document in DOCUMENTS {
            let place = document.find('|').expect("a place");
            assert_eq!(script_place(document.replace('|', "").as_bytes()), ScriptPlace::At(place), "{document}");
        }
    }

    #[test]
    fn the_place_does_not_depend_on_how_the_bytes_come() {
        for document in DOCUMENTS {
            let place = document.find('|').expect("a place");
            let whole = document.replace('|', "");
            for end in 0..whole.len() {
                match script_place(whole.as_bytes().get(..end).expect("a part")) {
                    ScriptPlace::At(at) => assert_eq!(at, place, "{document} {end}"),
                    ScriptPlace::Unknown { otherwise } => assert!(otherwise <= place, "{document} {end}"),
                }
            }
        }
    }

    #[test]
    fn an_unfinished_start_has_a_place_before_it() {
        for (document, otherwise) in [("", 0), ("<!doctype html><!-- ", 15), ("<html a='>", 0), ("<html><hea", 6)] {
            assert_eq!(script_place(document.as_bytes()), ScriptPlace::Unknown { otherwise }, "{document}");
        }
    }
}
