//! The session's token and its claims. The token itself never appears in a message.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// The longest token, in bytes. Gateways accept no longer header.
pub const MAX_TOKEN: usize = 16 << 10;

/// A token whose claims were read but not verified: the agent does not have the key.
#[derive(Debug)]
pub struct Token {
    secret: SecretString,
    format: TokenFormat,
    project_id: String,
    role: Option<String>,
    issued: Option<Duration>,
    expires: Option<Duration>,
}

/// The format of REALTIME_TOKEN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFormat {
    /// A JWT with claims for role and project. It is used on a private channel.
    Jwt,
    /// The legacy envelope around a token. It is used on a public channel.
    Envelope,
}

/// Why a token is refused. No message has a part of the token other than its project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum TokenError {
    #[error("it is {0} bytes long, more than {MAX_TOKEN}")]
    TooLong(usize),
    #[error("it is neither a JWT nor the base64 of the legacy envelope")]
    Malformed,
    #[error("the middle part of the JWT is not base64url")]
    ClaimsEncoding,
    #[error("the claims of the JWT are not the expected JSON object")]
    ClaimsJson,
    #[error("the legacy envelope is not the expected JSON object")]
    EnvelopeJson,
    #[error("the token in the legacy envelope is empty or has a character that an HTTP header cannot contain")]
    EnvelopeToken,
    #[error("the scope of the legacy envelope is not `project:<id>`")]
    Scope,
    #[error("it has no claim {0}")]
    Missing(&'static str),
    #[error("its claim exp is not later than its claim iat")]
    Lifetime,
    #[error("its role is service_role, which must never be used in a preview container")]
    ServiceRole,
    #[error("it is for project {0:?}, not for this one")]
    OtherProject(String),
}

#[derive(Deserialize)]
struct Claims {
    role: Option<String>,
    project_id: Option<String>,
    iat: Option<f64>,
    exp: Option<f64>,
}

#[derive(Deserialize)]
struct Envelope {
    token: SecretString,
    scope: String,
    iat: Option<f64>,
    exp: Option<f64>,
}

impl Token {
    /// Reads a JWT, or the legacy envelope, for `project_id`.
    ///
    /// # Errors
    /// One variant for each reason.
    pub fn parse(text: &str, project_id: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong(text.len()));
        }
        match claims(text) {
            Some(claims) => Token::from_jwt(text, claims?, project_id),
            None => Token::from_envelope(envelope(text)?, project_id),
        }
    }

    fn from_jwt(text: &str, claims: Claims, project_id: &str) -> Result<Token, TokenError> {
        not_service(&claims)?;
        let role = claims.role.ok_or(TokenError::Missing("role"))?;
        let project = claims.project_id.ok_or(TokenError::Missing("project_id"))?;
        for_project(&project, project_id)?;
        let (issued, expires) = times(claims.iat, claims.exp)?;
        Ok(Token {
            secret: text.into(),
            format: TokenFormat::Jwt,
            project_id: project,
            role: Some(role),
            issued,
            expires,
        })
    }

    fn from_envelope(envelope: Envelope, project_id: &str) -> Result<Token, TokenError> {
        let project = envelope.scope.strip_prefix("project:").ok_or(TokenError::Scope)?.to_owned();
        let secret = envelope.token.expose_secret();
        let inner = claims(secret).and_then(Result::ok);
        if let Some(claims) = &inner {
            not_service(claims)?;
        }
        for_project(&project, project_id)?;
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::EnvelopeToken);
        }
        let (issued, expires) = times(envelope.iat, envelope.exp)?;
        let role = inner.and_then(|claims| claims.role);
        Ok(Token { secret: envelope.token, format: TokenFormat::Envelope, project_id: project, role, issued, expires })
    }

    /// The format it came in.
    pub fn format(&self) -> TokenFormat {
        self.format
    }

    /// The project that it is for, in the token's spelling.
    pub fn project_id(&self) -> &str {
        &self.project_id
    }

    /// Its database role, where it has the claim.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// `exp - iat`, where it has both. Renewal counts this from receipt, on a monotonic clock.
    pub fn lifetime(&self) -> Option<Duration> {
        self.expires?.checked_sub(self.issued?)
    }

    /// `exp`. For messages only: this machine's clock may be wrong.
    pub fn expiry(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(self.expires?)
    }

    /// The token itself, for a frame or a header.
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    pub(crate) fn secret(&self) -> &SecretString {
        &self.secret
    }
}

