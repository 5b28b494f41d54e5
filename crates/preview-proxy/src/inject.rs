//! Adds a script element to HTML documents.

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderValue, TRANSFER_ENCODING};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::body::{AnyBody, BoxError, streamed};
use crate::headers::{content_length, is_html};

/// The answer with `script` at its end, where it is a whole HTML document in plain text; else the answer as it is. The
/// document is passed on while it comes.
pub(crate) fn with_script(response: Response<AnyBody>, script: &Bytes) -> Response<AnyBody> {
    let headers = response.headers();
    let whole =
        !matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let plain = headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    if !whole || !plain || !is_html(headers) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let length = content_length(&parts.headers).map(|length| length.saturating_add(script.len() as u64));
    // No longer what the tag is for.
    parts.headers.remove(ETAG);
    parts.headers.remove(TRANSFER_ENCODING);
    match length {
        Some(length) => parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        None => parts.headers.remove(CONTENT_LENGTH),
    };
    Response::from_parts(parts, followed_by(body, script.clone()))
}

/// The body, then `last`. Trailers are dropped: they would come before the end.
fn followed_by(body: AnyBody, last: Bytes) -> AnyBody {
    let frames = stream::unfold((body, Some(last)), async |(mut body, mut last)| {
        loop {
            match body.frame().await {
                Some(Ok(frame)) if frame.is_data() => return Some((Ok::<_, BoxError>(frame), (body, last))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some((Err(error), (body, last))),
                None => return last.take().map(|last| (Ok(Frame::data(last)), (body, None))),
            }
        }
    });
    streamed(StreamBody::new(frames))
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;
    use crate::body::whole;

    fn page(content_type: &'static str) -> Response<AnyBody> {
        let mut response = Response::new(whole("<p>hi</p>"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(9));
        response.headers_mut().insert(ETAG, HeaderValue::from_static("x"));
        response
    }

    async fn text(response: Response<AnyBody>) -> String {
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_document_gets_the_script_and_its_new_length() {
        let injected = with_script(page("text/html"), &Bytes::from_static(b"<script></script>"));
        assert_eq!(injected.headers()[CONTENT_LENGTH], "26");
        assert!(!injected.headers().contains_key(ETAG));
        assert_eq!(text(injected).await, "<p>hi</p><script></script>");
    }

    #[tokio::test]
    async fn what_cannot_take_a_script_stays_as_it_is() {
        let script = Bytes::from_static(b"<script></script>");
        let mut compressed = page("text/html");
        compressed.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let mut part = page("text/html");
        *part.status_mut() = StatusCode::PARTIAL_CONTENT;
        for response in [page("text/javascript"), compressed, part] {
            let kept = with_script(response, &script);
            assert_eq!(kept.headers()[CONTENT_LENGTH], "9");
            assert_eq!(text(kept).await, "<p>hi</p>");
        }
    }
}
