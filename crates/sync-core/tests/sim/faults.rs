//! What a seed decides: the kind of database, channel and agent, and how often each fault is injected.

use std::time::Duration;

use sync_core::wire::ProtocolVersion;

use crate::random::Random;

/// How often each fault is injected, in percent of its occasions. Zero: never.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Events lost, sent twice, sent late.
    pub drop: u64,
    pub double: u64,
    pub delay: u64,
    /// The socket ends, or only the channel.
    pub cut: u64,
    /// Joined, and nothing of the database arrives.
    pub stalled: u64,
    /// The network hangs without a reset.
    pub silent: u64,
    /// Upgrades and joins refused, or never answered.
    pub refuse: u64,
    /// Reads refused, malformed, and answered late while the database changes.
    pub reads: u64,
    pub slow: u64,
    /// Content that does not match its hash.
    pub wrong_bytes: u64,
    /// Single operations, the whole disk full for a while, one path that cannot be written for a while.
    pub disk: u64,
    pub full: u64,
    pub stuck: u64,
    /// Events without revision, with wrong content, frames of garbage.
    pub malformed: u64,
    /// Senders that send an event before they save, or without saving.
    pub provisional: u64,
    /// Tombstones and old versions are pruned.
    pub prune: u64,
    /// A commit can be read only some time after its event.
    pub late_commit: u64,
    /// A backup is restored.
    pub restore: u64,
    /// The stored digest is wrong for a while.
    pub digest: u64,
    /// The machine is suspended.
    pub suspend: u64,
    /// The agent is killed: at any time, and between two operations of a batch.
    pub crash: u64,
    pub torn: u64,
    /// Renewals fail one by one, and for so long that tokens expire.
    pub renewal: u64,
    pub no_renewals: u64,
}

impl Faults {
    /// Of the fields above, how many a seed has at least; more than five kinds are injected then.
    const LEAST: usize = 9;

    pub fn of(seed: u64, setting: &Setting) -> Faults {
        let mut random = Random::new(seed ^ 0xfa17);
        loop {
            let faults = Faults::draw(&mut random, setting);
            if faults.fields() >= Faults::LEAST {
                return faults;
            }
        }
    }

    fn draw(random: &mut Random, setting: &Setting) -> Faults {
        let mut some = |most: u64| if random.percent(60) { random.below(most + 1) } else { 0 };
        let mut faults = Faults {
            drop: some(30),
            double: some(30),
            delay: some(50),
            cut: some(4),
            stalled: some(3),
            silent: some(2),
            refuse: some(40),
            reads: some(40),
            slow: some(60),
            wrong_bytes: some(10),
            disk: some(40),
            full: some(2),
            stuck: some(3),
            malformed: some(5),
            provisional: some(15),
            prune: some(3),
            restore: some(2),
            late_commit: 0,
            digest: some(2),
            suspend: some(2),
            crash: some(1),
            torn: some(3),
            renewal: some(50),
            no_renewals: some(2),
        };
        // Drawn last, so that the other faults of a seed stay what they were.
        faults.late_commit = if random.percent(50) { 1 + random.below(30) } else { 0 };
        if setting.age != Age::New {
            // A restored backup whose head has passed ours again is found by the digest alone.
            faults.restore = 0;
            faults.digest = 0;
        }
        if setting.age.is_legacy() {
            // Versions decide there: without tombstones in the database they would begin again.
            faults.prune = 0;
        }
        faults
    }

    fn fields(&self) -> usize {
        let network = [self.drop, self.double, self.delay, self.cut, self.stalled, self.silent, self.refuse];
        let database =
            [self.reads, self.slow, self.wrong_bytes, self.prune, self.restore, self.digest, self.late_commit];
        let senders = [self.malformed, self.provisional];
        let machine = [self.disk, self.full, self.stuck, self.suspend, self.crash, self.torn];
        let session = [self.renewal, self.no_renewals];
        let all = [&network[..], &database[..], &senders[..], &machine[..], &session[..]];
        all.into_iter().flatten().filter(|chance| **chance > 0).count()
    }
}

/// Which functions the database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// All of them.
    New,
    /// No `project_head` and no digests: what the replica gets wrong stays wrong.
    NoDigest,
    /// Only `list_current_files`.
    Legacy,
    /// As `Legacy`, until it is migrated in the middle.
    Migrated,
}

impl Age {
    pub fn is_legacy(self) -> bool {
        matches!(self, Age::Legacy | Age::Migrated)
    }
}

/// What stays so for the whole of a seed.
#[derive(Debug, Clone)]
pub struct Setting {
    pub age: Age,
    pub protocol: ProtocolVersion,
    /// A private channel with a JWT; else the legacy envelope token on a public one.
    pub private: bool,
    pub can_renew: bool,
    /// Every token's life.
    pub token_life: Duration,
    /// Rows come as nudges beside the events.
    pub postgres_changes: bool,
    /// There are no events at all, only rows.
    pub mute: bool,
    pub publish_status: bool,
    /// Percent of the transactions whose sender knows no revisions.
    pub no_revision: u64,
}

impl Setting {
    pub fn of(seed: u64) -> Setting {
        let mut random = Random::new(seed ^ 0x5e77);
        let age = match random.below(100) {
            0..=44 => Age::New,
            45..=84 => Age::NoDigest,
            85..=94 => Age::Legacy,
            _ => Age::Migrated,
        };
        let private = random.percent(80);
        let can_renew = private || random.percent(50);
        let postgres_changes = random.percent(35);
        Setting {
            age,
            protocol: if random.percent(30) { ProtocolVersion::V1 } else { ProtocolVersion::V2 },
            private,
            can_renew,
            // What cannot be renewed outlives the seed.
            token_life: Duration::from_secs(if can_renew { 60 + random.below(300) } else { 10_000_000 }),
            postgres_changes,
            mute: postgres_changes && random.percent(20),
            publish_status: random.percent(20),
            // Broadcasts on a public channel are those of legacy clients.
            no_revision: match (age.is_legacy(), private) {
                (true, _) => 100,
                (false, false) => 50,
                (false, true) if random.percent(20) => random.below(40),
                (false, true) => 0,
            },
        }
    }

    /// Names of the unusual settings, for the summary.
    pub fn names(&self) -> Vec<&'static str> {
        let age = match self.age {
            Age::New => "all functions",
            Age::NoDigest => "no digests",
            Age::Legacy => "older database",
            Age::Migrated => "migrated database",
        };
        let mut names = vec![age];
        let mut add = |is: bool, name| names.extend(is.then_some(name));
        add(self.protocol == ProtocolVersion::V1, "protocol 1.0.0");
        add(!self.private, "public channel");
        add(!self.can_renew, "no renewal");
        add(self.postgres_changes, "postgres_changes");
        add(self.mute, "no events");
        add(self.publish_status, "status published");
        add(self.no_revision > 0, "senders without revisions");
        names
    }
}
