//! What tells the console's owner from the other users of the machine, who reach the same loopback.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest, Sha256};

use crate::dev::scratch::cache;

/// Hex digits of a key.
const DIGITS: usize = 32;
/// The longest nonce that is answered.
const MAX_NONCE: usize = 64;

/// The key: it stands behind the `#` of the address that is printed, which no browser sends anywhere.
#[derive(Debug, Clone)]
pub struct Key(SecretString);

impl Key {
    /// The user's own, the same at each run so that an open page outlives a restart: made at the first run, readable by
    /// the user alone. Where it cannot be kept there is one for this run.
    pub fn of_user(environment: &BTreeMap<String, String>) -> Key {
        let place = cache(environment).join("preview-agent").join("console-key");
        let kept = read(&place).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData => make(&place),
            _ => Err(error),
        });
        kept.unwrap_or_else(|error| {
            tracing::debug!(%error, "the console's key is not kept in {}", place.display());
            Key(random().into())
        })
    }

    /// The address that opens the console at `url`.
    pub fn address(&self, url: &str) -> String {
        format!("{url}#key={}", self.0.expose_secret())
    }

    /// Whether `given` is it. The time taken says nothing about it.
    pub fn is(&self, given: &str) -> bool {
        Sha256::digest(self.0.expose_secret()) == Sha256::digest(given)
    }

    /// Shows a page that this is who it had its key from, before it sends that: whoever took the port meanwhile cannot
    /// answer, nor ask another console, since `host` is each one's own.
    pub fn proof(&self, host: &str, nonce: &str) -> Option<String> {
        let fits = !nonce.is_empty() && nonce.len() <= MAX_NONCE && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digest = || Sha256::digest(format!("{}\n{host}\n{nonce}", self.0.expose_secret()));
        fits.then(|| hex(&digest()))
    }
}

/// `InvalidData` for one that others could have read or written.
fn read(place: &Path) -> io::Result<Key> {
    let about = fs::symlink_metadata(place)?;
    let text = fs::read_to_string(place)?;
    let own = about.is_file() && about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o077 == 0;
    let whole = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if own && whole { Ok(Key(text.into())) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn make(place: &Path) -> io::Result<Key> {
    let dir = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    let text = random();
    file.write_all(text.as_bytes())?;
    file.persist(place)?;
    Ok(Key(text.into()))
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_the_users_own_from_run_to_run_and_nobody_elses_to_read() {
        let home = tempfile::tempdir().unwrap();
        let environment = BTreeMap::from([("XDG_CACHE_HOME".to_owned(), home.path().display().to_string())]);
        let place = home.path().join("preview-agent/console-key");
        let first = Key::of_user(&environment);
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o600);
        assert!(first.is(&fs::read_to_string(&place).unwrap()) && !first.is("") && !first.is("0"));
        assert_eq!(Key::of_user(&environment).address("x"), first.address("x"));
        // One that others could have read is no longer one.
        fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
        let second = Key::of_user(&environment);
        assert_ne!(second.address("x"), first.address("x"));
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o600);
        fs::write(&place, "short").unwrap();
        assert_ne!(Key::of_user(&environment).address("x"), second.address("x"));
    }

    #[test]
    fn a_proof_is_of_one_console_and_one_nonce() {
        let key = Key("k".into());
        assert_eq!(key.proof("h:1", "00").unwrap(), hex(&Sha256::digest("k\nh:1\n00")));
        assert_ne!(key.proof("h:2", "00"), key.proof("h:1", "00"));
        assert!(
            key.proof("h:1", "").is_none()
                && key.proof("h:1", "x\n").is_none()
                && key.proof("h:1", &"0".repeat(65)).is_none()
        );
    }
}
