//! A cause is either in an error's `source()` chain or in its text, never in both.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sync_core::{ContentHash, PathError, ProjectPath, SavedError, error_chain};
use zip_stream::{Fault, Rejected, WriteError, ZipError};

use super::folder::FolderError;
use super::http::BodyError;
use super::net::{NetError, ResolveError};
use super::snapshot::{ManifestFault, SnapshotError};
use super::state::StateError;
use super::token::TokenError;
use super::trusted_path::UntrustedPath;
use super::workspace::WorkspaceError;

fn cause() -> io::Error {
    io::Error::other("the cause of all")
}

fn rejected() -> Rejected {
    Rejected { fault: Fault::Truncated, entry: Some("a.txt".into()), offset: 7 }
}

/// Every error of `sync` and `zip-stream` that has a cause, and some that have none.
fn errors() -> Vec<Box<dyn Error>> {
    let path = || PathBuf::from("/x");
    let hash = ContentHash::of(b"");
    let path_error = || ProjectPath::parse("a//b").unwrap_err();
    let malformed = || serde_json::from_str::<u8>("x").unwrap_err();
    vec![
        Box::new(SnapshotError::Url),
        Box::new(SnapshotError::Renew { status: 400, body: "expired".into() }),
        Box::new(SnapshotError::GaveUp { attempts: 2, last: "reset".into() }),
        Box::new(SnapshotError::Deadline(Duration::from_secs(1))),
        Box::new(SnapshotError::Read(path(), cause())),
        Box::new(SnapshotError::Archive(rejected())),
        Box::new(SnapshotError::Path(path_error())),
        Box::new(SnapshotError::Manifest(ManifestFault::Malformed(malformed().to_string()))),
        Box::new(SnapshotError::Manifest(ManifestFault::Digest { path: "a".into(), recorded: hash, found: hash })),
        Box::new(SnapshotError::stage(cause())),
        Box::new(SnapshotError::stage(workspace_error())),
        Box::new(SnapshotError::Write { path: "a".into(), source: cause() }),
        Box::new(SnapshotError::from(ZipError::Spool(cause()))),
        Box::new(SnapshotError::from(ZipError::Read { offset: 1, source: cause() })),
        Box::new(SnapshotError::from(ZipError::Read { offset: 1, source: io::Error::other(SnapshotError::Stopped) })),
        Box::new(SnapshotError::from(ZipError::Rejected(rejected()))),
        Box::new(ZipError::Read { offset: 1, source: cause() }),
        Box::new(ZipError::Spool(cause())),
        Box::new(ZipError::Rejected(rejected())),
        Box::new(WriteError::Io(cause())),
        Box::new(workspace_error()),
        Box::new(StateError::Read(cause())),
        Box::new(StateError::Unusable(SavedError::Damaged)),
        Box::new(StateError::Unusable(SavedError::Malformed(malformed()))),
        Box::new(FolderError::Read(path(), cause())),
        Box::new(FolderError::Path(path(), path_error())),
        Box::new(NetError::ReadCa { path: path(), cause: cause() }),
        Box::new(NetError::BadCa { path: path(), number: 1, cause: "bad".into() }),
        Box::new(ResolveError::NoConfig { name: "a.example".into(), path: path(), cause: cause() }),
        Box::new(UntrustedPath::Unreadable { setting: "STATE_DIR", directory: path(), source: cause() }),
        Box::new(BodyError::Connection("reset".into())),
        Box::new(TokenError::OtherProject("p".into())),
        Box::new(PathError::Empty),
        Box::new(io::Error::other(workspace_error())),
    ]
}

fn workspace_error() -> WorkspaceError {
    WorkspaceError { operation: "create", path: "/x".into(), source: cause() }
}

#[test]
fn no_error_repeats_its_cause() {
    for error in errors() {
        let mut texts = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            texts.push(cause.to_string());
            source = cause.source();
        }
        for (at, text) in texts.iter().enumerate() {
            let repeated = texts.iter().skip(at + 1).find(|cause| text.contains(cause.as_str()));
            assert_eq!(repeated, None, "in {:?}", error_chain(&*error));
        }
        assert!(texts.iter().all(|text| !text.is_empty()), "{texts:?}");
    }
}
