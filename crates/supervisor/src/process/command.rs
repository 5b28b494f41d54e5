use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use super::Environment;
use crate::directory::Directory;

/// What to run, where, and with which environment. [`crate::init::Init::spawn`] starts it.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    dir: Arc<Directory>,
    environment: Environment,
}

impl Command {
    /// `program` in `dir`. A name without a separator is looked up on the environment's own PATH.
    pub fn new(program: impl Into<OsString>, dir: Arc<Directory>, environment: Environment) -> Command {
        Command { program: program.into(), args: Vec::new(), dir, environment }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Command {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Command {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Program and arguments, for messages.
    pub fn display(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// The program alone, for messages.
    pub fn program(&self) -> PathBuf {
        PathBuf::from(&self.program)
    }

    /// The standard library's command, and the directory that the child enters (see [`Command::enter_session`] and
    /// `confine`).
    #[expect(clippy::disallowed_methods, reason = "the one place where a child is made")]
    pub(crate) fn into_std(self) -> (std::process::Command, Arc<Directory>) {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).env_clear().envs(self.environment.iter());
        // A program that asks a question gets an error and does not wait for an answer.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command, self.dir)
    }

    /// Has the child begin a session and enter its directory. On Linux [`super::confine()`] does both.
    #[cfg_attr(target_os = "linux", expect(dead_code, reason = "see `confine`"))]
    pub(crate) fn enter_session(command: &mut std::process::Command, dir: Arc<Directory>) {
        let open_files = super::limit_at_start();
        let enter = move || -> io::Result<()> {
            super::lower_open_files_limit(open_files.as_ref());
            rustix::process::setsid()?;
            Ok(rustix::process::fchdir(&dir)?)
        };
        // SAFETY: between fork and exec the closure only makes system calls; it allocates nothing and takes no lock.
        #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
        unsafe {
            command.pre_exec(enter);
        }
    }
}