/// The token in use, replaced by each renewal. Clones share it.
#[derive(Debug, Clone)]
pub struct TokenCell(Arc<RwLock<Arc<Token>>>);

impl TokenCell {
    /// A cell with the first token.
    pub fn new(token: Token) -> TokenCell {
        TokenCell(Arc::new(RwLock::new(Arc::new(token))))
    }

    /// The token now.
    pub fn current(&self) -> Arc<Token> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses `token` from now on.
    pub fn replace(&self, token: Token) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(token);
    }
}

/// The name of a variable that has a service key, if there is one: a name that only such a key has, a value that begins
/// with `sb_secret_`, or a token setting whose role is `service_role`. Empty values are ignored.
pub fn service_key_in(mut environment: impl Iterator<Item = (String, String)>) -> Option<String> {
    const NAMES: [&str; 3] = ["SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY", "SUPABASE_SECRET_KEYS"];
    const TOKENS: [&str; 2] = ["REALTIME_TOKEN", "SUPABASE_ANON_KEY"];
    let is_one = |(name, value): &(String, String)| {
        let value = value.trim();
        let name = name.as_str();
        !value.is_empty()
            && (NAMES.contains(&name)
                || value.starts_with("sb_secret_")
                || (TOKENS.contains(&name) && grants_service_role(value)))
    };
    environment.find(is_one).map(|(name, _)| name)
}

fn grants_service_role(text: &str) -> bool {
    let is_service = |text: &str| matches!(claims(text), Some(Ok(claims)) if not_service(&claims).is_err());
    let is_secret = |text: &str| text.starts_with("sb_secret_") || is_service(text);
    is_service(text) || envelope(text).is_ok_and(|envelope| is_secret(envelope.token.expose_secret()))
}

/// The claims of a JWT; `None` where the text does not have three parts.
fn claims(text: &str) -> Option<Result<Claims, TokenError>> {
    let parts: Vec<&str> = text.splitn(4, '.').collect();
    let [_, claims, _] = parts[..] else { return None };
    let decoded = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).map_err(|_| TokenError::ClaimsEncoding);
    Some(decoded.and_then(|json| serde_json::from_slice(&json).map_err(|_| TokenError::ClaimsJson)))
}

fn envelope(text: &str) -> Result<Envelope, TokenError> {
    let text = text.trim_end_matches('=');
    let json = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text));
    serde_json::from_slice(&json.map_err(|_| TokenError::Malformed)?).map_err(|_| TokenError::EnvelopeJson)
}

fn not_service(claims: &Claims) -> Result<(), TokenError> {
    if claims.role.as_deref() == Some("service_role") { Err(TokenError::ServiceRole) } else { Ok(()) }
}

fn for_project(named: &str, project_id: &str) -> Result<(), TokenError> {
    let same = named.eq_ignore_ascii_case(project_id);
    if same { Ok(()) } else { Err(TokenError::OtherProject(named.chars().take(64).collect())) }
}

/// Both times, since the Unix epoch.
fn times(iat: Option<f64>, exp: Option<f64>) -> Result<(Option<Duration>, Option<Duration>), TokenError> {
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|_| TokenError::Lifetime);
    let (issued, expires) = (iat.map(time).transpose()?, exp.map(time).transpose()?);
    match (issued, expires) {
        (Some(issued), Some(expires)) if expires <= issued => Err(TokenError::Lifetime),
        times => Ok(times),
    }
}

#[cfg(test)]
mod tests;
