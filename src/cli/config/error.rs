/// Why nothing was started: exit status 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A setting that must be there.
    #[error("{setting} is required; see --help")]
    Missing {
        /// Its name.
        setting: &'static str,
    },
    /// A setting that cannot be used. `why` never holds a secret.
    #[error("{setting}: {why}")]
    Invalid {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The container must not hold one.
    #[error("{variable} holds a service key, which must never be in a preview container; remove it")]
    ServiceKey {
        /// Where it was found.
        variable: String,
    },
    /// Neither a snapshot nor a database.
    #[error("nothing to hydrate from: set SNAPSHOT_URL (or --snapshot), or SUPABASE_URL and REALTIME_TOKEN")]
    NothingToHydrateFrom,
}
