use serde_json::{Map, Value};

use super::functions::Parameters;
use crate::code::Code;
use crate::http::postgrest::ApiError;

/// The named arguments of a function's call.
pub struct Arguments(Map<String, Value>);

impl Arguments {
    pub fn new(arguments: Map<String, Value>) -> Arguments {
        Arguments(arguments)
    }

    pub fn into_json(self) -> Value {
        self.0.into()
    }

    /// Whether the call matches a function: it has every required argument and no unknown one.
    pub fn fit(&self, parameters: &Parameters) -> bool {
        let Parameters { required, optional } = parameters;
        required.iter().all(|name| self.0.contains_key(*name))
            && self.0.keys().all(|name| required.contains(&name.as_str()) || optional.contains(&name.as_str()))
    }

    pub fn text(&self, name: &str) -> Result<&str, ApiError> {
        self.optional_text(name)?.ok_or_else(|| ApiError::invalid(format!("{name} is null")))
    }

    /// `None` for null. Text with a NUL is refused, as PostgreSQL does.
    pub fn optional_text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.contains('\0') => Err(nul()),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid(format!("{name} is not a text"))),
        }
    }

    pub fn number(&self, name: &str) -> Result<u64, ApiError> {
        self.optional_number(name)?.ok_or_else(|| ApiError::invalid(format!("{name} is null")))
    }

    /// `None` for null. A number may be text, as in a query string.
    pub fn optional_number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64(),
        };
        number.map(Some).ok_or_else(|| ApiError::invalid(format!("{name} is not a number of 0 or more")))
    }

    /// `default` for null. A flag may be text, as in a query string.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(ApiError::invalid(format!("{name} is neither true nor false"))),
        }
    }

    /// The number of entries of a bulk; `None` for other calls.
    pub fn entries(&self) -> Option<usize> {
        ["files", "file_paths"].iter().find_map(|name| self.0.get(*name)?.as_array()).map(Vec::len)
    }

    pub fn list(&self, name: &str) -> Result<&[Value], ApiError> {
        let list = self.0.get(name).and_then(Value::as_array);
        list.map(Vec::as_slice).ok_or_else(|| ApiError::invalid(format!("{name} is not a list")))
    }
}

fn nul() -> ApiError {
    let mut error = ApiError::invalid("unsupported Unicode escape sequence");
    error.code = Some(Code::NulInText.as_str().into());
    error.details = Some("\\u0000 cannot be converted to text.".into());
    error
}
