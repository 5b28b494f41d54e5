use std::fmt;

/// The settings of an agent (the contract, section 1). `Debug` leaves the secrets out.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// `PROJECT_ID`.
    pub project_id: String,
    /// `SESSION_ID`.
    pub session_id: String,
    /// `SUPABASE_URL`, base of `/realtime/v1`, `/rest/v1` and `/storage/v1`.
    pub supabase_url: String,
    /// `SUPABASE_ANON_KEY`: a legacy anon JWT, or a publishable key where the options ask for one.
    pub anon_key: String,
    /// `REALTIME_TOKEN`: a JWT of role `preview_agent`.
    pub realtime_token: String,
    /// `SNAPSHOT_URL`: signed.
    pub snapshot_url: String,
    /// `SESSION_URL`: where both are renewed.
    pub session_url: String,
}

impl AgentSettings {
    /// The settings of the contract's section 1 by their variables' names. Without a snapshot its variable is left out, and
    /// the agent reads the files from the database.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("PROJECT_ID", self.project_id.clone()),
            ("SESSION_ID", self.session_id.clone()),
            ("SNAPSHOT_URL", self.snapshot_url.clone()),
            ("REALTIME_TOKEN", self.realtime_token.clone()),
            ("SUPABASE_URL", self.supabase_url.clone()),
            ("SUPABASE_ANON_KEY", self.anon_key.clone()),
            ("SESSION_URL", self.session_url.clone()),
        ];
        settings.retain(|(_, value)| !value.is_empty());
        settings
    }
}

impl fmt::Debug for AgentSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentSettings")
            .field("project_id", &self.project_id)
            .field("session_id", &self.session_id)
            .field("supabase_url", &self.supabase_url)
            .field("session_url", &self.session_url)
            .finish_non_exhaustive()
    }
}
