//! Which sites may show the preview in a frame.

/// The value of the CSP directive `frame-ancestors` that pages get; none: every site may show them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrameAncestors(Option<String>);

/// A value that cannot be sent as `frame-ancestors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a list of sources, separated by spaces, as in `'self' https://*.example.com`")]
pub struct FrameAncestorsError;

impl FrameAncestors {
    /// Reads a list of sources as CSP has it.
    ///
    /// # Errors
    /// It is empty, or has characters that would end the directive or the header.
    pub fn parse(text: &str) -> Result<FrameAncestors, FrameAncestorsError> {
        let text = text.trim();
        let is_clean = text.bytes().all(|byte| (b' '..0x7f).contains(&byte) && !matches!(byte, b';' | b','));
        if text.is_empty() || !is_clean { Err(FrameAncestorsError) } else { Ok(FrameAncestors(Some(text.to_owned()))) }
    }

    /// The directive, where there is a restriction.
    pub(crate) fn directive(&self) -> Option<String> {
        self.0.as_ref().map(|sources| format!("frame-ancestors {sources}"))
    }

    /// Regular expressions for the origins that pages may send messages to; `self` for the page's own. A source that
    /// names no host (`*`, `https:`) gives none.
    pub(crate) fn origin_patterns(&self) -> Vec<String> {
        let sources = self.0.as_deref().unwrap_or_default().split_ascii_whitespace();
        sources
            .filter_map(|source| if source == "'self'" { Some("self".to_owned()) } else { pattern(source) })
            .collect()
    }
}

/// The pattern of a source with a host: `[scheme://][*.]host[:port][/path]`.
fn pattern(source: &str) -> Option<String> {
    let (scheme, rest) = match source.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, source),
    };
    let authority = rest.split('/').next()?.to_ascii_lowercase();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority.as_str(), None),
    };
    let (subdomain, host) = match host.strip_prefix("*.") {
        Some(host) => (r"[^/:]+\.", host),
        None => ("", host),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || !host.bytes().all(is_name) {
        return None;
    }
    let scheme = match scheme.as_deref() {
        None | Some("http") => "https?",
        Some("https") => "https",
        Some(_) => return None,
    };
    // Origins leave out the port that is the scheme's own.
    let port = match port {
        None => String::new(),
        Some("443") if scheme == "https" => String::new(),
        Some("80") if scheme == "https?" => "(:80)?".to_owned(),
        Some("*") => r"(:\d+)?".to_owned(),
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => format!(":{port}"),
        Some(_) => return None,
    };
    Some(format!("^{scheme}://{subdomain}{}{port}$", host.replace('.', r"\.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_ancestors_cannot_leave_their_directive() {
        let directive = |text| FrameAncestors::parse(text).map(|parsed| parsed.directive());
        assert_eq!(directive("'self' https://a.example"), Ok(Some("frame-ancestors 'self' https://a.example".into())));
        for bad in ["", " ", "a; script-src *", "a, b", "a\r\nb", "ä"] {
            assert_eq!(directive(bad), Err(FrameAncestorsError), "{bad}");
        }
        assert_eq!(FrameAncestors::default().directive(), None);
    }

    #[test]
    fn only_sources_that_name_a_host_may_get_messages() {
        let patterns = |text| FrameAncestors::parse(text).expect("a list").origin_patterns();
        assert_eq!(patterns("* https: 'none' data: https://* http://*:* ftp://a.test http://a(b).test"), [""; 0]);
        assert_eq!(patterns("'self'"), ["self"]);
        assert_eq!(patterns("https://App.example.com/x"), [r"^https://app\.example\.com$"]);
        assert_eq!(patterns("https://*.example.com:8443"), [r"^https://[^/:]+\.example\.com:8443$"]);
        assert_eq!(patterns("http://localhost:*"), [r"^https?://localhost(:\d+)?$"]);
        assert_eq!(patterns("https://a.test:443 b.test"), [r"^https://a\.test$", r"^https?://b\.test$"]);
        assert_eq!(FrameAncestors::default().origin_patterns(), [""; 0]);
    }
}
