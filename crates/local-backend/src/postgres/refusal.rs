use axum::http::StatusCode;
use tokio_postgres::Error;

use crate::http::postgrest::ApiError;
use crate::store_error::StoreError;

/// The database's error as PostgREST answers it. `signed_in`: the caller is not `anon`.
pub fn api_error(error: &Error, signed_in: bool) -> ApiError {
    let Some(refused) = error.as_db_error() else {
        tracing::warn!(%error, "the database did not answer");
        let mut lost = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "PGRST001", "Database client error");
        lost.details = Some(error.to_string());
        return lost;
    };
    let (code, message) = (refused.code().code(), refused.message());
    let mut answer = ApiError::new(status(code, message, signed_in), code, message);
    answer.details = refused.detail().map(Into::into);
    answer.hint = refused.hint().map(Into::into);
    answer
}

/// PostgREST's table of SQLSTATEs (its documentation, "HTTP status codes").
fn status(code: &str, message: &str, signed_in: bool) -> StatusCode {
    let number = match code {
        "23503" | "23505" => 409,
        "25006" => 405,
        "21000" if message.ends_with("requires a WHERE clause") => 400,
        "21000" => 500,
        // A token names a role that the database does not have.
        "22023" if message.starts_with("role") && message.ends_with("does not exist") => 401,
        "42501" if signed_in => 403,
        "42501" => 401,
        "42883" | "42P01" => 404,
        "42P17" => 500,
        "53400" => 500,
        "57P01" => 503,
        "P0001" => 400,
        _ => match &code[..2] {
            "PT" => code[2..].parse().unwrap_or(500),
            "0L" | "0P" | "28" => 403,
            "08" | "53" => 503,
            "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV" | "P0" | "XX" => {
                500
            }
            _ => 400,
        },
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The database's error for a caller that writes without the API.
pub fn store_error(error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(refused) => {
            let details = refused.detail().and_then(|detail| serde_json::from_str(detail).ok()).unwrap_or_default();
            named(refused.code().code(), refused.message(), &details)
        }
        None => StoreError::Unreachable { message: error.to_string() },
    }
}

/// What a mirror must tell apart; the rest stays in the database's words.
fn named(code: &str, message: &str, details: &serde_json::Value) -> StoreError {
    let path = || details["file_path"].as_str().unwrap_or_default().to_owned();
    let error = match (code, details["expected_version"].as_u64(), details["retry_after_ms"].as_u64()) {
        ("PT409", Some(expected), _) => {
            StoreError::Conflict { path: path(), expected, current: details["current_version"].as_u64().unwrap_or(0) }
        }
        ("PT429", _, Some(retry_after_ms)) => StoreError::TooMany { retry_after_ms },
        _ => StoreError::Refused { code: code.into(), message: message.into() },
    };
    match details["entry"].as_u64().and_then(|index| usize::try_from(index).ok()) {
        Some(index) => StoreError::Entry { index, path: path(), error: Box::new(error) },
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_sqlstate_has_the_status_that_postgrest_gives_it() {
        let number = |code: &str| status(code, "", true).as_u16();
        let known = [
            ("PT409", 409),
            ("PT404", 404),
            ("PT429", 429),
            ("PTxxx", 500),
            ("42501", 403),
            ("22023", 400),
            ("40001", 500),
            ("40P01", 500),
            ("55P03", 500),
            ("57014", 500),
            ("P0001", 400),
            ("23505", 409),
            ("25006", 405),
            ("42883", 404),
            ("53300", 503),
            ("22P02", 400),
        ];
        for (code, expected) in known {
            assert_eq!(number(code), expected, "{code}");
        }
        assert_eq!(status("42501", "", false), 401);
        assert_eq!(status("22023", "role \"x\" does not exist", true), 401);
    }

    #[test]
    fn a_mirror_is_told_of_conflicts_by_their_numbers() {
        let details = json!({"file_path": "a", "expected_version": 1, "current_version": 3, "entry": 7});
        let conflict = StoreError::Conflict { path: "a".into(), expected: 1, current: 3 };
        let (path, error) = ("a".to_owned(), Box::new(conflict));
        assert_eq!(named("PT409", "", &details), StoreError::Entry { index: 7, path, error });
        assert_eq!(named("PT429", "", &json!({"retry_after_ms": 40})), StoreError::TooMany { retry_after_ms: 40 });
        let other = StoreError::Refused { code: "22023".into(), message: "no".into() };
        assert_eq!(named("22023", "no", &json!(null)), other);
    }
}
