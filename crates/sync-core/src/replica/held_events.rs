use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::wire::event_payload::{Change, EntryKind};
use crate::{Revision, Time};

/// The most events that are held while hydrating or catching up.
const MAX_EVENTS: usize = 1_000;
/// The most bytes of content among them.
const MAX_BYTES: usize = 16 << 20;

/// Events that cannot be judged yet, by revision. When a bound is reached all of them are dropped: a catch-up reads the
/// same changes.
#[derive(Debug, Default)]
pub(crate) struct HeldEvents {
    by_revision: BTreeMap<Revision, HeldEvent>,
    /// Events without revision, in order of arrival.
    without_revision: Vec<HeldEvent>,
    bytes: usize,
}

/// An event with the time of its arrival.
#[derive(Debug)]
pub(crate) struct HeldEvent {
    pub change: Change,
    pub received: Time,
    /// A read was sent after its arrival: a gap that this read does not close, no read will close.
    read_since: bool,
}

impl HeldEvents {
    /// Holds a change. False: a bound was reached, and every held event is dropped, this one included.
    pub fn hold(&mut self, change: Change, received: Time) -> bool {
        let bytes = size_of_change(&change);
        if self.len() >= MAX_EVENTS || self.bytes.saturating_add(bytes) > MAX_BYTES {
            *self = HeldEvents::default();
            return false;
        }
        let event = HeldEvent { change, received, read_since: false };
        match event.change.revision {
            Some(revision) => {
                if let Entry::Vacant(free) = self.by_revision.entry(revision) {
                    free.insert(event);
                    self.bytes = self.bytes.saturating_add(bytes);
                }
            }
            None => {
                self.bytes = self.bytes.saturating_add(bytes);
                self.without_revision.push(event);
            }
        }
        true
    }

    pub fn len(&self) -> usize {
        self.by_revision.len().saturating_add(self.without_revision.len())
    }

    /// A read was sent that may close the gap.
    pub fn read_sent(&mut self) {
        self.by_revision.values_mut().for_each(|event| event.read_since = true);
    }

    /// The lowest revision, and whether a read was sent since its event arrived.
    pub fn first(&self) -> Option<(Revision, bool)> {
        self.by_revision.first_key_value().map(|(revision, event)| (*revision, event.read_since))
    }

    /// The highest revision that is held.
    pub fn last_revision(&self) -> Option<Revision> {
        self.by_revision.last_key_value().map(|(revision, _)| *revision)
    }

    pub fn take_first(&mut self) -> Option<HeldEvent> {
        let (_, event) = self.by_revision.pop_first()?;
        self.bytes = self.bytes.saturating_sub(size_of_change(&event.change));
        Some(event)
    }

    pub fn take_without_revision(&mut self) -> Vec<HeldEvent> {
        let events = std::mem::take(&mut self.without_revision);
        for event in &events {
            self.bytes = self.bytes.saturating_sub(size_of_change(&event.change));
        }
        events
    }
}

/// The bytes of a change's paths and contents.
fn size_of_change(change: &Change) -> usize {
    let content = |kind: &EntryKind| match kind {
        EntryKind::Update { content: Some(content), .. } => content.len(),
        EntryKind::Update { .. } | EntryKind::Delete => 0,
    };
    change
        .entries
        .iter()
        .map(|entry| entry.path.len().saturating_add(content(&entry.kind)))
        .fold(0, usize::saturating_add)
}
