use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::NetError as DnsError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The longest time for a lookup: all servers, all attempts.
const DNS_TIMEOUT: Duration = Duration::from_secs(8);
/// The most that is read of resolv.conf and of the hosts file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Turns names into addresses: IP literals and `localhost` directly, then the hosts file, then the DNS servers of
/// resolv.conf and no others. Both files are read at each lookup, so that a change of network is noticed. The C library's
/// resolver is not used: it needs files that an empty container does not have.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    /// The resolver, with the bytes of resolv.conf that it was created from.
    dns: Mutex<Option<(Vec<u8>, TokioResolver)>>,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ResolveError {
    #[error("cannot resolve {name}: cannot read {}: {cause}", path.display())]
    NoConfig { name: String, path: PathBuf, cause: io::Error },
    #[error("cannot resolve {name}: {} is not usable: {cause}", path.display())]
    BadConfig { name: String, path: PathBuf, cause: Box<DnsError> },
    #[error("{name} has no address")]
    NoAddress { name: String },
    #[error("cannot resolve {name}: {cause}")]
    Dns { name: String, cause: Box<DnsError> },
    #[error("cannot resolve {name}: no DNS server answered within {} s", DNS_TIMEOUT.as_secs())]
    Timeout { name: String },
}

impl Resolver {
    /// From `/etc/resolv.conf` and `/etc/hosts`.
    pub fn system() -> Resolver {
        Resolver::from_files("/etc/resolv.conf".into(), "/etc/hosts".into())
    }

    /// From the given files.
    pub fn from_files(resolv_conf: PathBuf, hosts: PathBuf) -> Resolver {
        Resolver(Arc::new(Inner { resolv_conf, hosts, dns: Mutex::default() }))
    }

    /// The addresses of `name`, at least one, within [`DNS_TIMEOUT`].
    ///
    /// # Errors
    /// resolv.conf is missing or unusable, or its servers know no address or do not answer.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        // RFC 6761: these never leave the machine.
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        // A missing or malformed hosts file is ignored, as by other resolvers.
        let listed = read(&self.0.hosts).map(|hosts| in_hosts(&hosts, &name)).unwrap_or_default();
        if !listed.is_empty() {
            return Ok(listed);
        }
        let dns = self.dns(&name)?;
        match tokio::time::timeout(DNS_TIMEOUT, dns.lookup_ip(name.as_str())).await {
            Err(_) => Err(ResolveError::Timeout { name }),
            Ok(Err(cause)) if cause.is_no_records_found() || cause.is_nx_domain() => {
                Err(ResolveError::NoAddress { name })
            }
            Ok(Err(cause)) => Err(ResolveError::Dns { name, cause: cause.into() }),
            Ok(Ok(found)) => match found.iter().collect::<Vec<_>>() {
                addresses if addresses.is_empty() => Err(ResolveError::NoAddress { name }),
                addresses => Ok(addresses),
            },
        }
    }

    fn dns(&self, name: &str) -> Result<TokioResolver, ResolveError> {
        let path = &self.0.resolv_conf;
        let bytes =
            read(path).map_err(|cause| ResolveError::NoConfig { name: name.into(), path: path.clone(), cause })?;
        let mut dns = self.0.dns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, resolver)) = &*dns
            && *known == bytes
        {
            return Ok(resolver.clone());
        }
        let resolver = make(&bytes).map_err(|cause| ResolveError::BadConfig {
            name: name.into(),
            path: path.clone(),
            cause: cause.into(),
        })?;
        *dns = Some((bytes, resolver.clone()));
        Ok(resolver)
    }
}

#[allow(clippy::result_large_err)] // The library's own error.
fn make(resolv_conf: &[u8]) -> Result<TokioResolver, DnsError> {
    let (config, mut options) = parse_resolv_conf(resolv_conf)?;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The addresses that a hosts file gives to `name`, which is in lower case.
fn in_hosts(hosts: &[u8], name: &str) -> Vec<IpAddr> {
    let hosts = String::from_utf8_lossy(hosts);
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    hosts.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(hosts: &str) -> (tempfile::TempDir, Resolver) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hosts"), hosts).unwrap();
        let resolver = Resolver::from_files(dir.path().join("resolv.conf"), dir.path().join("hosts"));
        (dir, resolver)
    }

    #[tokio::test]
    async fn literals_localhost_and_hosts_need_no_dns() {
        let (_dir, resolver) =
            files("# 9.9.9.9 commented\n10.0.0.7\tDB.internal db # 9.9.9.9\nnonsense db\nfd00::7 db\n");
        let loopback: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(resolver.lookup("localhost").await.unwrap(), loopback);
        assert_eq!(resolver.lookup("x.LocalHost.").await.unwrap(), loopback);
        assert_eq!(resolver.lookup("[::1]").await.unwrap(), loopback[1..]);
        assert_eq!(resolver.lookup("192.0.2.1").await.unwrap()[0].to_string(), "192.0.2.1");
        assert_eq!(resolver.lookup("db.INTERNAL").await.unwrap()[0].to_string(), "10.0.0.7");
        assert_eq!(resolver.lookup("db").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_missing_resolv_conf_is_an_error_that_names_it() {
        let (dir, resolver) = files("");
        let error = resolver.lookup("example.com").await.unwrap_err();
        assert!(matches!(error, ResolveError::NoConfig { .. }), "{error}");
        assert!(error.to_string().contains("resolv.conf"), "{error}");
        std::fs::write(dir.path().join("resolv.conf"), "search example.com\n").unwrap();
        let error = resolver.lookup("example.com").await.unwrap_err();
        assert!(matches!(error, ResolveError::BadConfig { .. }), "{error}");
    }

    #[tokio::test]
    async fn resolv_conf_is_read_at_each_lookup() {
        let (dir, resolver) = files("");
        resolver.lookup("a.example").await.unwrap_err();
        // Nothing listens there.
        std::fs::write(dir.path().join("resolv.conf"), "nameserver 127.0.0.254\noptions timeout:1 attempts:1\n")
            .unwrap();
        let error = resolver.lookup("a.example").await.unwrap_err();
        assert!(matches!(error, ResolveError::Dns { .. } | ResolveError::Timeout { .. }), "{error}");
    }
}
