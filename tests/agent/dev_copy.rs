//! The copy of the folder that `dev` works in.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{eventually, port};

/// `dev` on a folder, with a dev server that does nothing.
struct Dev {
    child: Child,
    home: tempfile::TempDir,
}

impl Dev {
    fn start(prepare: impl FnOnce(&Path)) -> Dev {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("project");
        std::fs::create_dir(&folder).unwrap();
        prepare(&folder);
        let child = Command::new(env!("CARGO_BIN_EXE_preview-agent"))
            .arg("dev")
            .arg(&folder)
            .args(["--port", &port().to_string(), "--log-format", "json", "--", "sleep", "3600"])
            .env("XDG_CACHE_HOME", home.path().join("cache"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(home.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Dev { child, home }
    }

    /// Where the copy is, as the log says.
    fn copy(&self) -> PathBuf {
        let mut copy = None;
        eventually("the copy's path is logged", || {
            let log = std::fs::read_to_string(self.home.path().join("log")).unwrap();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            copy = lines.filter_map(|line| Some(PathBuf::from(line["project_dir"].as_str()?))).next();
            copy.is_some()
        });
        copy.unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn put(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_of_the_copy_have_the_modes_of_the_folder() {
    let dev = Dev::start(|folder| {
        put(&folder.join(".env"), "SECRET=1", 0o600);
        put(&folder.join("tool"), "text", 0o755);
        put(&folder.join("script.sh"), "#!/bin/sh\n", 0o644);
        put(&folder.join("plain.txt"), "text", 0o644);
    });
    let copy = dev.copy();
    let mode = |name: &str| std::fs::metadata(copy.join(name)).map(|found| found.mode() & 0o777).ok();
    eventually("the files are in the copy", || mode("plain.txt").is_some());
    let modes = [".env", "tool", "script.sh", "plain.txt"].map(|name| mode(name).unwrap());
    assert_eq!(modes, [0o600, 0o755, 0o755, 0o644]);
    // A private file that is added later is private, too.
    put(&dev.home.path().join("project/.env.local"), "SECRET=2", 0o600);
    eventually("the new file is in the copy", || mode(".env.local").is_some());
    assert_eq!(mode(".env.local"), Some(0o600));
}
