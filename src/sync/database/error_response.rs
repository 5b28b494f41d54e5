use std::time::Duration;

use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use sync_core::ReadError;

use super::body;
use crate::sync::scrub::scrub;

/// Of the body of a refusal, in bytes.
const MAX_BODY: usize = 16 << 10;
/// No server is waited for longer on its own wish.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    retry_after: Option<Duration>,
    said: Said,
    text: String,
}

/// PostgREST gives code, message and details; the gateway only a message; storage the real status and an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    code: Option<Value>,
    message: Option<Value>,
    details: Option<Value>,
    error: Option<Value>,
    #[serde(rename = "statusCode")]
    status_code: Option<Value>,
}

/// Takes the answer in, as far as it comes.
pub(super) async fn read(mut response: Response) -> Refusal {
    let status = response.status().as_u16();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut bytes = Vec::new();
    // What does not come is not needed: the status says most.
    while let Ok(Some(chunk)) = body::chunk(&mut response, "").await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - bytes.len())]);
        if bytes.len() == MAX_BODY {
            break;
        }
    }
    Refusal::new(status, seconds.map(Duration::from_secs), &bytes)
}

impl Refusal {
    fn new(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Refusal {
        let said: Said = serde_json::from_slice(body).unwrap_or_default();
        let text = match said.message.as_ref().and_then(Value::as_str) {
            Some(message) => message.to_owned(),
            None => String::from_utf8_lossy(body).into_owned(),
        };
        Refusal { status, retry_after, said, text }
    }

    /// What the core makes of it. `what` was asked for; `secrets` do not come back.
    pub(super) fn into_error(self, what: &str, secrets: &[SecretString]) -> ReadError {
        let code = text(self.said.code.as_ref());
        let error = text(self.said.error.as_ref());
        // Storage answers 400 whatever happened; the real status stands in the body.
        let stored = self.said.status_code.as_ref().and_then(number);
        let status = stored.filter(|_| self.status == 400).unwrap_or(self.status);
        let told = scrub(&self.text, secrets);
        let shown = if code.is_empty() { String::new() } else { format!(" {}", scrub(code, secrets)) };
        let story = format!("{what}: HTTP {}{shown}: {told}", self.status);
        match (status, code) {
            (404, "PGRST202") => ReadError::NoSuchFunction,
            (_, "PT404") => ReadError::Gone,
            (404, _) if stored.is_some() => ReadError::Gone,
            (429, _) | (_, "PT429") => ReadError::Unavailable { error: story, retry_after: self.wait() },
            // A missing right, though anonymous callers get 401 for it.
            (_, "42501") => ReadError::Forbidden(story),
            (401, _) | (_, "PGRST301" | "PGRST302" | "PGRST303") => ReadError::Unauthorized(story),
            (400, _) if error.eq_ignore_ascii_case("InvalidJWT") => ReadError::Unauthorized(story),
            (403, _) if speaks_of_the_token(&told) => ReadError::Unauthorized(story),
            (403, _) => ReadError::Forbidden(story),
            (408 | 425 | 500..=599, _) => ReadError::Unavailable { error: story, retry_after: self.wait() },
            _ => ReadError::Unusable(story),
        }
    }

    fn wait(&self) -> Option<Duration> {
        let in_details = || {
            let details = self.said.details.as_ref()?;
            // PostgREST hands an error's DETAIL on as a text, which here is JSON itself.
            let parsed: Option<Value> = details.as_str().and_then(|text| serde_json::from_str(text).ok());
            let milliseconds = parsed.as_ref().unwrap_or(details).get("retry_after_ms")?.as_u64()?;
            Some(Duration::from_millis(milliseconds))
        };
        self.retry_after.or_else(in_details).map(|wait| wait.min(MAX_RETRY_AFTER))
    }
}

/// Storage's words for an expired or damaged token.
fn speaks_of_the_token(told: &str) -> bool {
    let told = told.to_ascii_lowercase();
    ["jwt", "jws", "\"exp\"", "expired", "token"].iter().any(|word| told.contains(word))
}

fn text(value: Option<&Value>) -> &str {
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
        Refusal::new(status, None, body.as_bytes()).into_error("read", &["s3cret".into()])
    }

    #[test]
    fn each_refusal_is_known_for_what_it_is() {
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
    fn the_servers_wish_to_wait_is_heard_and_bounded() {
        let wait =
            |header: Option<u64>, body: &str| match Refusal::new(429, header.map(Duration::from_secs), body.as_bytes())
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
    fn a_server_that_quotes_a_secret_does_not_spread_it() {
        for body in ["s3cret", r#"{"message":"bad s3cret"}"#, r#"{"code":"s3cret"}"#] {
            let story = format!("{:?}", error(500, body));
            assert!(!story.contains("s3cret"), "{story}");
        }
    }
}
