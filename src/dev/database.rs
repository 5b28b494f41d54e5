use std::convert::Infallible;

use clap::Args;
use local_backend::DatabaseUrl;
use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::exit::Exit;

/// Where the project lives.
#[derive(Debug, Clone, Args)]
pub struct DatabaseArgs {
    /// Keep the project in this PostgreSQL (postgres://USER:PASSWORD@HOST:PORT/DATABASE) instead of in memory
    ///
    /// The server must be PostgreSQL 15 or newer with wal_level = logical, and the user its superuser, or the owner of a
    /// Supabase project's database. What is missing in the database is made: stand-ins for Supabase's own roles and
    /// schemas, the migrations, the project. It stays there; a folder's files are saved over it at the next start.
    /// Other users of this machine see flags: the variable hides the password.
    #[arg(long, env = "PREVIEW_DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub database_url: Option<SecretString>,
}

impl DatabaseArgs {
    /// The address, or the one line that says that it is none. That line does not quote it.
    pub fn url(&self) -> Result<Option<DatabaseUrl>, Exit> {
        let url = self.database_url.as_ref().map(|url| url.expose_secret().parse());
        url.transpose().map_err(|error| Exit::usage(format!("--database-url (PREVIEW_DATABASE_URL): {error}")))
    }
}

/// Never fails: clap would quote what it refuses.
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}
