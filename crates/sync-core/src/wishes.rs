use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use crate::wish::{Have, Pending};
use crate::{ProjectPath, Time};

/// The most bytes of content that wait in memory; beyond it content is let go and fetched again.
const MAX_CONTENT: usize = 64 << 20;

/// The newest wish of each path that is accepted and not yet on disk. What is to be done about them is found without a
/// look at each: there may be as many as a project has files, and each answer of a read changes one.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    all: BTreeMap<ProjectPath, Pending>,
    /// Without content, and not asking for it.
    hungry: Due,
    /// With all that it takes, by the group that they wait for.
    ready: BTreeMap<Option<u64>, Due>,
    /// Of each group, how many lack content.
    lacking: BTreeMap<u64, usize>,
    /// How many are to be seen to at each time: the hungry and the ready.
    times: BTreeMap<Time, usize>,
    troubled: usize,
    held_bytes: usize,
}

/// Paths by the time before which nothing is to be done about them.
type Due = BTreeMap<Time, BTreeSet<ProjectPath>>;

impl Wishes {
    pub fn get(&self, path: &ProjectPath) -> Option<&Pending> {
        self.all.get(path)
    }

    pub fn contains(&self, path: &ProjectPath) -> bool {
        self.all.contains_key(path)
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ProjectPath, &Pending)> {
        self.all.iter()
    }

    /// Puts it in place of the path's wish. Content that memory has no room for is let go.
    pub fn insert(&mut self, path: ProjectPath, mut pending: Pending) {
        self.remove(&path);
        // One file alone is always taken, however large.
        if self.held_bytes > 0 && self.held_bytes + pending.content.bytes() > MAX_CONTENT {
            pending.content = Have::Nothing;
        }
        self.list(&path, &pending);
        self.all.insert(path, pending);
    }

    /// Takes the wish out, with its content.
    pub fn remove(&mut self, path: &ProjectPath) -> Option<Pending> {
        let pending = self.all.remove(path)?;
        self.strike(path, &pending);
        Some(pending)
    }

    /// Changes the wish of `path`, if there is one.
    pub fn update<T>(&mut self, path: &ProjectPath, change: impl FnOnce(&mut Pending) -> T) -> Option<T> {
        let (path, mut pending) = self.all.remove_entry(path)?;
        self.strike(&path, &pending);
        let changed = change(&mut pending);
        self.list(&path, &pending);
        self.all.insert(path, pending);
        Some(changed)
    }

    /// Those that are to be fetched now, at most so many.
    pub fn hungry(&self, now: Time, most: usize) -> Vec<ProjectPath> {
        due(&self.hungry, now).take(most).cloned().collect()
    }

    /// Those that are to be written now, at most so many, in the order of their paths. Where a group still lacks content
    /// and is `patient`, none of it is.
    pub fn ready(&self, now: Time, patient: impl Fn(u64) -> bool, most: usize) -> Vec<ProjectPath> {
        let waits =
            |group: &Option<u64>| group.is_some_and(|group| self.lacking.contains_key(&group) && patient(group));
        let groups = self.ready.iter().filter(|(group, _)| !waits(group));
        let mut ready: Vec<_> = groups.flat_map(|(_, paths)| due(paths, now)).take(most).cloned().collect();
        ready.sort_unstable();
        ready
    }

    /// The next time after `now` at which one is to be seen to.
    pub fn next_after(&self, now: Time) -> Option<Time> {
        self.times.range((Excluded(now), Unbounded)).next().map(|(at, _)| *at)
    }

    /// Nothing waits any longer for its time.
    pub fn hurry(&mut self, now: Time) {
        let later: Vec<_> =
            self.all.iter().filter(|(_, pending)| pending.at > now).map(|(path, _)| path.clone()).collect();
        for path in later {
            self.update(&path, |pending| pending.at = now);
        }
    }

    /// Something failed and was not made good yet.
    pub fn has_trouble(&self) -> bool {
        self.troubled > 0
    }

    fn list(&mut self, path: &ProjectPath, pending: &Pending) {
        self.held_bytes += pending.content.bytes();
        self.troubled += usize::from(pending.trouble.is_some());
        if let (true, Some(group)) = (pending.lacks_content(), pending.origin.group) {
            *self.lacking.entry(group).or_default() += 1;
        }
        if let Some(due) = self.due_of(pending) {
            due.entry(pending.at).or_default().insert(path.clone());
            *self.times.entry(pending.at).or_default() += 1;
        }
    }

