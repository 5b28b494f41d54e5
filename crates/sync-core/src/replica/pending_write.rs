use std::time::Duration;

use super::visibility::MissingVersion;
use crate::{Backoff, Content, ContentHash, PendingReason, ReadId, Revision, Time, Version};

/// Waits between attempts after a failure. The first is short: often only the order of operations was unlucky.
const RETRY_LEAST: Duration = Duration::from_millis(50);
const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// The state that a path is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TargetState {
    /// The hash of the content; `None`: no file.
    pub hash: Option<ContentHash>,
    /// In bytes, where known.
    pub size: Option<u64>,
    pub version: Option<Version>,
    pub revision: Option<Revision>,
}

/// Where a pending write came from, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub received: Time,
    pub sent_at_ms: Option<u64>,
    pub group: Option<u64>,
}

/// A path that was accepted and is not on disk yet.
#[derive(Debug)]
pub(crate) struct PendingWrite {
    pub target: TargetState,
    pub content: ContentState,
    pub origin: Origin,
    /// Nothing is done about it before this time.
    pub not_before: Time,
    /// The server asked for no attempt before this time.
    pub earliest: Time,
    /// Its version is not readable yet.
    pub missing_version: Option<MissingVersion>,
    /// The last failure, until the path is on disk.
    pub failure: Option<WriteFailure>,
    pub backoff: Backoff,
    /// The hash of the last content that was read and did not match.
    pub mismatched_hash: Option<ContentHash>,
    /// Its content is known to be in storage.
    pub in_storage: bool,
}

/// Why a fetch or a write of a path failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WriteFailure {
    pub reason: PendingReason,
    pub error: String,
}

/// Whether the content of a pending write is at hand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ContentState {
    Missing,
    Requested(ReadId),
    Available(Content),
}

/// The paths of one change: they are written together, and logged as one.
#[derive(Debug)]
pub(crate) struct Group {
    pub revision: Option<Revision>,
    pub kind: GroupKind,
    /// Until then the group waits for content that has to be fetched.
    pub wait_until: Time,
    pub files: usize,
    pub remaining: usize,
    pub changed: usize,
}

/// What a group is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupKind {
    /// An event with a list of files: logged as a bulk.
    Bulk,
    /// Rows of a listing that have one revision.
    Listing,
}

impl PendingWrite {
    pub fn new(now: Time, target: TargetState, content: Option<Content>, origin: Origin) -> PendingWrite {
        PendingWrite {
            target,
            content: content.map_or(ContentState::Missing, ContentState::Available),
            origin,
            not_before: now,
            earliest: now,
            missing_version: None,
            failure: None,
            backoff: Backoff::new(RETRY_LEAST, RETRY_BASE, RETRY_CAP),
            mismatched_hash: None,
            in_storage: false,
        }
    }

    /// Whether it is a write whose content is not at hand.
    pub fn lacks_content(&self) -> bool {
        self.target.hash.is_some() && !matches!(self.content, ContentState::Available(_))
    }
}

impl ContentState {
    /// Bytes of content in memory.
    pub fn bytes(&self) -> usize {
        match self {
            ContentState::Available(Content::Bytes(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}
