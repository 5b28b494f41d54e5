//! One TLS configuration and one resolver for all outgoing connections. Proxies from the environment (`HTTP_PROXY`,
//! `HTTPS_PROXY`, `ALL_PROXY`) are not used: a variable of the container's image must not redirect secrets.

mod resolver;
mod tls;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder};
use rustls::ClientConfig;

pub use resolver::{ResolveError, Resolver};

/// The longest time for name resolution, TCP and TLS together. A healthy connection takes less than a second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Redirects that a download follows.
pub const MAX_REDIRECTS: usize = 10;
/// Idle connections kept open to one host.
const MAX_IDLE: usize = 4;
/// How long an idle connection is kept: gateways close theirs after a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Why no connection can be made at all. Each message includes its cause.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NetError {
    #[error("EXTRA_CA_FILE: cannot read {}: {cause}", path.display())]
    ReadCa { path: PathBuf, cause: io::Error },
    #[error("EXTRA_CA_FILE: {} has no PEM certificate", path.display())]
    NoCa { path: PathBuf },
    #[error("EXTRA_CA_FILE: certificate {number} of {} is damaged: {cause}", path.display())]
    BadCa { path: PathBuf, number: usize, cause: String },
    #[error("cannot configure TLS: {0}")]
    Tls(rustls::Error),
    #[error("cannot create the HTTP client: {0}")]
    Client(reqwest::Error),
}

/// The configuration of outgoing connections. Clones share it.
#[derive(Debug, Clone)]
pub struct Net {
    tls: Arc<ClientConfig>,
    resolver: Resolver,
}

impl Net {
    /// Trusts the usual root certificates, and those in the PEM file `extra_ca`. Makes no connection.
    ///
    /// # Errors
    /// The file cannot be read, or a certificate in it cannot be used.
    pub fn new(extra_ca: Option<&Path>) -> Result<Net, NetError> {
        Ok(Net { tls: Arc::new(tls::config(extra_ca)?), resolver: Resolver::system() })
    }

    /// The same with another resolver.
    pub fn with_resolver(self, resolver: Resolver) -> Net {
        Net { resolver, ..self }
    }

    /// For downloads: follows up to [`MAX_REDIRECTS`] redirects, none of them from https to http.
    ///
    /// # Errors
    /// The TLS configuration is refused.
    pub fn http_client(&self) -> Result<Client, NetError> {
        self.builder(&["h2", "http/1.1"]).redirect(Policy::custom(follow)).build().map_err(NetError::Client)
    }

    /// For requests with a key or a token: follows no redirect, which could send them to another server.
    ///
    /// # Errors
    /// The TLS configuration is refused.
    pub fn api_client(&self) -> Result<Client, NetError> {
        self.builder(&["h2", "http/1.1"]).redirect(Policy::none()).build().map_err(NetError::Client)
    }

    /// For websockets: HTTP/1.1 only, no idle connections, no redirects.
    ///
    /// # Errors
    /// The TLS configuration is refused.
    pub fn upgrade_client(&self) -> Result<Client, NetError> {
        let builder = self.builder(&["http/1.1"]).http1_only().pool_max_idle_per_host(0);
        builder.redirect(Policy::none()).build().map_err(NetError::Client)
    }

    fn builder(&self, protocols: &[&str]) -> ClientBuilder {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(self.resolver.clone())
            .no_proxy()
            .user_agent(concat!("preview-agent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .referer(false)
    }
}

fn follow(attempt: Attempt) -> reqwest::redirect::Action {
    let from_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    if from_https && attempt.url().scheme() != "https" {
        return attempt.error("a redirect from https to http");
    }
    attempt.follow()
}

/// The text of an error of a request with its causes, without its URL, which may have a secret.
pub fn describe(error: reqwest::Error) -> String {
    sync_core::error_chain(&error.without_url())
}
