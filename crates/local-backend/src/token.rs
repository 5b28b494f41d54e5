#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used))]

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Map, Value, json};

/// The longest token in bytes that is verified.
const MAX_TOKEN: usize = 16 << 10;

/// Signs the project's JWTs (HS256), and verifies these and JWTs that one of its ES256 keys signed.
pub struct Keys {
    key: hmac::Key,
    publishable: String,
    /// The uncompressed points of the ES256 keys, by `kid`.
    points: HashMap<String, Vec<u8>>,
}

/// The claims of a token with a valid signature.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

/// The reason for which a token was refused, with the texts of the real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum TokenError {
    #[error("The token provided is not a valid JWT")]
    Malformed,
    #[error("Failed to generate JWT signer, check your JWT secret or JWKS configuration")]
    Signer,
    #[error("Failed to validate JWT signature")]
    Signature,
    #[error("Fields `role` and `exp` are required in JWT")]
    Claims,
    #[error("Token has expired {0} seconds ago")]
    Expired(u64),
}

impl Keys {
    /// Keys from `secret`, or from a random one, and public ES256 keys as JWKs. Values that are not such keys are ignored.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(secret: Option<&[u8]>, jwks: &[Value]) -> Result<Keys, ring::error::Unspecified> {
        let mut random = [0_u8; 48];
        SystemRandom::new().fill(&mut random)?;
        let (publishable, new_secret) = random.split_at(16);
        let publishable = format!("sb_publishable_{}", BASE64_URL_SAFE_NO_PAD.encode(publishable));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.unwrap_or(new_secret));
        let points = jwks.iter().filter_map(|jwk| Some((jwk.get("kid")?.as_str()?.to_owned(), point(jwk)?))).collect();
        Ok(Keys { key, publishable, points })
    }

    /// The publishable key, which replaces the anon JWT.
    pub fn publishable(&self) -> &str {
        &self.publishable
    }

    /// Signs `claims` unchanged.
    pub fn sign(&self, claims: &Value) -> String {
        let head = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let body = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        let tag = hmac::sign(&self.key, format!("{head}.{body}").as_bytes());
        format!("{head}.{body}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// Adds `iat` and `exp` to `claims` and signs them.
    pub fn sign_for(&self, mut claims: Value, lifetime: Duration) -> String {
        let now = now();
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("iat".into(), json!(now));
            claims.insert("exp".into(), json!(now.saturating_add(lifetime.as_secs())));
        }
        self.sign(&claims)
    }

    /// Checks the signature in constant time, and that `role` and `exp` exist. An expired token is accepted.
    ///
    /// # Errors
    /// Every other token.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token == self.publishable {
            let claims = json!({"role": "anon", "exp": u64::MAX});
            return Ok(Claims(claims.as_object().cloned().unwrap_or_default()));
        }
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let (signed, tag) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (head, body) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let head = object(head)?;
        let claims = object(body)?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).map_err(|_| TokenError::Malformed)?;
        let field = |name: &str| head.get(name).and_then(Value::as_str);
        match field("alg") {
            Some("HS256") => hmac::verify(&self.key, signed.as_bytes(), &tag),
            // The real server also needs the `kid`.
            Some("ES256") => {
                let point = field("kid").and_then(|kid| self.points.get(kid)).ok_or(TokenError::Signer)?;
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &tag)
            }
            _ => return Err(TokenError::Signer),
        }
        .map_err(|_| TokenError::Signature)?;
        let claims = Claims(claims);
        if claims.text("role").is_none() || !claims.0.get("exp").is_some_and(Value::is_u64) {
            return Err(TokenError::Claims);
        }
        Ok(claims)
    }

    /// Verifies a token like [`Keys::verify`], but only with the backend's own secret: not with the keys of the JWKs.
    ///
    /// # Errors
    ///
    /// As [`Keys::verify`]; [`TokenError::Signer`] for a token that another key signs.
    pub fn verify_own(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.verify(token)?;
        let head = token.split('.').next().map(object).transpose()?;
        match head.as_ref().and_then(|head| head.get("alg")).and_then(Value::as_str) {
            Some("HS256") => Ok(claims),
            _ => Err(TokenError::Signer),
        }
    }

    /// As [`Keys::verify`], and refuses an expired token.
    ///
    /// # Errors
    /// Every other token.
    pub fn verify_live(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.verify(token)?;
        match now().checked_sub(claims.expires_at()) {
            Some(ago) => Err(TokenError::Expired(ago)),
            None => Ok(claims),
        }
    }
}

