//! Lines of stacks, as Chromium, Firefox and Safari write them.

/// A position in a script, in a line of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// What comes before the position.
    pub(crate) before: &'a str,
    /// The script's address. The page's script has removed the origin of the page from it.
    pub(crate) address: &'a str,
    /// Beginning at 1.
    pub(crate) line: u32,
    /// Beginning at 1.
    pub(crate) column: u32,
    /// What comes after it.
    pub(crate) after: &'a str,
}

impl<'a> Frame<'a> {
    /// Reads `at f (address:1:2)`, `at address:1:2`, `f@address:1:2` or `address:1:2`.
    pub(crate) fn parse(text: &'a str) -> Option<Frame<'a>> {
        let (before, position, after) = split(text)?;
        let (rest, column) = position.rsplit_once(':')?;
        let (address, line) = rest.rsplit_once(':')?;
        let (line, column) = (line.parse().ok()?, column.parse().ok()?);
        let is_address = !address.is_empty() && line > 0 && !address.contains(char::is_whitespace);
        is_address.then_some(Frame { before, address, line, column, after })
    }

    /// The address where it is one of the page's own origin.
    pub(crate) fn own_address(&self) -> Option<&'a str> {
        Some(self.address).filter(|address| address.starts_with('/') && !address.starts_with("//"))
    }
}

/// A line's position, with what surrounds it.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let trimmed = text.trim();
    if let Some(rest) = trimmed.strip_prefix("at ") {
        let before = |position: &str| text.split_once(position).map(|(before, _)| before);
        // A name may have parentheses in its address, but none after a space.
        return match rest.split_once(" (") {
            Some((_, rest)) => {
                let position = rest.strip_suffix(')')?;
                Some((before(position)?, position, ")"))
            }
            None => {
                let position = rest.strip_prefix("async ").unwrap_or(rest);
                Some((before(position)?, position, ""))
            }
        };
    }
    if trimmed.starts_with('/') {
        return Some(("", trimmed, ""));
    }
    // An address may have a `@`, a name has none.
    let (name, position) = trimmed.split_once('@')?;
    let before = text.split_at_checked(name.len().saturating_add(1)).filter(|_| text == trimmed);
    Some((before.map_or("", |(before, _)| before), position, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_browsers_lines_are_read() {
        for (text, before, address, line, column) in [
            ("    at App (/src/App.jsx?t=1:4:2)", "    at App (", "/src/App.jsx?t=1", 4, 2),
            ("    at /src/main.js:1:7", "    at ", "/src/main.js", 1, 7),
            ("    at async load (/@fs/a/b.ts:1:7)", "    at async load (", "/@fs/a/b.ts", 1, 7),
            ("    at async /a.js:1:7", "    at async ", "/a.js", 1, 7),
            (
                "    at Object.f [as g] (https://cdn.test/x.js:1:7)",
                "    at Object.f [as g] (",
                "https://cdn.test/x.js",
                1,
                7,
            ),
            (
                "    at Page (webpack-internal:///(app)/./src/page.tsx:12:9)",
                "    at Page (",
                "webpack-internal:///(app)/./src/page.tsx",
                12,
                9,
            ),
            ("App@/@fs/src/App.jsx:4:2", "App@", "/@fs/src/App.jsx", 4, 2),
            ("@/src/App.jsx:4:2", "@", "/src/App.jsx", 4, 2),
            ("/src/App.jsx:4:2", "", "/src/App.jsx", 4, 2),
        ] {
            let frame = Frame::parse(text).expect(text);
            assert_eq!((frame.before, frame.address, frame.line, frame.column), (before, address, line, column));
            assert_eq!(format!("{}{address}:{line}:{column}{}", frame.before, frame.after), text);
        }
    }

    #[test]
    fn other_lines_are_not_frames() {
        for text in [
            "TypeError: x is undefined",
            "    at <anonymous>",
            "    at Array.map (<anonymous>)",
            "    at eval (eval at evaluate (:370:30), <anonymous>:1:114)",
            "map@[native code]",
            "at (",
            "at ()",
            "@",
            "a@:1:1",
            "/x:0:0",
            "",
        ] {
            assert_eq!(Frame::parse(text), None, "{text}");
        }
        let foreign = Frame::parse("at f (https://cdn.test/x.js:1:7)").expect("a frame");
        let other = Frame::parse("at f (//cdn.test/x.js:1:7)").expect("a frame");
        assert_eq!((foreign.own_address(), other.own_address()), (None, None));
    }

    proptest! {
        #[test]
        fn any_text_is_a_frame_or_not(text in "\\PC{0,60}", line in "( at |at |/|@|:|\\(|\\)|[0-9]|é| ){0,12}") {
            for text in [text, line] {
                if let Some(frame) = Frame::parse(&text) {
                    prop_assert!(text.contains(frame.address));
                }
            }
        }
    }
}