    fn strike(&mut self, path: &ProjectPath, pending: &Pending) {
        self.held_bytes -= pending.content.bytes();
        self.troubled -= usize::from(pending.trouble.is_some());
        if let (true, Some(group)) = (pending.lacks_content(), pending.origin.group) {
            count_down(&mut self.lacking, &group);
        }
        if let Some(due) = self.due_of(pending) {
            let left = due.get_mut(&pending.at).is_some_and(|paths| paths.remove(path) && !paths.is_empty());
            if !left {
                due.remove(&pending.at);
            }
            count_down(&mut self.times, &pending.at);
        }
        if self.ready.get(&pending.origin.group).is_some_and(Due::is_empty) {
            self.ready.remove(&pending.origin.group);
        }
    }

    /// The list that a wish belongs to; none while it waits for an answer.
    fn due_of(&mut self, pending: &Pending) -> Option<&mut Due> {
        match pending.content {
            _ if !pending.lacks_content() => Some(self.ready.entry(pending.origin.group).or_default()),
            Have::Nothing => Some(&mut self.hungry),
            Have::Asked(_) | Have::Content(_) => None,
        }
    }
}

fn due(due: &Due, now: Time) -> impl Iterator<Item = &ProjectPath> {
    due.range(..=now).flat_map(|(_, paths)| paths)
}

fn count_down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wish::{Origin, Want};
    use crate::{Content, ContentHash, ReadId};

    fn path(at: usize) -> ProjectPath {
        ProjectPath::parse(&format!("file{at}")).unwrap()
    }

    /// A wish of every kind, as `dice` say.
    fn wish(mut dice: impl FnMut(u64) -> u64) -> Pending {
        let hash = (dice(4) > 0).then(|| ContentHash::of(b"x"));
        let group = Some(dice(4)).filter(|group| *group > 0);
        let at = Time(Duration::from_secs(dice(5)));
        let want = Want { hash, size: None, version: None, revision: None };
        let origin = Origin { received: at, sent_at_ms: None, group };
        let mut pending = Pending::new(at, want, None, origin);
        pending.content = match dice(3) {
            0 => Have::Nothing,
            1 => Have::Asked(ReadId(dice(9))),
            _ => Have::Content(Content::Bytes(vec![0; dice(40) as usize * 1_000_000].into())),
        };
        pending.trouble = (dice(3) == 0).then(|| ("io", String::new()));
        pending
    }

    #[test]
    fn the_lists_say_what_a_look_at_each_wish_would() {
        let mut wishes = Wishes::default();
        let mut state = 7_u64;
        let mut dice = move |sides: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % sides
        };
        for step in 0..2_000 {
            let at = path(dice(12) as usize);
            match dice(4) {
                0 => drop(wishes.remove(&at)),
                1 => drop(wishes.update(&at, |pending| *pending = wish(&mut dice))),
                _ => wishes.insert(at, wish(&mut dice)),
            }
            if dice(50) == 0 {
                wishes.hurry(Time(Duration::from_secs(2)));
            }
            let now = Time(Duration::from_secs(dice(5)));
            let paths = |wanted: &dyn Fn(&Pending) -> bool| -> BTreeSet<ProjectPath> {
                wishes.iter().filter(|(_, pending)| wanted(pending)).map(|(path, _)| path.clone()).collect()
            };
            let hungry = |p: &Pending| p.lacks_content() && p.content == Have::Nothing;
            let patient = |group: u64| group != 2;
            let lacks = |group| wishes.iter().any(|(_, p)| p.origin.group == Some(group) && p.lacks_content());
            let waits = |p: &Pending| p.origin.group.is_some_and(|group| patient(group) && lacks(group));
            let ready = |p: &Pending| !p.lacks_content() && p.at <= now && !waits(p);
            let found: BTreeSet<_> = wishes.hungry(now, usize::MAX).into_iter().collect();
            assert_eq!(found, paths(&|p| hungry(p) && p.at <= now), "step {step}");
            let found: BTreeSet<_> = wishes.ready(now, patient, usize::MAX).into_iter().collect();
            assert_eq!(found, paths(&ready), "step {step}");
            let times = wishes.iter().filter(|(_, p)| hungry(p) || !p.lacks_content()).map(|(_, p)| p.at);
            assert_eq!(wishes.next_after(now), times.filter(|at| *at > now).min(), "step {step}");
            assert_eq!(wishes.has_trouble(), !paths(&|p| p.trouble.is_some()).is_empty(), "step {step}");
            let held: usize = wishes.iter().map(|(_, p)| p.content.bytes()).sum();
            assert_eq!(wishes.held_bytes, held, "step {step}");
        }
    }
}
