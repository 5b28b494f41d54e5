//! The script that runs first in each document of the preview, and reports what goes wrong in it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::body::{AnyBody, whole};
use crate::{FrameAncestors, PREFIX};

const SOURCE: &str = include_str!("page_script.js");
/// Where it is, below [`PREFIX`].
pub(crate) const PAGE_SCRIPT: &str = "page.js";

/// The script, as it is served.
///
/// It is a file and not part of the documents: `<meta charset>` must be in the first 1,024 bytes of a document, and a
/// policy with `script-src 'self'` lets it run.
#[derive(Debug)]
pub(crate) struct PageScript {
    text: Bytes,
    /// The address, with a part that changes with the text.
    address: String,
}

impl PageScript {
    pub(crate) fn new(frame_ancestors: &FrameAncestors) -> PageScript {
        let parents = json!(frame_ancestors.origin_patterns()).to_string();
        let text = without_comments(SOURCE).replace("__PARENTS__", &parents);
        let hash: String = Sha256::digest(&text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        PageScript { text: text.into(), address: format!("{PREFIX}{PAGE_SCRIPT}?v={hash}") }
    }

    /// The element for a document with these headers: with the nonce, where the document's policy has one.
    pub(crate) fn element(&self, headers: &HeaderMap) -> Bytes {
        let nonce = nonce_of(headers).map(|nonce| format!(" nonce=\"{nonce}\"")).unwrap_or_default();
        format!("<script src=\"{}\"{nonce}></script>", self.address).into()
    }

    pub(crate) fn answer(&self) -> Response<AnyBody> {
        let mut response = Response::new(whole(self.text.clone()));
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
        response
    }
}

/// The text without indentation and without lines that are comments. It has no texts of several lines.
fn without_comments(source: &str) -> String {
    let lines = source.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with("//") && !line.starts_with("/*"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The nonce that the document's policy asks scripts for.
fn nonce_of(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(CONTENT_SECURITY_POLICY).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(nonce_of_policy)
}

fn nonce_of_policy(policy: &str) -> Option<String> {
    let directive = |name: &str| {
        policy.split(';').find_map(|directive| {
            let mut words = directive.split_ascii_whitespace();
            words.next().filter(|found| found.eq_ignore_ascii_case(name)).map(|_| words)
        })
    };
    let mut sources = ["script-src-elem", "script-src", "default-src"].into_iter().find_map(directive)?;
    let is_clean = |nonce: &&str| {
        nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'='))
    };
    sources.find_map(|source| source.strip_prefix("'nonce-")?.strip_suffix('\'').filter(is_clean).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small_and_ends_no_element() {
        let ancestors = FrameAncestors::parse("'self' https://app.example.com https://*.example.com").expect("a list");
        let script = PageScript::new(&ancestors);
        assert!(script.text.len() <= 6 << 10, "{} bytes", script.text.len());
        let text = String::from_utf8_lossy(&script.text);
        assert!(!text.contains("__PARENTS__") && !text.contains("\n//"));
        assert!(text.contains(r#"const parents = ["self","^https://app\\.example\\.com$""#), "{text}");
    }

    #[test]
    fn its_address_changes_with_its_text() {
        let open = PageScript::new(&FrameAncestors::default());
        let framed = PageScript::new(&FrameAncestors::parse("'self'").expect("a list"));
        assert_ne!(open.address, framed.address);
    }

    #[test]
    fn the_element_has_the_nonce_of_the_policy() {
        let nonce = |policies: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for policy in policies {
                headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
            }
            nonce_of(&headers)
        };
        assert_eq!(nonce(&[]), None);
        assert_eq!(nonce(&["default-src 'self'; script-src 'self' 'nonce-a+B/1='"]), Some("a+B/1=".to_owned()));
        assert_eq!(nonce(&["img-src 'nonce-x'", "default-src 'nonce-y'"]), Some("y".to_owned()));
        assert_eq!(nonce(&["script-src-elem 'nonce-e'; script-src 'nonce-s'"]), Some("e".to_owned()));
        assert_eq!(nonce(&["script-src 'nonce-a\"><b'"]), None);
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("script-src 'nonce-n'"));
        let element = PageScript::new(&FrameAncestors::default()).element(&headers);
        assert!(String::from_utf8_lossy(&element).ends_with("\" nonce=\"n\"></script>"));
    }
}
