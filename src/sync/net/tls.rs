use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::NetError;

/// The most that is read of a PEM file, in bytes: more than all public CAs together.
const MAX_CA_FILE: u64 = 4 << 20;

/// The TLS configuration, without ALPN, which each client adds.
pub(super) fn config(extra_ca: Option<&Path>) -> Result<ClientConfig, NetError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_ca {
        add(&mut roots, path)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(NetError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), NetError> {
    let unreadable = |cause| NetError::ReadCa { path: path.into(), cause };
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_CA_FILE).read_to_end(&mut pem).map_err(unreadable)?;
    let mut number = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        number = number.saturating_add(1);
        let damaged = |cause: String| NetError::BadCa { path: path.into(), number, cause };
        let certificate = certificate.map_err(|error| damaged(error.to_string()))?;
        roots.add(certificate).map_err(|error| damaged(error.to_string()))?;
    }
    if number == 0 { Err(NetError::NoCa { path: path.into() }) } else { Ok(()) }
}
