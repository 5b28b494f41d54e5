//! Adds script elements to HTML documents. Which documents take one is decided here and nowhere else.

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::body::{AnyBody, BoxError, streamed};
use crate::document_start::{ScriptPlace, script_place};
use crate::headers::{content_length, is_html, is_navigation};
use crate::page_script::PageScript;

const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// As much of a document is looked at to find where its head begins.
const MAX_START: usize = 16 << 10;

/// The scripts of documents.
#[derive(Debug)]
pub(crate) struct Scripts {
    /// Runs before all others.
    pub(crate) first: Option<PageScript>,
    /// An element for the end of the document.
    pub(crate) last: Option<Bytes>,
}

impl Scripts {
    /// Whether the answer to this request may be a document that takes scripts: one that a browser shows, and not a
    /// part of a page that a script of the page asks for.
    pub(crate) fn are_for<B>(&self, request: &Request<B>) -> bool {
        if (self.first.is_none() && self.last.is_none()) || request.method() != Method::GET {
            return false;
        }
        match request.headers().get(FETCH_DEST) {
            Some(destination) => {
                ["document", "iframe", "frame", "embed", "object"].iter().any(|own| destination == own)
            }
            // Browsers leave it out on plain HTTP to other hosts.
            None => is_navigation(request),
        }
    }

    /// The answer with the scripts, where it is a whole HTML document in plain text; else the answer as it is. The document
    /// is passed on while it comes.
    pub(crate) fn add_to(&self, response: Response<AnyBody>) -> Response<AnyBody> {
        let headers = response.headers();
        let whole = !matches!(
            response.status(),
            StatusCode::PARTIAL_CONTENT | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        ) && !response.status().is_redirection();
        let plain = headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
        if !whole || !plain || !is_html(headers) {
            return response;
        }
        let first = self.first.as_ref().map(|script| script.element(headers));
        let (mut parts, body) = response.into_parts();
        // No longer what the tag is for.
        for name in [ETAG, TRANSFER_ENCODING] {
            parts.headers.remove(name);
        }
        let added: usize = [&first, &self.last].into_iter().flatten().map(Bytes::len).sum();
        let length = content_length(&parts.headers).and_then(|length| length.checked_add(added as u64));
        match length {
            Some(length) => parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None => parts.headers.remove(CONTENT_LENGTH),
        };
        Response::from_parts(
            parts,
            Document { body, first, last: self.last.clone(), start: BytesMut::new() }.streamed(),
        )
    }
}

/// A document on its way.
struct Document {
    body: AnyBody,
    /// Still to be put in.
    first: Option<Bytes>,
    /// Still to come at the end.
    last: Option<Bytes>,
    /// What came, while the place of `first` is not known.
    start: BytesMut,
}

impl Document {
    fn streamed(self) -> AnyBody {
        let frames = stream::unfold(self, async |mut document| {
            let next = document.next().await?;
            Some((next.map(Frame::data), document))
        });
        streamed(StreamBody::new(frames))
    }

    /// Trailers are dropped: they would come before the end.
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some(ready) = self.take(data) {
                        return Some(Ok(ready));
                    }
                }
                Some(Err(error)) => return Some(Err(error)),
                None if self.first.is_some() => {
                    return self.with_first_at(otherwise(script_place(&self.start))).map(Ok);
                }
                None => return self.last.take().map(Ok),
            }
        }
    }

    /// The next bytes; gives what can be passed on.
    fn take(&mut self, data: Bytes) -> Option<Bytes> {
        if self.first.is_none() {
            return Some(data);
        }
        self.start.extend_from_slice(&data);
        match script_place(&self.start) {
            ScriptPlace::Unknown { .. } if self.start.len() <= MAX_START => None,
            place => self.with_first_at(otherwise(place)),
        }
    }

    fn with_first_at(&mut self, place: usize) -> Option<Bytes> {
        let first = self.first.take()?;
        let rest = self.start.split_off(place.min(self.start.len()));
        let mut ready = std::mem::take(&mut self.start);
        ready.extend_from_slice(&first);
        ready.extend_from_slice(&rest);
        Some(ready.freeze())
    }
}

