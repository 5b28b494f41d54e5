use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::options::ChannelRights;
use crate::token::Claims;

/// Whether the editor owns the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The editor owns the project.
    Kept,
    /// The editor has lost the project.
    Lost,
}

/// The rights of the database's policies, for a project in memory. There is one project and one editor, its owner.
#[derive(Debug, Clone)]
pub struct Rights {
    project_id: String,
    editor: String,
    channels: ChannelRights,
    lost: Arc<AtomicBool>,
}

impl Rights {
    pub fn new(project_id: &str, editor: &str, channels: ChannelRights) -> Rights {
        Rights { project_id: project_id.into(), editor: editor.into(), channels, lost: Arc::default() }
    }

    pub fn project_id(&self) -> &str {
        &self.project_id
    }

    /// The editor's user id.
    pub fn editor(&self) -> &str {
        &self.editor
    }

    pub fn set_ownership(&self, ownership: Ownership) {
        self.lost.store(ownership == Ownership::Lost, Ordering::Relaxed);
    }

    /// May read the project's files: its agent, its editor and the service.
    pub fn may_read(&self, claims: &Claims) -> bool {
        self.is_agent(claims) || self.may_write(claims)
    }

    /// May write the project's files: its editor and the service.
    pub fn may_write(&self, claims: &Claims) -> bool {
        is_service(claims) || self.is_editor(claims)
    }

    /// May join the private channel `topic` (without `realtime:`): agent and editor only the project's two topics.
    pub fn may_join(&self, claims: &Claims, topic: &str) -> bool {
        let own = self.is_project_topic(topic) || self.is_status_topic(topic);
        is_service(claims) || own && (self.is_agent(claims) || self.is_editor(claims))
    }

    /// May broadcast on `topic`. A sender can forge every event on a topic, so the agent has only the status topic.
    pub fn may_broadcast(&self, claims: &Claims, topic: &str) -> bool {
        is_service(claims)
            || self.is_agent(claims) && self.is_status_topic(topic)
            || self.channels == ChannelRights::EditorSends && self.is_editor(claims) && self.may_join(claims, topic)
    }

    /// May track presence on `topic`.
    pub fn may_track(&self, claims: &Claims, topic: &str) -> bool {
        is_service(claims)
            || self.channels == ChannelRights::EditorSends && self.is_editor(claims) && self.may_join(claims, topic)
    }

    /// Whether this user owns the project.
    pub fn owns(&self, user: &str) -> bool {
        user == self.editor && !self.lost.load(Ordering::Relaxed)
    }

    fn is_agent(&self, claims: &Claims) -> bool {
        claims.role() == "preview_agent" && claims.text("project_id") == Some(&self.project_id)
    }

    fn is_editor(&self, claims: &Claims) -> bool {
        claims.role() == "authenticated" && claims.text("sub").is_some_and(|user| self.owns(user))
    }

    fn is_project_topic(&self, topic: &str) -> bool {
        topic.strip_prefix("project:") == Some(&self.project_id)
    }

    fn is_status_topic(&self, topic: &str) -> bool {
        topic.strip_suffix(":status").is_some_and(|topic| self.is_project_topic(topic))
    }
}

fn is_service(claims: &Claims) -> bool {
    claims.role() == "service_role"
}