impl Claims {
    /// The claims of the service.
    pub fn service() -> Claims {
        let claims = json!({"role": "service_role", "exp": u64::MAX});
        Claims(claims.as_object().cloned().unwrap_or_default())
    }

    /// The claim `name`, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// When the token begins to be valid (`nbf`), in Unix seconds; 0 without `nbf`, and never where it is not a number.
    pub fn valid_from(&self) -> u64 {
        self.0.get("nbf").map_or(0, |nbf| nbf.as_f64().map_or(u64::MAX, |seconds| seconds.ceil() as u64))
    }

    /// All claims as JSON.
    pub fn to_json(&self) -> String {
        json!(self.0).to_string()
    }

    /// The database role.
    pub fn role(&self) -> &str {
        self.text("role").unwrap_or_default()
    }

    /// `exp`, Unix seconds.
    pub fn expires_at(&self) -> u64 {
        self.0.get("exp").and_then(Value::as_u64).unwrap_or(0)
    }
}

/// The wall clock, Unix seconds.
pub fn now() -> u64 {
    Timestamp::now().as_second().try_into().unwrap_or(0)
}

/// The uncompressed point of a P-256 key.
fn point(jwk: &Value) -> Option<Vec<u8>> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let is = |name: &str, value: &str| text(name) == Some(value);
    let part = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok().filter(|part| part.len() == 32);
    if !is("kty", "EC") || !is("crv", "P-256") {
        return None;
    }
    Some([vec![4], part("x")?, part("y")?].concat())
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_invalid_tokens_with_specific_errors() -> Result<(), ring::error::Unspecified> {
        let keys = Keys::new(None, &[])?;
        let good = keys.sign(&json!({"role": "anon", "exp": now() + 60}));
        assert_eq!(keys.verify_live(&good).map(|claims| claims.role().to_string()), Ok("anon".into()));
        assert_eq!(keys.verify("abc"), Err(TokenError::Malformed));
        assert_eq!(keys.verify("a.b.c"), Err(TokenError::Malformed));
        assert_eq!(Keys::new(None, &[])?.verify(&good), Err(TokenError::Signature));
        assert_eq!(keys.verify(&keys.sign(&json!({"exp": 1}))), Err(TokenError::Claims));
        assert_eq!(keys.verify(&keys.sign(&json!({"role": "anon"}))), Err(TokenError::Claims));
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(keys.verify(&format!("{none}.e30.")), Err(TokenError::Signer));
        let old = keys.sign(&json!({"role": "anon", "exp": now() - 10}));
        assert!(matches!(keys.verify_live(&old), Err(TokenError::Expired(10..=12))));
        assert_eq!(keys.verify(keys.publishable()).map(|claims| claims.role().to_string()), Ok("anon".into()));
        Ok(())
    }

    #[test]
    #[cfg(feature = "testing")]
    fn accepts_es256_only_from_the_key_with_the_tokens_kid() -> Result<(), ring::error::Unspecified> {
        use crate::testing::SigningKey;

        let (known, other) = (SigningKey::new("one")?, SigningKey::new("one")?);
        let keys = Keys::new(None, &[known.public(), json!({"kty": "RSA", "kid": "two"})])?;
        let claims = json!({"role": "preview_agent", "exp": now() + 60});
        assert_eq!(keys.verify_live(&known.sign(&claims)?).map(|is| is.role().to_string()), Ok("preview_agent".into()));
        assert_eq!(keys.verify(&other.sign(&claims)?), Err(TokenError::Signature), "the same kid, another key");
        assert_eq!(keys.verify(&SigningKey::new("two")?.sign(&claims)?), Err(TokenError::Signer), "no such key");
        assert_eq!(keys.verify(&known.sign_as(&json!({"alg": "ES256"}), &claims)?), Err(TokenError::Signer), "no kid");
        let hs256 = json!({"alg": "HS256", "kid": "one"});
        assert_eq!(keys.verify(&known.sign_as(&hs256, &claims)?), Err(TokenError::Signature), "another algorithm");
        // The public key as the secret of HS256.
        let forger = Keys::new(Some(known.public().to_string().as_bytes()), &[])?;
        assert_eq!(keys.verify(&forger.sign(&claims)), Err(TokenError::Signature));
        Ok(())
    }
}
