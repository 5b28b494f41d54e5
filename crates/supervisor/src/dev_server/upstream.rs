use std::net::SocketAddr;

use serde::{Serialize, Serializer};

/// Where the dev server answers, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Upstream {
    /// Where to connect to: a loopback address, or the one address that the dev server listens on.
    #[serde(serialize_with = "as_text")]
    pub address: SocketAddr,
    /// The protocol there.
    pub scheme: Scheme,
    /// What it last answered to `GET /`.
    pub answer: RootAnswer,
}

/// Plain HTTP or HTTP over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS, usually with a certificate that the dev server made itself.
    Https,
}

/// What kind of answer `GET /` had. The later, the more it looks like the preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RootAnswer {
    /// A status of 500 or above.
    Failure,
    /// Another status of 400 or above.
    NotFound,
    /// A status below 400 that is not a page.
    Other,
    /// An HTML document or a redirect.
    Page,
}

impl RootAnswer {
    /// Judges an answer by its status and the value of its content type.
    pub(super) fn of(status: u16, content_type: &str) -> RootAnswer {
        match status {
            500.. => RootAnswer::Failure,
            400.. => RootAnswer::NotFound,
            300.. => RootAnswer::Page,
            _ if content_type.trim_start().to_ascii_lowercase().starts_with("text/html") => RootAnswer::Page,
            _ => RootAnswer::Other,
        }
    }

    /// Whether the preview can be used: any answer but a failure of the server.
    pub fn is_good(self) -> bool {
        self > RootAnswer::Failure
    }
}

fn as_text<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(address)
}
