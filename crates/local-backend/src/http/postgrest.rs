use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::store_error::StoreError;
use crate::token::{Claims, Keys, TokenError};

/// An answer as PostgREST gives it, `{code, details, hint, message}`, or as the gateway before it, without a code.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: Option<String>,
    pub message: String,
    pub details: Option<String>,
    pub hint: Option<String>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> ApiError {
        ApiError { status, code: Some(code.into()), message: message.into(), details: None, hint: None }
    }

    /// 42501: 401 for a caller who has not signed in, 403 for others.
    pub fn no_right(claims: &Claims, to: &str) -> ApiError {
        let status = if claims.role() == "anon" { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
        ApiError::new(status, "42501", format!("no right to {to}"))
    }

    /// 22023.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "22023", message)
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
        let status = match error.code() {
            "PT409" => StatusCode::CONFLICT,
            "PT404" => StatusCode::NOT_FOUND,
            "PT429" => StatusCode::TOO_MANY_REQUESTS,
            "53100" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let (code, message) = (Some(error.code().into()), error.to_string());
        let details = error.details().map(|details| details.to_string());
        ApiError { status, code, message, details, hint: None }
    }
}

/// The caller's claims: the gateway asks for an `apikey`, PostgREST reads `Authorization`, and without one the caller
/// is `anon`.
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
    // The key lets in, and gives no rights: without a token the caller is `anon`, as with the publishable key.
    let token = token.unwrap_or(keys.publishable());
    keys.verify_live(token).map_err(|error| {
        let (code, message) = match error {
            TokenError::Expired(_) => ("PGRST303", "JWT expired".into()),
            error => ("PGRST301", error.to_string()),
        };
        ApiError::new(StatusCode::UNAUTHORIZED, code, message)
    })
}

/// 404 with `PGRST202`.
pub fn no_such_function(name: &str, arguments: &Value) -> ApiError {
    let mut names: Vec<&str> = arguments.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let signature = format!("public.{name}({})", names.join(", "));
    let mut error = ApiError::new(
        StatusCode::NOT_FOUND,
        "PGRST202",
        format!("Could not find the function {signature} in the schema cache"),
    );
    error.details =
        Some(format!("Searched for the function {signature}, but no matches were found in the schema cache."));
    error
}
