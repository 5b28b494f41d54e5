//! Answers as PostgREST and the gateway in front of it give them.

use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::postgres::DatabaseError;
use crate::store_error::StoreError;
use crate::token::{Claims, Keys, TokenError};

/// An answer as PostgREST gives it, `{code, details, hint, message}`, or as the gateway gives it, without a code.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: Option<String>,
    pub message: String,
    pub details: Option<String>,
    pub hint: Option<String>,
}

/// Whether a caller has signed in; PostgREST answers some refusals with another status if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Anonymous,
    SignedIn,
}

impl Caller {
    fn of(claims: &Claims) -> Caller {
        if claims.role() == "anon" { Caller::Anonymous } else { Caller::SignedIn }
    }
}

impl ApiError {
    pub fn new(status: StatusCode, code: Code, message: impl Into<String>) -> ApiError {
        ApiError { status, code: Some(code.as_str().into()), message: message.into(), details: None, hint: None }
    }

    /// 42501: 401 for a caller who has not signed in, 403 for others.
    pub fn no_right(claims: &Claims, to: &str) -> ApiError {
        let status = match Caller::of(claims) {
            Caller::Anonymous => StatusCode::UNAUTHORIZED,
            Caller::SignedIn => StatusCode::FORBIDDEN,
        };
        ApiError::new(status, Code::NoRight, format!("no right to {to}"))
    }

    /// 22023.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, Code::InvalidValue, message)
    }

    /// The database's error as PostgREST answers it to this caller.
    pub fn from_database(error: DatabaseError, claims: &Claims) -> ApiError {
        match error {
            DatabaseError::Refused { code, message, details, hint } => {
                let status = status(&code, &message, Caller::of(claims));
                ApiError { status, code: Some(code), message, details, hint }
            }
            DatabaseError::NoFunction { name, arguments } => no_such_function(&name, &arguments),
            DatabaseError::Unreachable(cause) => {
                let message = "Database client error";
                let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Code::NoDatabase, message);
                ApiError { details: Some(cause), ..error }
            }
        }
    }

    pub fn response(self) -> Response {
        let body = match self.code {
            Some(code) => json!({"code": code, "details": self.details, "hint": self.hint, "message": self.message}),
            None => json!({"message": self.message, "hint": self.details}),
        };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        let status = match Code::parse(error.code()) {
            Some(Code::VersionConflict) => StatusCode::CONFLICT,
            Some(Code::NotFound) => StatusCode::NOT_FOUND,
            Some(Code::TooManyWrites) => StatusCode::TOO_MANY_REQUESTS,
            Some(Code::Full) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let (code, message) = (Some(error.code().into()), error.to_string());
        let details = error.details().map(|details| details.to_string());
        ApiError { status, code, message, details, hint: None }
    }
}

/// PostgREST's table of SQLSTATEs (its documentation, "HTTP status codes").
fn status(code: &str, message: &str, caller: Caller) -> StatusCode {
    let number = match code {
        "23503" | "23505" => 409,
        "25006" => 405,
        "21000" if message.ends_with("requires a WHERE clause") => 400,
        "21000" => 500,
        // A token names a role that the database does not have.
        "22023" if message.starts_with("role") && message.ends_with("does not exist") => 401,
        "42501" if caller == Caller::Anonymous => 401,
        "42501" => 403,
        "42883" | "42P01" => 404,
        "42P17" => 500,
        "53400" => 500,
        "57P01" => 503,
        "P0001" => 400,
        _ => match code.split_at_checked(2) {
            Some(("PT", status)) => status.parse().unwrap_or(500),
            Some(("0L" | "0P" | "28", _)) => 403,
            Some(("08" | "53", _)) => 503,
            Some((
                "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV" | "P0" | "XX",
                _,
            )) => 500,
            _ => 400,
        },
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The caller's claims: the gateway requires an `apikey`, PostgREST reads `Authorization`, and without one the caller is
/// `anon`.
pub fn caller(headers: &HeaderMap, keys: &Keys) -> Result<Claims, ApiError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let gateway = |message: &str| ApiError {
        status: StatusCode::UNAUTHORIZED,
        code: None,
        message: message.into(),
        details: None,
        hint: None,
    };
    let apikey = header("apikey").ok_or_else(|| gateway("No API key found in request"))?;
    keys.verify(apikey).map_err(|_| gateway("Invalid API key"))?;
    let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    // The key opens the gateway and gives no rights: without a token the caller is `anon`, as with the publishable key.
    let token = token.unwrap_or(keys.publishable());
    keys.verify_live(token).map_err(|error| {
        let (code, message) = match error {
            TokenError::Expired(_) => (Code::ExpiredToken, "JWT expired".into()),
            error => (Code::InvalidToken, error.to_string()),
        };
        ApiError::new(StatusCode::UNAUTHORIZED, code, message)
    })
}

/// The request's headers as the database gets them, by their lower-case names.
pub fn headers_as_json(headers: &HeaderMap) -> Map<String, Value> {
    let text = |value: &HeaderValue| json!(String::from_utf8_lossy(value.as_bytes()));
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// 404 with `PGRST202`.
pub fn no_such_function(name: &str, arguments: &Value) -> ApiError {
    let mut names: Vec<&str> = arguments.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let signature = format!("public.{name}({})", names.join(", "));
    let message = format!("Could not find the function {signature} in the schema cache");
    let details = format!("Searched for the function {signature}, but no matches were found in the schema cache.");
    ApiError { details: Some(details), ..ApiError::new(StatusCode::NOT_FOUND, Code::NoFunction, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sqlstate_has_the_status_that_postgrest_gives_it() {
        let number = |code: &str| status(code, "", Caller::SignedIn).as_u16();
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
            ("", 400),
        ];
        for (code, expected) in known {
            assert_eq!(number(code), expected, "{code}");
        }
        assert_eq!(status("42501", "", Caller::Anonymous), 401);
        assert_eq!(status("22023", "role \"x\" does not exist", Caller::SignedIn), 401);
    }
}
