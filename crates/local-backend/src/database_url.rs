use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;

/// The URL of a PostgreSQL database, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `key=value` words. `Debug` prints
/// nothing of it, because it has a password.
#[derive(Clone)]
pub struct DatabaseUrl {
    text: SecretString,
    config: Config,
}

/// The text is not the URL of a database. The error quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a PostgreSQL database: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
pub struct InvalidDatabaseUrl;

impl DatabaseUrl {
    /// The URL with its password, for another program that connects.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The parsed URL, whose `Debug` does not print the password either.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
        let config: Config = text.parse().map_err(|_| InvalidDatabaseUrl)?;
        match config.get_hosts().is_empty() {
            true => Err(InvalidDatabaseUrl),
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
    fn a_url_is_parsed_and_never_printed() {
        let url: DatabaseUrl = "postgres://me:hush@127.0.0.1:5433/shop".parse().expect("a URL");
        assert_eq!((url.config().get_user(), url.config().get_ports()), (Some("me"), &[5433][..]));
        assert!(url.expose().contains("hush"));
        assert!(!format!("{url:?} {:?}", url.config()).contains("hush"));
        for bad in ["", "hush", "http://me:hush@host/x", "postgres://me:hush@host:port/x"] {
            let error = bad.parse::<DatabaseUrl>().expect_err("not a URL");
            assert!(!error.to_string().contains("hush"));
        }
    }
}
