//! Source maps of the project's tools, read so that no text of theirs can end the process.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sourcemap::DecodedMap;

/// Extensions of the format. The library's code for them subtracts what a map says without a check; positions need none.
const EXTENSIONS: [&str; 3] = ["rangeMappings", "x_facebook_sources", "x_facebook_offsets"];

/// Reads a source map; none where it is not valid.
pub(crate) fn decode(text: &str) -> Option<DecodedMap> {
    // Some servers begin a map with a line that keeps it from being run as a script.
    let text = match text.strip_prefix(")]}") {
        Some(after) => after.split_once('\n')?.1,
        None => text,
    };
    let mut map = serde_json::from_str(text).ok()?;
    make_plain(&mut map)?;
    sourcemap::decode_slice(&serde_json::to_vec(&map).ok()?).ok()
}

/// Reads a map that is inside of its script.
pub(crate) fn decode_data_url(url: &str) -> Option<DecodedMap> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    let kind = kind.split(';').next()?;
    let bytes = BASE64_STANDARD.decode(data).ok().filter(|_| kind == "application/json")?;
    decode(std::str::from_utf8(&bytes).ok()?)
}

/// Removes the extensions, also from sections. None where it is no map, or its sections are not in ascending order, which the
/// format demands and the library takes for granted.
fn make_plain(map: &mut Value) -> Option<()> {
    let fields = map.as_object_mut()?;
    EXTENSIONS.iter().for_each(|name| drop(fields.remove(*name)));
    let Some(sections) = fields.get_mut("sections") else { return Some(()) };
    let mut last = None;
    for section in sections.as_array_mut()? {
        let offset = section.get("offset")?;
        let offset = Some((offset.get("line")?.as_u64()?, offset.get("column")?.as_u64()?));
        if offset < last {
            return None;
        }
        last = offset;
        if let Some(inner) = section.get_mut("map") {
            make_plain(inner)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The map that crashed the library's lookup: a range that begins on a line before, in a column behind.
    const RANGE: &str = r#"{"version":3,"sources":["a.js"],"names":[],"mappings":"gBAAA","rangeMappings":"B"}"#;

    #[test]
    fn extensions_are_left_out() {
        let map = decode(RANGE).expect("a map");
        assert!(map.lookup_token(5, 0).is_some_and(|token| token.get_source() == Some("a.js")));
    }

    #[test]
    fn sections_must_ascend() {
        let section = |line| format!(r#"{{"offset":{{"line":{line},"column":0}},"map":{RANGE}}}"#);
        let sections =
            |first, second| format!(r#"{{"version":3,"sections":[{},{}]}}"#, section(first), section(second));
        assert!(decode(&sections(0, 4)).is_some());
        assert!(decode(&sections(4, 0)).is_none());
    }

    #[test]
    fn the_line_against_scripts_is_skipped() {
        assert!(decode(&format!(")]}}'\n{RANGE}")).is_some());
        assert!(decode(")]}").is_none());
    }

    #[test]
    fn data_urls_are_base64_of_json() {
        let data = BASE64_STANDARD.encode(RANGE);
        for kind in ["application/json", "application/json;charset=utf-8"] {
            assert!(decode_data_url(&format!("data:{kind};base64,{data}")).is_some(), "{kind}");
        }
        for bad in ["data:text/plain;base64,e30=", "data:application/json,{}", "data:application/json;base64,%"] {
            assert!(decode_data_url(bad).is_none(), "{bad}");
        }
    }
}
