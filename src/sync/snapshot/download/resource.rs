//! What the headers of an answer say about the snapshot as a resource.

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED};
use reqwest::{Response, StatusCode};

/// What is known of the resource, from one answer or from several.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    /// Bytes of the whole resource.
    pub(super) length: Option<u64>,
    /// A strong ETag, else a date. A range request with it gets a part of the same bytes.
    pub(super) validator: Option<String>,
}

impl Resource {
    pub(super) fn of(response: &Response) -> Resource {
        Resource { length: length(response), validator: validator(response.headers()) }
    }

    /// Whether nothing that both know differs.
    pub(super) fn agrees_with(&self, other: &Resource) -> bool {
        fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        agree(&self.length, &other.length) && agree(&self.validator, &other.validator)
    }

    /// Whether something is known by which another version of the resource can be told apart.
    pub(super) fn is_identified(&self) -> bool {
        self.length.is_some() || self.validator.is_some()
    }

    /// Adds what a later answer said.
    pub(super) fn update(&mut self, later: Resource) {
        self.length = later.length.or(self.length);
        self.validator = later.validator.or(self.validator.take());
    }
}

fn length(response: &Response) -> Option<u64> {
    match response.status() {
        StatusCode::PARTIAL_CONTENT => content_range(response.headers())?.rsplit_once('/')?.1.parse().ok(),
        _ => response.content_length(),
    }
}

/// The position of the first byte of a partial answer.
pub(super) fn range_start(headers: &HeaderMap) -> Option<u64> {
    content_range(headers)?.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

fn content_range(headers: &HeaderMap) -> Option<&str> {
    text(headers, &CONTENT_RANGE)
}

fn validator(headers: &HeaderMap) -> Option<String> {
    let strong = text(headers, &ETAG).filter(|tag| !tag.starts_with("W/"));
    strong.or_else(|| text(headers, &LAST_MODIFIED)).map(str::to_owned)
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
