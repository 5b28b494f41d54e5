use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;

use super::Environment;

/// What to run, where, and with which environment; started by [`crate::init::Init::spawn`].
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    dir: PathBuf,
    environment: Environment,
}

impl Command {
    /// `program` in `dir`. A bare name is looked up on the environment's own PATH.
    pub fn new(program: impl Into<OsString>, dir: impl Into<PathBuf>, environment: Environment) -> Command {
        Command { program: program.into(), args: Vec::new(), dir: dir.into(), environment }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Command {
        self.args.push(arg.into());
        self
    }

    /// Several more.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Command {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Program and arguments, for people.
    pub fn display(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// The program alone, for people.
    pub fn program(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where a child is made")]
    pub(crate) fn into_std(self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).current_dir(&self.dir).env_clear().envs(self.environment.iter());
        // Nothing to read: a prompt must fail rather than wait.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        command
    }
}
