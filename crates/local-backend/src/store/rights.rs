use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::token::Claims;

/// Who may do what, as the database's policies have it. One project, and one editor, who owns it.
#[derive(Debug, Clone)]
pub struct Rights {
    pub project_id: String,
    pub editor: String,
    /// The editor has lost the project.
    pub lost: Arc<AtomicBool>,
}

impl Rights {
    /// Reads the project's files: its agent and its editor.
    pub fn may_read(&self, claims: &Claims) -> bool {
        self.is_agent(claims) || self.may_write(claims)
    }

    /// Writes them: its editor.
    pub fn may_write(&self, claims: &Claims) -> bool {
        claims.role() == "service_role" || self.is_editor(claims)
    }

    /// Joins the private channel `topic` (named without `realtime:`): the agent only its project's two.
    pub fn may_join(&self, claims: &Claims, topic: &str) -> bool {
        let own = self.is_project_topic(topic) || self.is_status_topic(topic);
        claims.role() == "service_role" || own && (self.is_agent(claims) || self.is_editor(claims))
    }

    /// Sends on it: the agent only on the status topic, since who sends on a topic may forge every event of it.
    pub fn may_send(&self, claims: &Claims, topic: &str) -> bool {
        self.may_join(claims, topic) && (!self.is_agent(claims) || self.is_status_topic(topic))
    }

    fn is_agent(&self, claims: &Claims) -> bool {
        claims.role() == "preview_agent" && claims.text("project_id") == Some(&self.project_id)
    }

    fn is_editor(&self, claims: &Claims) -> bool {
        claims.role() == "authenticated" && claims.text("sub").is_some_and(|person| self.owns(person))
    }

    /// Whether that person is the editor, and still may.
    pub fn owns(&self, person: &str) -> bool {
        person == self.editor && !self.lost.load(Ordering::Relaxed)
    }

    fn is_project_topic(&self, topic: &str) -> bool {
        topic.strip_prefix("project:") == Some(&self.project_id)
    }

    fn is_status_topic(&self, topic: &str) -> bool {
        topic.strip_suffix(":status").is_some_and(|topic| self.is_project_topic(topic))
    }
}
