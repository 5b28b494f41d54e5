use std::time::Duration;

use reqwest::Response;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use sync_core::ReadError;

use crate::sync::http::{self, MAX_RETRY_AFTER};
use crate::sync::scrub::scrub;

/// The most that is read of the body, in bytes.
const MAX_BODY: usize = 16 << 10;

/// An answer whose status is not a success.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    status: u16,
    retry_after: Option<Duration>,
    body: ErrorBody,
    /// The body's message, or the whole body where it has none.
    text: String,
}

/// The fields of an error body. PostgREST sends code, message and details; the gateway only a message; storage the real
/// status and an error name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Option<Value>,
    message: Option<Value>,
    details: Option<Value>,
    error: Option<Value>,
    #[serde(rename = "statusCode")]
    status_code: Option<Value>,
}

impl ErrorResponse {
    /// Reads the answer. A body that cannot be read counts as empty: the status says most.
    pub(super) async fn read(response: Response) -> ErrorResponse {
        let status = response.status().as_u16();
        let retry_after = http::retry_after(response.headers());
        ErrorResponse::new(status, retry_after, &http::read_beginning(response, MAX_BODY).await)
    }

    fn new(status: u16, retry_after: Option<Duration>, bytes: &[u8]) -> ErrorResponse {
        let body: ErrorBody = serde_json::from_slice(bytes).unwrap_or_default();
        let text = match body.message.as_ref().and_then(Value::as_str) {
            Some(message) => message.to_owned(),
            None => String::from_utf8_lossy(bytes).into_owned(),
        };
        ErrorResponse { status, retry_after, body, text }
    }

    /// The error for the core. `what` was requested; `secrets` are removed from the text.
    pub(super) fn into_error(self, what: &str, secrets: &[SecretString]) -> ReadError {
        let code = as_text(self.body.code.as_ref());
        let error = as_text(self.body.error.as_ref());
        // Storage answers 400 for every failure; the real status is in the body.
        let stored = self.body.status_code.as_ref().and_then(number);
        let status = stored.filter(|_| self.status == 400).unwrap_or(self.status);
        let message = scrub(&self.text, secrets);
        let shown = if code.is_empty() { String::new() } else { format!(" {}", scrub(code, secrets)) };
        let text = format!("{what}: HTTP {}{shown}: {message}", self.status);
        match (status, code) {
            (404, "PGRST202") => ReadError::NoSuchFunction,
            (_, "PT404") => ReadError::Gone,
            (404, _) if stored.is_some() => ReadError::Gone,
            (429, _) | (_, "PT429") => ReadError::Unavailable { error: text, retry_after: self.wait() },
            // A missing right; anonymous callers get 401 for it.
            (_, "42501") => ReadError::Forbidden(text),
            (401, _) | (_, "PGRST301" | "PGRST302" | "PGRST303") => ReadError::Unauthorized(text),
            (400, _) if error.eq_ignore_ascii_case("InvalidJWT") => ReadError::Unauthorized(text),
            (403, _) if is_about_the_token(&message) => ReadError::Unauthorized(text),
            (403, _) => ReadError::Forbidden(text),
            (408 | 425 | 500..=599, _) => ReadError::Unavailable { error: text, retry_after: self.wait() },
            _ => ReadError::Unusable(text),
        }
    }

    fn wait(&self) -> Option<Duration> {
        let in_details = || {
            let details = self.body.details.as_ref()?;
            // PostgREST passes an error's DETAIL on as text. Here the text is JSON.
            let parsed: Option<Value> = details.as_str().and_then(|text| serde_json::from_str(text).ok());
            let milliseconds = parsed.as_ref().unwrap_or(details).get("retry_after_ms")?.as_u64()?;
            Some(Duration::from_millis(milliseconds))
        };
        self.retry_after.or_else(in_details).map(|wait| wait.min(MAX_RETRY_AFTER))
    }
}

/// Whether storage's message is about an expired or malformed token.
fn is_about_the_token(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["jwt", "jws", "\"exp\"", "expired", "token"].iter().any(|word| message.contains(word))
}

fn as_text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64().and_then(|number| number.try_into().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> ReadError {
        ErrorResponse::new(status, None, body.as_bytes()).into_error("read", &["s3cret".into()])
    }

    #[test]
    fn each_error_response_gives_the_right_error() {
        assert_eq!(error(404, r#"{"code":"PGRST202","message":"Could not find"}"#), ReadError::NoSuchFunction);
        assert_eq!(error(404, r#"{"code":"PT404","message":"gone"}"#), ReadError::Gone);
        assert_eq!(
            error(400, r#"{"statusCode":"404","error":"not_found","message":"Object not found"}"#),
            ReadError::Gone
        );
        for (status, body) in [
            (401, r#"{"code":"PGRST303","message":"JWT expired"}"#),
            (401, r#"{"code":"PGRST301","message":"bad"}"#),
            (401, "not json"),
            (403, r#"{"message":"Token expired"}"#),
            (400, r#"{"statusCode":"403","error":"Unauthorized","message":"\"exp\" claim timestamp check failed"}"#),
            (400, r#"{"statusCode":"400","error":"InvalidJWT","message":"x"}"#),
        ] {
            assert!(matches!(error(status, body), ReadError::Unauthorized(_)), "{status} {body}");
        }
        for (status, body) in [
            (401, r#"{"code":"42501","message":"permission denied"}"#),
            (403, r#"{"code":"42501","message":"permission denied for the token's role"}"#),
            (403, "nginx"),
            (400, r#"{"statusCode":"403","error":"Unauthorized","message":"new row violates row-level security"}"#),
        ] {
            assert!(matches!(error(status, body), ReadError::Forbidden(_)), "{status} {body}");
        }
        for (status, body) in [(404, "<html>"), (400, r#"{"code":"22023","message":"x"}"#), (302, ""), (418, "[1]")] {
            assert!(matches!(error(status, body), ReadError::Unusable(_)), "{status} {body}");
        }
        for status in [408, 429, 500, 502, 503, 504, 544] {
            assert!(matches!(error(status, ""), ReadError::Unavailable { .. }), "{status}");
        }
    }

    #[test]
    fn the_requested_wait_is_used_and_bounded() {
        let wait = |header: Option<u64>, body: &str| match ErrorResponse::new(
            429,
            header.map(Duration::from_secs),
            body.as_bytes(),
        )
        .into_error("read", &[])
        {
            ReadError::Unavailable { retry_after, .. } => retry_after.map(|wait| wait.as_millis()),
            error => panic!("{error:?}"),
        };
        assert_eq!(wait(None, ""), None);
        assert_eq!(wait(Some(2), ""), Some(2000));
        assert_eq!(wait(None, r#"{"code":"PT429","details":"{\"retry_after_ms\": 1500}"}"#), Some(1500));
        assert_eq!(wait(None, r#"{"code":"PT429","details":{"retry_after_ms": 1500}}"#), Some(1500));
        assert_eq!(wait(Some(1 << 40), ""), Some(MAX_RETRY_AFTER.as_millis()));
    }

    #[test]
    fn secrets_are_removed_from_the_text() {
        for body in ["s3cret", r#"{"message":"bad s3cret"}"#, r#"{"code":"s3cret"}"#] {
            let text = format!("{:?}", error(500, body));
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
