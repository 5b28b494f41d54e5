use serde::{Serialize, Serializer};

use super::{FaultReason, Upstream};

/// The dev server's state in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevServerState {
    /// The files are not on disk yet.
    #[default]
    Waiting,
    /// The package manager runs, and no dev server beside it.
    Installing,
    /// Started, no HTTP answer yet.
    Starting,
    /// It answers.
    Serving,
    /// It ended and will be started again.
    Restarting,
    /// The restart budget is spent; the next edit tries again.
    GaveUp,
    /// It was stopped because the agent ends.
    Stopped,
}

impl DevServerState {
    /// All states.
    pub const ALL: [DevServerState; 7] = [
        DevServerState::Waiting,
        DevServerState::Installing,
        DevServerState::Starting,
        DevServerState::Serving,
        DevServerState::Restarting,
        DevServerState::GaveUp,
        DevServerState::Stopped,
    ];

    /// The code in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            DevServerState::Waiting => "waiting",
            DevServerState::Installing => "installing",
            DevServerState::Starting => "starting",
            DevServerState::Serving => "serving",
            DevServerState::Restarting => "restarting",
            DevServerState::GaveUp => "gave_up",
            DevServerState::Stopped => "stopped",
        }
    }
}

impl Serialize for DevServerState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The state at one moment. Cheap to make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DevServerStatus {
    /// The state in its life.
    pub state: DevServerState,
    /// Process id of the running dev server.
    pub pid: Option<u32>,
    /// Where it answers, once it has answered. None where it is the preview port itself.
    pub upstream: Option<Upstream>,
    /// Starts after the first.
    pub restarts: u64,
    /// The package manager runs, with or without a dev server beside it.
    pub installing: bool,
    /// How the last dev server ended.
    pub last_exit: Option<LastExit>,
    /// Why it does not serve, or what is wrong although it serves (a failed install, a broken configuration).
    pub reason: Option<FaultReason>,
    /// The reason in words.
    pub detail: Option<String>,
    /// The command line of the running dev server.
    pub command: Option<String>,
    /// When it entered this state, in Unix milliseconds.
    pub since_unix_ms: u64,
    /// Milliseconds from files on disk to the first start, without the install.
    pub first_start_ms: Option<u64>,
}

/// How a dev server ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastExit {
    /// Its exit status, where it was not ended by a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it ended.
    pub reason: FaultReason,
    /// The reason in words.
    pub detail: String,
    /// When it ended, in Unix milliseconds.
    pub at_unix_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_serialized() {
        for state in DevServerState::ALL {
            assert_eq!(DevServerState::ALL.iter().filter(|other| other.as_str() == state.as_str()).count(), 1);
            assert_eq!(serde_json::to_value(state).expect("JSON"), state.as_str());
        }
        for reason in FaultReason::ALL {
            assert_eq!(FaultReason::ALL.iter().filter(|other| other.as_str() == reason.as_str()).count(), 1);
            assert_eq!(serde_json::to_value(reason).expect("JSON"), reason.as_str());
        }
    }
}
