use std::fmt;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

/// The cookie that shows that its bearer had the token. Its value is a digest, so the token itself stays in the URL
/// that brought it.
const COOKIE_NAME: &str = "preview_access";
/// The query parameter that carries the token.
const PARAMETER: &str = "preview_token";

/// Opens the preview. Only digests of it are kept.
#[derive(Clone)]
pub struct AccessToken {
    token: [u8; 32],
    cookie: String,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

impl AccessToken {
    /// The token that the operator set.
    pub fn new(token: &str) -> AccessToken {
        let cookie = Sha256::new().chain_update("preview-agent cookie\0").chain_update(token).finalize();
        let cookie = cookie.iter().map(|byte| format!("{byte:02x}")).collect();
        AccessToken { token: Sha256::digest(token).into(), cookie }
    }

    /// Whether one of the request's cookies opens the preview.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        cookies(headers).any(|(name, value)| name == COOKIE_NAME && is_same(value.as_bytes(), self.cookie.as_bytes()))
    }

    /// Whether this is the token. The time taken does not depend on how much of it is right.
    fn matches(&self, given: &str) -> bool {
        is_same(&Sha256::digest(given), &self.token)
    }

    /// The cookie that opens the preview, also in a frame of another site.
    pub(crate) fn set_cookie(&self) -> String {
        format!("{COOKIE_NAME}={}; Path=/; HttpOnly; Secure; SameSite=None; Partitioned", self.cookie)
    }

    /// What a token in the query means: none where there is none.
    pub(crate) fn in_query(&self, path_and_query: &str) -> Option<TokenInQuery> {
        let (path, query) = path_and_query.split_once('?')?;
        let is_token = |pair: &&str| pair.split('=').next() == Some(PARAMETER);
        let given = query.split('&').find(is_token)?;
        let given = given.split_once('=').map_or("", |(_, value)| value);
        if !self.matches(&percent_decoded(given)) {
            return Some(TokenInQuery::Wrong);
        }
        let rest: Vec<_> = query.split('&').filter(|pair| !is_token(pair)).collect();
        let rest = if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) };
        // `//host` would lead to another site.
        Some(TokenInQuery::Right { rest: format!("/{}", rest.trim_start_matches('/')) })
    }
}

/// What the token in a request's query means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenInQuery {
    /// It opens the preview; `rest` is the target without it.
    Right {
        rest: String,
    },
    Wrong,
}

/// Takes the access cookie out of what the dev server gets: the project's code must not have it.
pub(crate) fn remove_cookie(headers: &mut HeaderMap) {
    if !cookies(headers).any(|(name, _)| name == COOKIE_NAME) {
        return;
    }
    let kept: Vec<_> = cookies(headers).filter(|(name, _)| *name != COOKIE_NAME).collect();
    let kept = kept.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    headers.remove(COOKIE);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_str(&kept)) {
        headers.insert(COOKIE, value);
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// Compares without stopping at the first difference.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |seen, (left, right)| seen | (left ^ right)) == 0
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail.split_at_checked(2).filter(|_| *first == b'%');
        let escape = escape.and_then(|(hex, after)| Some((hex_byte(hex)?, after)));
        let (byte, after) = escape.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_leaves_the_query_and_nothing_else_does() {
        let access = AccessToken::new("a+b/c");
        let right = |rest: &str| Some(TokenInQuery::Right { rest: rest.to_owned() });
        assert_eq!(access.in_query("/x?preview_token=a%2Bb%2Fc"), right("/x"));
        assert_eq!(access.in_query("/x?a=1&preview_token=a+b/c&b"), right("/x?a=1&b"));
        assert_eq!(access.in_query("//evil.test/?preview_token=a+b/c"), right("/evil.test/"));
        assert_eq!(access.in_query("/?preview_token=a"), Some(TokenInQuery::Wrong));
        assert_eq!(access.in_query("/?preview_token"), Some(TokenInQuery::Wrong));
        assert_eq!(access.in_query("/?x=preview_token=a+b/c"), None);
    }

    #[test]
    fn the_cookie_opens_and_is_not_passed_on() {
        let access = AccessToken::new("secret");
        let cookie = access.set_cookie();
        let own = cookie.split(';').next().expect("a pair");
        assert!(!cookie.contains("secret"));
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "theme=dark; preview_access=wrong".parse().expect("a value"));
        assert!(!access.is_in(&headers));
        headers.append(COOKIE, format!("a=b; {own}").parse().expect("a value"));
        assert!(access.is_in(&headers));
        assert!(!AccessToken::new("other").is_in(&headers));
        remove_cookie(&mut headers);
        assert_eq!(headers[COOKIE], "theme=dark; a=b");
        headers.insert(COOKIE, own.parse().expect("a value"));
        remove_cookie(&mut headers);
        assert!(!headers.contains_key(COOKIE));
    }
}
