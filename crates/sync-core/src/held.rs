use std::collections::BTreeMap;

use crate::change::{Change, EntryKind};
use crate::{Revision, Time};

/// The most events that are held while hydrating or catching up.
const MAX_EVENTS: usize = 1_000;
/// The most bytes of content among them.
const MAX_BYTES: usize = 16 << 20;

/// Events that cannot be judged yet, by revision. When a bound is hit all are forgotten: a catch-up reads what they
/// would have said.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_revision: BTreeMap<Revision, HeldEvent>,
    /// Without revision, in order of arrival.
    others: Vec<HeldEvent>,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct HeldEvent {
    pub change: Change,
    pub received: Time,
    /// A read was sent while it was held: what that read does not close, no read will.
    pub read_since: bool,
}

impl Held {
    /// False: a bound was hit and everything, this one included, is forgotten.
    pub fn hold(&mut self, change: Change, received: Time) -> bool {
        let bytes = bytes_of(&change);
        if self.len() >= MAX_EVENTS || self.bytes + bytes > MAX_BYTES {
            *self = Held::default();
            return false;
        }
        let event = HeldEvent { change, received, read_since: false };
        match event.change.revision {
            Some(revision) => {
                if let std::collections::btree_map::Entry::Vacant(free) = self.by_revision.entry(revision) {
                    free.insert(event);
                    self.bytes += bytes;
                }
            }
            None => {
                self.bytes += bytes;
                self.others.push(event);
            }
        }
        true
    }

    pub fn len(&self) -> usize {
        self.by_revision.len() + self.others.len()
    }

    /// A read that may close the gap is under way.
    pub fn read_sent(&mut self) {
        self.by_revision.values_mut().for_each(|event| event.read_since = true);
    }

    /// The event with the lowest revision.
    pub fn first(&self) -> Option<(Revision, bool)> {
        self.by_revision.first_key_value().map(|(revision, event)| (*revision, event.read_since))
    }

    pub fn take_first(&mut self) -> Option<HeldEvent> {
        let (_, event) = self.by_revision.pop_first()?;
        self.bytes -= bytes_of(&event.change);
        Some(event)
    }

    pub fn take_others(&mut self) -> Vec<HeldEvent> {
        let others = std::mem::take(&mut self.others);
        self.bytes -= others.iter().map(|event| bytes_of(&event.change)).sum::<usize>();
        others
    }
}

fn bytes_of(change: &Change) -> usize {
    let content = |kind: &EntryKind| match kind {
        EntryKind::Update { content: Some(content), .. } => content.len(),
        _ => 0,
    };
    change.entries.iter().map(|entry| entry.path.len() + content(&entry.kind)).sum()
}
