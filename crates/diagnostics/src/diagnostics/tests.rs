use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::MAX_PROBLEMS;

/// A core with a clock.
#[derive(Default)]
struct Rig {
    core: Diagnostics,
    ms: u64,
}

impl Rig {
    fn now(&self) -> Moment {
        Moment { time: Time(Duration::from_millis(self.ms)), unix_ms: 1_000_000 + self.ms }
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        let now = self.now();
        self.core.handle(now, input);
        std::iter::from_fn(|| self.core.poll()).collect()
    }

    /// Lets time pass; every timer that is due fires at its time.
    fn wait(&mut self, ms: u64) -> Vec<Output> {
        let end = self.ms + ms;
        let mut outputs = Vec::new();
        while let Some((at, _)) = self.core.deadline().filter(|(at, _)| at.0 <= Duration::from_millis(end)) {
            let at = u64::try_from(at.0.as_millis()).expect("small");
            assert!(at > self.ms, "a timer in the past");
            self.ms = at;
            self.core.tick(self.now());
            outputs.extend(std::iter::from_fn(|| self.core.poll()));
        }
        self.ms = end;
        outputs
    }

    fn page(&mut self, id: u32, change: PageChange) -> Vec<Output> {
        self.give(Input::Page(PageId::for_test(id), "/".into(), change))
    }

    fn verdict(&self) -> (u64, &'static str, &'static str, bool) {
        let verdict = self.core.verdict().expect("a verdict");
        (verdict.revision, verdict.outcome.as_str(), verdict.seen.as_str(), verdict.settled)
    }
}

fn module(name: &str) -> Source {
    Source::Module(name.to_owned())
}

fn build(message: &str) -> Finding {
    Finding::new(Kind::Build, message)
}

fn runtime(message: &str) -> Finding {
    Finding { page: Some("/".into()), ..Finding::new(Kind::Runtime, message) }
}

#[test]
fn good_edit_without_a_page_is_settled_when_built() {
    let mut rig = Rig::default();
    assert_eq!(rig.give(Input::Applied(1)), []);
    assert_eq!(rig.wait(100).len(), 1);
    assert_eq!(rig.verdict(), (1, "ok", "applied", false));
    rig.give(Input::Checked(1));
    assert_eq!(rig.verdict(), (1, "ok", "built", true));
}

#[test]
fn revisions_within_100_ms_have_one_verdict() {
    let mut rig = Rig::default();
    let mut outputs = Vec::new();
    for revision in 1..=3 {
        outputs.extend(rig.give(Input::Applied(revision)));
        outputs.extend(rig.give(Input::Checked(revision)));
        outputs.extend(rig.wait(30));
    }
    outputs.extend(rig.wait(1000));
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    assert_eq!(rig.verdict(), (3, "ok", "built", true));
}

#[test]
fn broken_module_is_a_problem_until_it_is_repaired() {
    let mut rig = Rig::default();
    rig.give(Input::Applied(1));
    let opened = rig.give(Input::Found(module("/a.js"), vec![build("bad")]));
    assert!(matches!(&opened[..], [Output::Problem(Change::Opened(problem))] if problem.revision == 1));
    rig.give(Input::Checked(1));
    rig.wait(100);
    assert_eq!(rig.verdict(), (1, "broken", "applied", true));
    rig.give(Input::Applied(2));
    let resolved = rig.give(Input::Found(module("/a.js"), vec![]));
    assert!(matches!(&resolved[..], [Output::Problem(Change::Resolved(_))]));
    rig.give(Input::Checked(2));
    rig.wait(100);
    assert_eq!(rig.verdict(), (2, "ok", "built", true));
}

#[test]
fn problem_of_two_modules_ends_with_the_last() {
    let mut rig = Rig::default();
    rig.give(Input::Found(module("/a.js"), vec![build("bad")]));
    rig.give(Input::Found(module("/b.js"), vec![build("bad")]));
    assert_eq!(rig.give(Input::ModuleGone("/a.js".into())), []);
    assert_eq!(rig.core.problems().next().expect("open").count, 2);
    assert_eq!(rig.give(Input::Found(module("/b.js"), vec![])).len(), 1);
}

