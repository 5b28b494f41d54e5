//! One run of a package manager, and what is tried after it failed.

use super::InstallFailure;
use super::report::Report;
use crate::dependencies::Candidate;
use crate::dependencies::manager::{LockUse, Manager};

/// How a package manager is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) lock: LockUse,
    pub(super) peers: PeerCheck,
    pub(super) builds: BuildScripts,
    pub(super) start: StartTree,
}

/// Whether packages must fit the versions that other packages name as their peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerCheck {
    Strict,
    /// As npm did before version 7.
    Off,
}

/// Whose install scripts pnpm runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BuildScripts {
    /// Those of the packages that the project lists.
    Listed,
    All,
}

/// The tree that an install begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartTree {
    /// A copy of the tree that is there, so that only the difference is installed.
    Old,
    Empty,
}

/// What to do after a run that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Run the same manager in another way. The text says why, for the log.
    Again(Attempt, String),
    /// Another manager may be able to. The text says why.
    OtherManager(String),
    /// Nothing else would help.
    Fail,
}

impl Attempt {
    pub(super) fn first(way: Candidate, start: StartTree) -> Attempt {
        let lock = match (way.lock, start) {
            (None, _) => LockUse::Ignored,
            // A frozen install of npm removes the tree first. The lock file counts all the same.
            (Some(_), StartTree::Old) => LockUse::Loose,
            (Some(_), StartTree::Empty) => LockUse::Frozen,
        };
        Attempt { lock, peers: PeerCheck::Strict, builds: BuildScripts::Listed, start }
    }

    /// The arguments of `manager`.
    pub(super) fn arguments(self, manager: Manager) -> Vec<&'static str> {
        let mut arguments = manager.arguments(self.lock).to_vec();
        if self.peers == PeerCheck::Off {
            arguments.push("--legacy-peer-deps");
        }
        if self.builds == BuildScripts::All {
            arguments.push("--config.dangerouslyAllowAllBuilds=true");
        }
        arguments
    }

    /// What to do after this attempt failed with `report`.
    pub(super) fn after(self, way: Candidate, report: &Report) -> Next {
        let manager = way.manager;
        let name = manager.name();
        let reason = &report.reason;
        match report.failure {
            InstallFailure::LockFile => self.after_lock_file(way, reason),
            InstallFailure::VersionConflict if manager == Manager::Npm && self.peers == PeerCheck::Strict => {
                let text = format!("installing without strict peer dependencies: {reason}");
                Next::Again(Attempt { peers: PeerCheck::Off, ..self }, text)
            }
            InstallFailure::BuildsIgnored if self.builds == BuildScripts::Listed => {
                let text = format!("installing with the install scripts of all packages: {reason}");
                Next::Again(Attempt { builds: BuildScripts::All, ..self }, text)
            }
            InstallFailure::HostUnreachable if way.lock.is_some() => {
                Next::OtherManager(format!("{name} cannot reach a host that {} names: {reason}", way.asked_for_by()))
            }
            failure if failure.needs_edit() => Next::Fail,
            _ if self.start == StartTree::Old => {
                let text = format!("{name} could not continue from the old packages, installing all: {reason}");
                Next::Again(Attempt { start: StartTree::Empty, ..self }, text)
            }
            InstallFailure::Failed if manager != Manager::Npm => Next::OtherManager(format!("{name} failed: {reason}")),
            _ => Next::Fail,
        }
    }

    fn after_lock_file(self, way: Candidate, reason: &str) -> Next {
        let file = way.asked_for_by();
        let again = |lock| Next::Again(Attempt { lock, ..self }, format!("installing by package.json: {reason}"));
        match self.lock {
            LockUse::Frozen => again(LockUse::Loose),
            LockUse::Loose => again(LockUse::Ignored),
            LockUse::Ignored => Next::OtherManager(format!("{file} cannot be used: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependencies::ChosenBy;

    fn way(manager: Manager, lock: Option<&'static str>) -> Candidate {
        Candidate { manager, lock, chosen_by: ChosenBy::LockFile }
    }

    fn report(failure: InstallFailure) -> Report {
        Report { failure, reason: "it says so".into() }
    }

    #[test]
    fn each_class_of_failure_has_its_own_next_step() {
        let npm = way(Manager::Npm, Some("package-lock.json"));
        let first = Attempt::first(npm, StartTree::Empty);
        let again = |next: Next| match next {
            Next::Again(attempt, _) => attempt,
            other => panic!("{other:?}"),
        };
        let loose = again(first.after(npm, &report(InstallFailure::LockFile)));
        assert_eq!((first.lock, loose.lock), (LockUse::Frozen, LockUse::Loose));
        let ignored = again(loose.after(npm, &report(InstallFailure::LockFile)));
        assert!(matches!(ignored.after(npm, &report(InstallFailure::LockFile)), Next::OtherManager(_)));
        let legacy = again(first.after(npm, &report(InstallFailure::VersionConflict)));
        assert!(legacy.arguments(Manager::Npm).contains(&"--legacy-peer-deps"));
        assert_eq!(legacy.after(npm, &report(InstallFailure::VersionConflict)), Next::Fail);
        assert!(matches!(first.after(npm, &report(InstallFailure::HostUnreachable)), Next::OtherManager(_)));
        let by_package = way(Manager::Npm, None);
        let unlocked = Attempt::first(by_package, StartTree::Empty);
        assert_eq!(unlocked.after(by_package, &report(InstallFailure::HostUnreachable)), Next::Fail);
        let pnpm = way(Manager::Pnpm, None);
        let builds = again(Attempt::first(pnpm, StartTree::Empty).after(pnpm, &report(InstallFailure::BuildsIgnored)));
        assert_eq!(builds.builds, BuildScripts::All);
    }

    #[test]
    fn final_failures_are_not_tried_again() {
        let has_other_way = [InstallFailure::LockFile, InstallFailure::VersionConflict];
        let finals = InstallFailure::ALL.into_iter().filter(|failure| failure.needs_edit());
        for failure in finals.filter(|failure| !has_other_way.contains(failure)) {
            let bun = way(Manager::Bun, Some("bun.lock"));
            assert_eq!(Attempt::first(bun, StartTree::Old).after(bun, &report(failure)), Next::Fail, "{failure:?}");
        }
    }

    #[test]
    fn old_tree_is_given_up_before_the_manager() {
        let bun = way(Manager::Bun, Some("bun.lock"));
        let first = Attempt::first(bun, StartTree::Old);
        assert_eq!(first.lock, LockUse::Loose);
        let Next::Again(second, _) = first.after(bun, &report(InstallFailure::Failed)) else { panic!("no second try") };
        assert_eq!(second.start, StartTree::Empty);
        assert!(matches!(second.after(bun, &report(InstallFailure::Failed)), Next::OtherManager(_)));
    }
}
