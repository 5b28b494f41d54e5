use std::convert::Infallible;

use bytes::Bytes;
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// What can go wrong in a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer, wherever it comes from.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is passed on as it comes.
pub(crate) fn streamed<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    UnsyncBoxBody::new(body.map_err(Into::into))
}

/// A body that is there as a whole.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> AnyBody {
    streamed(Full::new(bytes.into()).map_err(|never: Infallible| match never {}))
}
