use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;

/// Where a PostgreSQL is and how to sign in there: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `key=value` words.
/// It holds a password, so it does not print.
#[derive(Clone)]
pub struct DatabaseUrl {
    text: SecretString,
    config: Config,
}

/// Why text is no address of a database. It quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an address of a PostgreSQL database, postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
pub struct NoDatabaseUrl;

impl DatabaseUrl {
    /// The address as it was written, password included: for another program that is to connect.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// What it says, taken apart. It does not print its password either.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl FromStr for DatabaseUrl {
    type Err = NoDatabaseUrl;

    fn from_str(text: &str) -> Result<DatabaseUrl, NoDatabaseUrl> {
        let config: Config = text.parse().map_err(|_| NoDatabaseUrl)?;
        match config.get_hosts().is_empty() {
            true => Err(NoDatabaseUrl),
            false => Ok(DatabaseUrl { text: text.into(), config }),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_never_printed() {
        let url: DatabaseUrl = "postgres://me:hush@127.0.0.1:5433/shop".parse().expect("an address");
        assert_eq!((url.config().get_user(), url.config().get_ports()), (Some("me"), &[5433][..]));
        assert!(url.expose().contains("hush"));
        assert!(!format!("{url:?} {:?}", url.config()).contains("hush"));
        for bad in ["", "hush", "http://me:hush@host/x", "postgres://me:hush@host:port/x"] {
            let error = bad.parse::<DatabaseUrl>().expect_err("no address");
            assert!(!error.to_string().contains("hush"));
        }
    }
}