#[test]
fn page_error_is_settled_and_ends_when_an_update_does_not_bring_it_back() {
    let mut rig = Rig::default();
    rig.give(Input::Applied(1));
    rig.page(1, PageChange::Loaded);
    rig.give(Input::UpdateSent);
    rig.give(Input::Checked(1));
    rig.ms += 10;
    rig.page(1, PageChange::Updated);
    rig.ms += 10;
    rig.page(1, PageChange::Error(runtime("x is not a function"), 1));
    rig.wait(200);
    assert_eq!(rig.verdict(), (1, "broken", "built", true));
    // The repair: broken as long as nothing shows otherwise, and not settled.
    rig.wait(1000);
    rig.give(Input::Applied(2));
    rig.give(Input::UpdateSent);
    rig.give(Input::Checked(2));
    rig.wait(150);
    assert_eq!(rig.verdict(), (2, "broken", "built", false));
    rig.page(1, PageChange::Updated);
    let outputs = rig.wait(499);
    assert_eq!(outputs, []);
    rig.wait(1);
    assert_eq!(rig.verdict(), (2, "ok", "rendered", true));
}

#[test]
fn error_of_a_new_load_is_the_same_problem() {
    let mut rig = Rig::default();
    rig.give(Input::Applied(1));
    rig.page(1, PageChange::Error(runtime("boom"), 1));
    rig.page(1, PageChange::Loaded);
    rig.page(1, PageChange::Left);
    let outputs = rig.page(2, PageChange::Error(runtime("boom"), 1));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Problem(_))), "{outputs:?}");
    rig.page(2, PageChange::Loaded);
    rig.wait(2000);
    assert_eq!(rig.core.problems().count(), 1);
    rig.page(2, PageChange::Left);
    rig.page(3, PageChange::Loaded);
    rig.wait(600);
    assert_eq!(rig.core.problems().count(), 0);
}

#[test]
fn error_of_a_closed_page_ends_with_the_next_checked_revision() {
    let mut rig = Rig::default();
    rig.give(Input::Applied(1));
    rig.page(1, PageChange::Error(runtime("boom"), 1));
    rig.page(1, PageChange::Left);
    rig.wait(1000);
    rig.give(Input::Checked(1));
    assert_eq!(rig.core.problems().count(), 1, "it is about this revision");
    rig.give(Input::Applied(2));
    rig.give(Input::Checked(2));
    rig.wait(200);
    assert_eq!(rig.core.problems().count(), 0);
    assert_eq!(rig.verdict(), (2, "ok", "built", true));
}

#[test]
fn page_that_does_not_take_an_update_is_not_waited_for_longer_than_5_s() {
    let mut rig = Rig::default();
    rig.page(1, PageChange::Loaded);
    rig.wait(1000);
    rig.give(Input::Applied(1));
    rig.give(Input::UpdateSent);
    rig.give(Input::Checked(1));
    rig.wait(4900);
    assert_eq!(rig.verdict(), (1, "ok", "built", false));
    rig.wait(200);
    assert_eq!(rig.verdict(), (1, "ok", "built", true));
}

#[test]
fn page_that_needs_no_update_is_rendered_without_one() {
    let mut rig = Rig::default();
    rig.page(1, PageChange::Loaded);
    rig.wait(1000);
    rig.give(Input::Applied(1));
    rig.give(Input::Checked(1));
    rig.wait(499);
    assert_eq!(rig.verdict(), (1, "ok", "built", false));
    rig.wait(1);
    assert_eq!(rig.verdict(), (1, "ok", "rendered", true));
}

#[test]
fn broken_dev_server_is_settled_after_10_s_although_nothing_checks() {
    let mut rig = Rig::default();
    rig.give(Input::Found(Source::Server, vec![Finding::new(Kind::Server, "bad configuration")]));
    rig.wait(1000);
    rig.give(Input::Applied(1));
    rig.wait(9_900);
    assert_eq!(rig.verdict(), (1, "broken", "applied", false));
    rig.wait(200);
    assert_eq!(rig.verdict(), (1, "broken", "applied", true));
}

#[test]
fn console_errors_do_not_break_a_preview() {
    let mut rig = Rig::default();
    rig.give(Input::Applied(1));
    rig.page(1, PageChange::Error(Finding::new(Kind::Console, "careful"), 1));
    rig.give(Input::Checked(1));
    rig.wait(600);
    assert_eq!(rig.verdict(), (1, "ok", "rendered", true));
    assert_eq!(rig.core.ids().len(), 1);
}

#[test]
fn failed_update_is_a_problem_unless_the_build_explains_it() {
    let failed = || PageChange::UpdateFailed(runtime("Failed to reload /a.js"));
    let mut rig = Rig::default();
    rig.page(1, PageChange::Loaded);
    rig.give(Input::Found(module("/a.js"), vec![build("bad")]));
    rig.page(1, failed());
    rig.wait(1000);
    assert_eq!(rig.core.ids().len(), 1, "the problem of the build");
    rig.give(Input::Found(module("/a.js"), vec![]));
    rig.page(1, failed());
    rig.ms += 20;
    rig.page(1, PageChange::Updated);
    rig.wait(1000);
    assert_eq!(rig.core.ids().len(), 1, "the end of the update that failed does not end it");
    rig.page(1, PageChange::Updated);
    rig.wait(1000);
    assert_eq!(rig.core.ids().len(), 0);
}

