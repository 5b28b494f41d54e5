use preview_proxy::{AccessToken, FrameAncestors, Hosts};

use super::{ConfigError, invalid};
use crate::cli::arguments::{PreviewArgs, Switch};

/// The setting that holds the token which opens the preview.
pub(super) const ACCESS_TOKEN: &str = "PREVIEW_ACCESS_TOKEN";

/// How the preview is served.
#[derive(Debug)]
pub struct Preview {
    /// Which program listens on the preview port.
    pub listens: PreviewPort,
    /// Host names that requests may carry, where the operator named some.
    pub hosts: Option<Hosts>,
    /// Opens the preview; without one it is open to all.
    pub access: Option<AccessToken>,
    /// Sites that may show the preview in a frame.
    pub frame_ancestors: FrameAncestors,
    /// A script element for each HTML document.
    pub script: Option<&'static str>,
}

/// Which program listens on the preview port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewPort {
    /// The agent's proxy.
    Proxy {
        /// The port that the dev server behind it is given; none: a free one.
        dev_server_port: Option<u16>,
    },
    /// The dev server itself.
    DevServer,
}

impl Preview {
    pub(super) fn resolve(
        args: PreviewArgs,
        preview_port: u16,
        access_token: Option<String>,
    ) -> Result<Preview, ConfigError> {
        let hosts = args.preview_hosts.map(|hosts| Hosts::parse(&hosts));
        let hosts = hosts.transpose().map_err(|error| invalid("PREVIEW_HOSTS", error.to_string()))?;
        let frame_ancestors = match args.preview_frame_ancestors {
            Some(sources) => FrameAncestors::parse(&sources)
                .map_err(|error| invalid("PREVIEW_FRAME_ANCESTORS", format!("{sources:?} {error}")))?,
            None => FrameAncestors::default(),
        };
        let listens = match args.preview_proxy {
            Switch::On => PreviewPort::Proxy { dev_server_port: args.dev_server_port },
            Switch::Off => PreviewPort::DevServer,
        };
        if listens == (PreviewPort::Proxy { dev_server_port: Some(preview_port) }) {
            return Err(invalid("DEV_SERVER_PORT", "must be another port than PREVIEW_PORT".into()));
        }
        if listens == PreviewPort::DevServer && access_token.is_some() {
            return Err(invalid(ACCESS_TOKEN, "needs the proxy: remove it, or set PREVIEW_PROXY to on".into()));
        }
        Ok(Preview {
            listens,
            hosts,
            access: access_token.map(|token| AccessToken::new(&token)),
            frame_ancestors,
            script: None,
        })
    }
}
