use std::time::Duration;

use crate::backoff::Backoff;
use crate::{Content, ContentHash, ReadId, Revision, Time, Version};

/// Waits between attempts at what failed. The first is short: often only an order of operations was unlucky.
const RETRY_LEAST: Duration = Duration::from_millis(50);
const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// What a path should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Want {
    /// None: no file.
    pub hash: Option<ContentHash>,
    pub size: Option<u64>,
    pub version: Option<Version>,
    pub revision: Option<Revision>,
}

/// Where a wish came from, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub received: Time,
    pub sent_at_ms: Option<u64>,
    pub group: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub want: Want,
    pub content: Have,
    pub origin: Origin,
    /// Not before.
    pub at: Time,
    pub trouble: Option<(&'static str, String)>,
    pub backoff: Backoff,
    /// What the last read that disagreed with its hash hashed to.
    pub wrong: Option<ContentHash>,
    /// Its content is known to lie in storage.
    pub in_storage: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Have {
    Nothing,
    Asked(ReadId),
    Content(Content),
}

/// The paths of one change, for its patience and its log line.
#[derive(Debug)]
pub(crate) struct Group {
    pub revision: Option<Revision>,
    pub bulk: bool,
    pub patient_until: Time,
    pub files: usize,
    pub left: usize,
    pub changed: usize,
}

impl Pending {
    pub fn new(now: Time, want: Want, content: Option<Content>, origin: Origin) -> Pending {
        Pending {
            want,
            content: content.map_or(Have::Nothing, Have::Content),
            origin,
            at: now,
            trouble: None,
            backoff: Backoff::new(RETRY_LEAST, RETRY_BASE, RETRY_CAP),
            wrong: None,
            in_storage: false,
        }
    }

    /// A write whose content is not there.
    pub fn lacks_content(&self) -> bool {
        self.want.hash.is_some() && !matches!(self.content, Have::Content(_))
    }
}

impl Have {
    /// Of content in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Have::Content(Content::Bytes(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}
