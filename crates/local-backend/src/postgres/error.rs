use serde_json::Value;
use tokio_postgres::Error;

use crate::code::Code;
use crate::store_error::StoreError;

/// The reason for which the database did not run a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// Refused by the database, or by the rules of PostgREST, with a SQLSTATE.
    #[error("{message} ({code})")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// The primary message.
        message: String,
        /// `DETAIL`.
        details: Option<String>,
        /// `HINT`.
        hint: Option<String>,
    },
    /// The database has no function with this name and these arguments.
    #[error("no function {name} with these arguments")]
    NoFunction {
        /// The function's name.
        name: String,
        /// The arguments of the call.
        arguments: Value,
    },
    /// There was no answer.
    #[error("cannot reach the database: {0}")]
    Unreachable(String),
}

impl DatabaseError {
    /// A refusal with a code of the backend's own.
    pub fn refused(code: Code, message: String) -> DatabaseError {
        DatabaseError::Refused { code: code.as_str().into(), message, details: None, hint: None }
    }
}

impl From<&Error> for DatabaseError {
    fn from(error: &Error) -> DatabaseError {
        let Some(refused) = error.as_db_error() else {
            tracing::warn!(%error, "cannot reach the database");
            return DatabaseError::Unreachable(error.to_string());
        };
        DatabaseError::Refused {
            code: refused.code().code().into(),
            message: refused.message().into(),
            details: refused.detail().map(Into::into),
            hint: refused.hint().map(Into::into),
        }
    }
}

/// The database's error for a caller that does not use the API.
pub fn store_error(error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(refused) => {
            let details = refused.detail().and_then(|detail| serde_json::from_str(detail).ok()).unwrap_or_default();
            classified(refused.code().code(), refused.message(), &details)
        }
        None => StoreError::Unreachable { message: error.to_string() },
    }
}

/// Errors that a mirror of the project treats specially; the others keep the database's message.
fn classified(code: &str, message: &str, details: &Value) -> StoreError {
    let text = |name: &str| details.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| details.get(name).and_then(Value::as_u64);
    let error = match (Code::parse(code), number("expected_version"), number("retry_after_ms")) {
        (Some(Code::VersionConflict), Some(expected), _) => {
            StoreError::Conflict { path: text("file_path"), expected, current: number("current_version").unwrap_or(0) }
        }
        (Some(Code::TooManyWrites), _, Some(retry_after_ms)) => StoreError::TooManyWrites { retry_after_ms },
        _ => StoreError::Refused { code: code.into(), message: message.into() },
    };
    match number("entry").and_then(|index| usize::try_from(index).ok()) {
        Some(index) => StoreError::Entry { index, path: text("file_path"), error: Box::new(error) },
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conflicts_and_rate_limits_keep_their_numbers() {
        let details = json!({"file_path": "a", "expected_version": 1, "current_version": 3, "entry": 7});
        let conflict = StoreError::Conflict { path: "a".into(), expected: 1, current: 3 };
        let (path, error) = ("a".to_owned(), Box::new(conflict));
        assert_eq!(classified("PT409", "", &details), StoreError::Entry { index: 7, path, error });
        let too_many = StoreError::TooManyWrites { retry_after_ms: 40 };
        assert_eq!(classified("PT429", "", &json!({"retry_after_ms": 40})), too_many);
        let other = StoreError::Refused { code: "22023".into(), message: "no".into() };
        assert_eq!(classified("22023", "no", &json!(null)), other);
    }
}
