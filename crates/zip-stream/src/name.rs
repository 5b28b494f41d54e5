use crate::error::Fault;
use crate::limits::Limits;
use crate::record::Extra;

/// The name of an entry as text.
///
/// A name that is valid UTF-8 is taken, also where the entry does not mark it as UTF-8: macOS and older tools on Linux
/// write such entries. Info-ZIP's extra field with the name in UTF-8 is used where its checksum matches this name. Any other
/// name is refused: its code page is unknown, and a guess would give the file a wrong name.
pub(crate) fn decode(raw: &[u8], extra: &Extra<'_>, limits: &Limits) -> Result<String, Fault> {
    let name = extra.unicode_name(raw).unwrap_or(raw);
    let name = std::str::from_utf8(name).map_err(|_| Fault::NameNotUtf8)?;
    if name.is_empty() {
        return Err(Fault::NoName);
    }
    if name.len() > limits.path {
        return Err(Fault::NameTooLong(name.len()));
    }
    match name.split('/').map(str::len).max() {
        Some(longest) if longest > limits.component => Err(Fault::ComponentTooLong(longest)),
        _ => Ok(name.to_owned()),
    }
}