fn otherwise(place: ScriptPlace) -> usize {
    match place {
        ScriptPlace::At(at) | ScriptPlace::Unknown { otherwise: at } => at,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CONTENT_TYPE};

    use super::*;
    use crate::FrameAncestors;
    use crate::body::whole;

    const PAGE: &str = "<!doctype html><html><head><script>app()</script></head></html>";

    fn page(content_type: &'static str) -> Response<AnyBody> {
        let mut response = Response::new(whole(PAGE));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(PAGE.len()));
        response.headers_mut().insert(ETAG, HeaderValue::from_static("x"));
        response
    }

    fn scripts() -> Scripts {
        let last = Some(Bytes::from_static(b"<script>last()</script>"));
        Scripts { first: Some(PageScript::new(&FrameAncestors::default())), last }
    }

    async fn text(response: Response<AnyBody>) -> String {
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_document_gets_both_scripts_and_its_new_length() {
        let response = scripts().add_to(page("text/html"));
        let length = response.headers()[CONTENT_LENGTH].to_str().expect("a number").parse();
        assert!(!response.headers().contains_key(ETAG));
        let text = text(response).await;
        assert_eq!(length, Ok(text.len()));
        assert!(text.starts_with("<!doctype html><html><head><script src=\"/.preview-agent/page.js?v="), "{text}");
        assert!(text.ends_with("\"></script><script>app()</script></head></html><script>last()</script>"), "{text}");
    }

    #[tokio::test]
    async fn a_document_may_come_in_pieces_of_any_size() {
        let wanted = text(scripts().add_to(page("text/html"))).await;
        for size in 1..PAGE.len() {
            let pieces: Vec<_> = PAGE.as_bytes().chunks(size).collect();
            let pieces = pieces.into_iter().map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from_static(piece))));
            let mut response = page("text/html");
            *response.body_mut() = streamed(StreamBody::new(stream::iter(pieces.collect::<Vec<_>>())));
            assert_eq!(text(scripts().add_to(response)).await, wanted, "{size}");
        }
    }

    #[tokio::test]
    async fn an_endless_start_is_not_kept() {
        let comment = Bytes::from(vec![b'-'; 64 << 10]);
        let body = stream::iter([Bytes::from_static(b"<!doctype html><!-- "), comment]).map_frames();
        let mut response = page("text/html");
        *response.body_mut() = body;
        let text = text(scripts().add_to(response)).await;
        assert!(text.starts_with("<!doctype html><script src="), "{}", text.get(..60).unwrap_or_default());
    }

    trait MapFrames {
        fn map_frames(self) -> AnyBody;
    }

    impl<S: futures_util::Stream<Item = Bytes> + Send + 'static> MapFrames for S {
        fn map_frames(self) -> AnyBody {
            use futures_util::StreamExt;
            streamed(StreamBody::new(self.map(|data| Ok::<_, BoxError>(Frame::data(data)))))
        }
    }

    #[tokio::test]
    async fn what_cannot_take_a_script_stays_as_it_is() {
        let mut compressed = page("text/html");
        compressed.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let mut part = page("text/html");
        *part.status_mut() = StatusCode::PARTIAL_CONTENT;
        for response in [page("text/javascript"), compressed, part] {
            let kept = scripts().add_to(response);
            assert_eq!(kept.headers()[CONTENT_LENGTH], PAGE.len().to_string());
            assert_eq!(text(kept).await, PAGE);
        }
    }

    #[test]
    fn only_documents_that_a_browser_shows_take_scripts() {
        let scripts = scripts();
        let is_for = |fields: &[(&str, &str)]| {
            let mut request = Request::new(());
            for (name, value) in fields {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                request.headers_mut().insert(name, value.parse().expect("a value"));
            }
            scripts.are_for(&request)
        };
        let accept = (ACCEPT.as_str(), "text/html,*/*");
        assert!(is_for(&[accept]) && is_for(&[accept, ("sec-fetch-dest", "document")]));
        assert!(is_for(&[accept, ("sec-fetch-dest", "iframe")]));
        assert!(!is_for(&[accept, ("sec-fetch-dest", "empty")]) && !is_for(&[(ACCEPT.as_str(), "*/*")]));
        let mut post = Request::new(());
        *post.method_mut() = Method::POST;
        post.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/html"));
        assert!(!scripts.are_for(&post));
        assert!(
            !Scripts { first: None, last: None }
                .are_for(&Request::builder().header(ACCEPT, "text/html").body(()).expect("one"))
        );
    }
}
