use crate::error::Fault;
use crate::limits::Limits;
use crate::record::Extra;

/// The name of an entry as text.
///
/// Names are UTF-8 where the entry says so, and also where it does not and they are: macOS and older tools on Linux
/// write them that way. Info-ZIP's extra field with the name in UTF-8 is taken where it belongs to this name. All other
/// names are refused: in which of the many code pages they are nobody tells, and a guess is a file under a wrong name.
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