#[test]
fn counts_are_shown_at_most_once_in_5_s() {
    let mut rig = Rig::default();
    let mut counted = 0;
    for _ in 0..1000 {
        let outputs = [rig.page(1, PageChange::Error(runtime("boom"), 1)), rig.wait(10)].concat();
        counted += outputs.iter().filter(|output| matches!(output, Output::Problem(Change::Counted(_)))).count();
    }
    assert_eq!(counted, 2);
    assert_eq!(rig.core.problems().next().expect("open").count, 1000);
}

#[test]
fn build_problem_displaces_one_of_a_page() {
    let mut rig = Rig::default();
    for number in 0..MAX_PROBLEMS + 5 {
        rig.page(1, PageChange::Error(runtime(&number.to_string()), 1));
    }
    assert_eq!((rig.core.problems().count(), rig.core.omitted()), (MAX_PROBLEMS, 5));
    rig.give(Input::Found(module("/a.js"), vec![build("bad")]));
    assert_eq!((rig.core.problems().count(), rig.core.omitted()), (MAX_PROBLEMS, 6));
    assert!(rig.core.problems().any(|problem| problem.finding.kind == Kind::Build));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Applied(u64),
    Checked(u64),
    UpdateSent,
    Found(u8, Vec<u8>),
    Gone(u8),
    Page(u8, u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..2000u64).prop_map(Step::Wait),
        (0..40u64).prop_map(Step::Applied),
        (0..40u64).prop_map(Step::Checked),
        Just(Step::UpdateSent),
        (0..6u8, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(source, found)| Step::Found(source, found)),
        (0..4u8).prop_map(Step::Gone),
        (0..8u8, 0..5u8, any::<u8>()).prop_map(|(page, change, error)| Step::Page(page, change, error)),
    ];
    proptest::collection::vec(step, 0..200)
}

fn source(number: u8) -> Source {
    match number {
        4 => Source::Server,
        5 => Source::Install,
        number => module(&format!("/{number}.js")),
    }
}

proptest! {
    /// Bounds hold, each problem that opened is open or was resolved, and no verdict goes back.
    #[test]
    fn any_observations_keep_the_rules(steps in steps()) {
        let mut rig = Rig::default();
        let mut open = BTreeSet::new();
        let mut revision = 0;
        for step in steps {
            let outputs = match step {
                Step::Wait(ms) => rig.wait(ms),
                Step::Applied(revision) => rig.give(Input::Applied(revision)),
                Step::Checked(revision) => rig.give(Input::Checked(revision)),
                Step::UpdateSent => rig.give(Input::UpdateSent),
                Step::Found(from, found) => {
                    let kinds = Kind::ALL;
                    let finding = |number: u8| Finding::new(kinds[usize::from(number) % kinds.len()], number.to_string());
                    rig.give(Input::Found(source(from), found.into_iter().map(finding).collect()))
                }
                Step::Gone(number) => rig.give(Input::ModuleGone(format!("/{number}.js"))),
                Step::Page(id, change, error) => {
                    let change = match change {
                        0 => PageChange::Loaded,
                        1 => PageChange::Updated,
                        2 => PageChange::UpdateFailed(runtime("update")),
                        3 => PageChange::Left,
                        _ => PageChange::Error(runtime(&error.to_string()), 1),
                    };
                    rig.page(u32::from(id), change)
                }
            };
            for output in outputs {
                match output {
                    Output::Problem(Change::Opened(problem)) => prop_assert!(open.insert(problem.id)),
                    Output::Problem(Change::Counted(problem)) => prop_assert!(open.contains(&problem.id)),
                    Output::Problem(Change::Resolved(problem)) => prop_assert!(open.remove(&problem.id)),
                    Output::Verdict(verdict) => {
                        prop_assert!(verdict.revision >= revision);
                        revision = verdict.revision;
                    }
                }
            }
            let known: BTreeSet<_> = rig.core.problems().map(|problem| problem.id.clone()).collect();
            prop_assert_eq!(&known, &open);
            prop_assert!(open.len() <= MAX_PROBLEMS);
        }
        // In the end nothing is awaited for ever.
        rig.wait(20_000);
        if let Some(verdict) = rig.core.verdict() {
            let broken = rig.core.problems().any(Problem::is_blocking);
            prop_assert_eq!(verdict.outcome == Outcome::Broken, broken);
            prop_assert!(verdict.settled || verdict.outcome == Outcome::Ok);
        }
    }
}
