/// Host names that a request may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    /// This name or address.
    Name(String),
    /// Every name that ends with this, which begins with a dot.
    Below(String),
}

/// An entry of a list of host names that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} is not a host name: give names without scheme, port or path, a leading dot for a domain, or `*`")]
pub struct HostError {
    entry: String,
}

impl Hosts {
    /// Every name.
    pub fn any() -> Hosts {
        Hosts(vec![Pattern::Any])
    }

    /// The names of this machine's loopback.
    pub fn loopback() -> Hosts {
        let names = ["localhost", "127.0.0.1", "[::1]"].map(|name| Pattern::Name(name.to_owned()));
        Hosts(names.into_iter().chain([Pattern::Below(".localhost".to_owned())]).collect())
    }

    /// Reads a comma separated list: names, domains with a leading dot, `*`.
    ///
    /// # Errors
    /// The first entry that is none of these; an empty list.
    pub fn parse(text: &str) -> Result<Hosts, HostError> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let patterns: Vec<_> = entries.map(Pattern::parse).collect::<Result<_, _>>()?;
        if patterns.is_empty() { Err(HostError { entry: text.to_owned() }) } else { Ok(Hosts(patterns)) }
    }

    /// The names and domains, without `*`.
    pub fn names(&self) -> Vec<&str> {
        let name = |pattern| match pattern {
            &Pattern::Any => None,
            Pattern::Name(text) | Pattern::Below(text) => Some(text.as_str()),
        };
        self.0.iter().filter_map(name).collect()
    }

    /// Whether `host`, as it is in a `Host` header (with a port or without), is one of them.
    pub fn allows(&self, host: &str) -> bool {
        let name = name_of(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        self.0.iter().any(|pattern| match pattern {
            Pattern::Any => true,
            Pattern::Name(known) => known == name,
            Pattern::Below(domain) => name.len() > domain.len() && name.ends_with(domain.as_str()),
        })
    }
}

impl Pattern {
    fn parse(entry: &str) -> Result<Pattern, HostError> {
        let lower = entry.to_ascii_lowercase();
        let is_name = |text: &str| {
            let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
                || (!text.is_empty() && text.bytes().all(named))
        };
        match lower.strip_prefix('.') {
            _ if lower == "*" => Ok(Pattern::Any),
            Some(rest) if is_name(rest) => Ok(Pattern::Below(lower)),
            None if is_name(&lower) => Ok(Pattern::Name(lower)),
            _ => Err(HostError { entry: entry.to_owned() }),
        }
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').and_then(|end| host.get(..=end)).unwrap_or(host);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_domains_and_addresses_are_compared_without_port_and_case() {
        let hosts = Hosts::parse("app.example.com, .fly.dev,[::1],10.0.0.1").expect("a list");
        for allowed in ["app.example.com", "APP.example.com.:3001", "a.b.fly.dev", "[::1]:3001", "[::1]", "10.0.0.1:80"]
        {
            assert!(hosts.allows(allowed), "{allowed}");
        }
        for refused in ["example.com", "fly.dev", "xfly.dev", ".fly.dev", "", "[::2]", "app.example.com.evil.test"] {
            assert!(!hosts.allows(refused), "{refused}");
        }
        assert!(Hosts::any().allows("anything"));
        assert!(Hosts::loopback().allows("localhost:3001") && Hosts::loopback().allows("x.localhost"));
        assert!(!Hosts::loopback().allows("localhost.example.com"));
    }

    #[test]
    fn what_is_not_a_host_name_is_refused() {
        for bad in ["", ",", "https://a", "a:80", "a/b", "*.example.com", "[x]", "a b"] {
            assert!(Hosts::parse(bad).is_err(), "{bad}");
        }
    }
}
