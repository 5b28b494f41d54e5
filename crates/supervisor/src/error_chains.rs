//! A cause is either in an error's text or in its chain, never in both: messages are printed with their whole chain.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::dependencies::{CheckError, InstallError, InstallFailure};
use crate::dev_server::PlanError;
use crate::directory::ReadError;
use crate::package_json::PackageJsonError;
use crate::process::{ProjectUser, UserError};

/// Panics where a text of the chain contains the text of a cause below it.
fn assert_no_repeats(error: &dyn Error) {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    let (last, above) = texts.split_last().expect("an error has a text");
    for (place, text) in above.iter().enumerate() {
        for below in texts.iter().skip(place + 1) {
            assert!(!text.contains(below.as_str()), "{text:?} repeats {below:?}");
        }
    }
    assert!(!last.is_empty() && !last.ends_with('.'), "{last:?}");
}

fn io_cause() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error())
}

fn path() -> PathBuf {
    PathBuf::from("/app/project/package.json")
}

fn read_errors() -> Vec<ReadError> {
    vec![
        ReadError::Io { path: path(), source: io_cause() },
        ReadError::NotRegular { path: path() },
        ReadError::TooLarge { path: path(), max: 5 },
        ReadError::ForeignOwner { path: path() },
    ]
}

#[test]
fn plan_errors_name_each_cause_once() {
    let broken = serde_json::from_slice::<serde_json::Value>(b"{").expect_err("not JSON");
    let own = [
        PlanError::Project { dir: path(), source: io_cause() },
        PlanError::AppDirOutside { app_dir: path() },
        PlanError::NoPackageJson { dir: path() },
        PlanError::SeveralPackages { dirs: "a, b".into() },
        PlanError::Package(PackageJsonError::Broken { path: path(), source: broken }),
        PlanError::NoDevScript { path: path() },
        PlanError::ViteMissing { app_dir: path() },
        PlanError::ProgramMissing { program: "node".into() },
    ];
    own.into_iter()
        .chain(read_errors().into_iter().map(|error| PlanError::Package(error.into())))
        .for_each(|error| assert_no_repeats(&error));
}

#[test]
fn check_errors_name_each_cause_once() {
    let own = [CheckError::Open { path: path(), source: io_cause() }];
    own.into_iter().chain(read_errors().into_iter().map(CheckError::Read)).for_each(|error| assert_no_repeats(&error));
}

#[tokio::test]
async fn install_errors_name_each_cause_once() {
    let task = tokio::spawn(std::future::pending::<()>());
    task.abort();
    let own = [
        InstallError::ManagerMissing { manager: "pnpm", asked_for_by: "pnpm-lock.yaml" },
        InstallError::NpmMissing,
        InstallError::Spawn { manager: "npm", source: io_cause() },
        InstallError::Failed {
            manager: "npm",
            failure: InstallFailure::Failed,
            status: "exit status: 1".into(),
            detail: "npm error code E500".into(),
        },
        InstallError::Deadline { manager: "npm", deadline: Duration::from_secs(300) },
        InstallError::Cancelled,
        InstallError::Task(task.await.expect_err("aborted")),
        InstallError::Io { operation: "move into the project", path: path(), source: io_cause() },
    ];
    let reads = read_errors().into_iter().map(InstallError::Read);
    own.into_iter().chain(reads).for_each(|error| assert_no_repeats(&error));
}

#[test]
fn user_errors_name_each_cause_once() {
    for text in ["no-such-user-here", "0"] {
        let error = ProjectUser::parse(text).expect_err("refused");
        assert!(matches!(error, UserError::Unknown { .. } | UserError::Root { .. }));
        assert_no_repeats(&error);
    }
}
