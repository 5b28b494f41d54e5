//! Files and directories that the project's user can change, against an agent that is root with five capabilities.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Instant;

use sync_core::{ContentHash, Saved, SavedLocal};

use crate::support::world::World;
use crate::support::{Agent, Start, eventually, port};

const USER: u32 = 4321;
const TERABYTE: u64 = 1 << 40;

/// As root with the five capabilities that the documents name.
fn confined(start: Start) -> Start {
    let mut start = start.set("PREVIEW_USER", format!("{USER}:{USER}")).set("PREVIEW_PORT", port().to_string());
    let kept = "--bounding-set=-all,+setuid,+setgid,+chown,+kill,+dac_override";
    start.through = ["prlimit", "--nofile=1024", "setpriv", kept].map(str::to_owned).to_vec();
    start
}

/// Waits until the process has ended. Its directory is still there.
fn wait_for_end(agent: &Agent) {
    let stat = format!("/proc/{}/stat", agent.pid());
    eventually("it ends", || fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z ")));
}

/// The agent ends with status 74 and one line that names the setting and the directory. `check` looks at what it left.
fn is_refused(start: Start, setting: &str, directory: &Path, check: impl FnOnce()) {
    let agent = start.run();
    wait_for_end(&agent);
    check();
    let (status, text) = agent.end();
    assert_eq!(status.code(), Some(74), "{text}");
    let lines: Vec<_> = text.lines().collect();
    let named = lines.len() == 1 && lines[0].contains(setting) && lines[0].contains(directory.to_str().unwrap());
    assert!(named, "{text}");
}

fn make_dir(path: &Path, owner: u32, mode: u32) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

#[test]
fn a_directory_that_the_projects_user_can_replace_is_refused() {
    for (owner, mode, sticky_is_refused) in [(USER, 0o755, true), (0, 0o777, true), (0, 0o1777, false)] {
        for setting in ["PROJECT_DIR", "STATE_DIR", "PREPARED_DIR"] {
            if setting != "PROJECT_DIR" && !sticky_is_refused {
                continue;
            }
            let start = confined(World::new().start());
            let (temp, project) = (start.temp.path().to_owned(), start.project());
            let theirs = if setting == "PROJECT_DIR" { temp.clone() } else { temp.join("theirs") };
            make_dir(&theirs, owner, mode);
            let victim = temp.join("victim");
            fs::write(&victim, "safe").unwrap();
            // A link in the place of the state's temporary file.
            let below = theirs.join("below");
            make_dir(&below, USER, 0o755);
            symlink(&victim, below.join("state.next")).unwrap();
            let start = if setting == "PROJECT_DIR" { start } else { start.set(setting, below.to_str().unwrap()) };
            is_refused(start, setting, &theirs, || {
                assert_eq!(fs::read_to_string(&victim).unwrap(), "safe", "{setting}");
                assert!(!project.exists() && !below.join("state").exists(), "{setting}");
            });
        }
    }
}

#[test]
fn a_link_in_place_of_the_project_is_refused() {
    let start = confined(World::new().start());
    let victim = start.temp.path().join("victim");
    make_dir(&victim, 0, 0o700);
    fs::write(victim.join("secret"), "safe").unwrap();
    symlink(&victim, start.project()).unwrap();
    let project = start.project();
    is_refused(start, "PROJECT_DIR", &project, || {
        assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    });
}

#[test]
fn the_projects_code_cannot_replace_what_the_agent_uses() {
    let world = World::new();
    let attack = "const fs = require('fs');
        const attempt = (name, what) => { try { what(); console.log(name, 'done') } catch (error) { console.log(name, error.code) } };
        attempt('move', () => fs.renameSync('../.preview-agent', '../x'));
        attempt('project', () => fs.renameSync('../project', '../y'));
        attempt('link', () => fs.symlinkSync('/etc/passwd', '../.preview-agent/state.next'));
        attempt('list', () => fs.readdirSync('../.preview-agent'));
        attempt('stage', () => fs.readdirSync('../.preview-agent/stage'));
        console.log('end');
        setInterval(() => {}, 1000);";
    world.save("server.cjs", attack);
    let mut start = confined(world.start());
    start.dev_server = ["node", "server.cjs"].map(str::to_owned).to_vec();
    let mut agent = start.run();
    for name in ["move", "project", "link", "list", "stage"] {
        let line = agent.wait_until(name, |line| line["message"].as_str().is_some_and(|text| text.starts_with(name)));
        assert_eq!(line["message"], format!("{name} EACCES"));
    }
    assert_eq!(agent.stop().code(), Some(143));
}

fn make_sparse(path: &Path, size: u64) {
    fs::File::create(path).unwrap().set_len(size).unwrap();
}

fn has(agent: &Agent, path: &str, content: &str) -> bool {
    let file = agent.project().join(path);
    // The size first: the file may be huge.
    file.metadata().is_ok_and(|found| found.len() == content.len() as u64)
        && fs::read_to_string(file).is_ok_and(|found| found == content)
}

#[test]
fn a_sparse_terabyte_in_place_of_a_file_stops_nothing() {
    let world = World::new();
    let mut agent = confined(world.start()).run();
    agent.wait_for("channel_joined");
    world.in_sync(&agent);
    make_sparse(&agent.project().join("src/App.tsx"), TERABYTE);
    eventually("it is a local change", || agent.status()["local_changes"]["count"] == 1);
    world.save("index.html", "<p>while it is there");
    eventually("another file is written", || has(&agent, "index.html", "<p>while it is there"));
    world.save("src/App.tsx", "replaced");
    world.in_sync(&agent);

    // In place of a file while no agent runs.
    agent.signal("TERM");
    wait_for_end(&agent);
    make_sparse(&agent.project().join("src/App.tsx"), TERABYTE);
    let temp = agent.crash();
    let mut agent = confined(world.start()).in_dir(temp).run();
    agent.wait_for("hydrate_kept");
    eventually("it is restored", || has(&agent, "src/App.tsx", "replaced"));
    world.in_sync(&agent);
    assert_eq!(agent.stop().code(), Some(143));
}

#[test]
fn a_signal_is_answered_while_kept_files_are_hashed() {
    let world = World::new();
    let paths: Vec<_> = (0..8).map(|n| format!("src/{n}.txt")).collect();
    paths.iter().for_each(|path| world.save(path, "x"));
    let mut agent = confined(world.start()).run();
    agent.wait_for("channel_joined");
    world.in_sync(&agent);
    let project_id = agent.seen[0]["project_id"].as_str().unwrap().to_owned();
    agent.signal("TERM");
    agent.wait_for("shutdown_done");
    wait_for_end(&agent);
    // Recorded local changes are read at the start, whatever their size up to a bound: a gigabyte in all.
    let state = agent.dir().join(".preview-agent/state");
    let mut saved = Saved::decode(&fs::read(&state).unwrap(), &project_id).unwrap();
    for path in &paths {
        make_sparse(&agent.project().join(path), 120 << 20);
        saved.local.push(SavedLocal { path: path.clone(), hash: Some(ContentHash::of(b"y")) });
    }
    fs::write(&state, saved.encode()).unwrap();

    let mut agent = confined(world.start()).in_dir(agent.crash()).run();
    agent.wait_for("isolation");
    let started = Instant::now();
    agent.signal("TERM");
    agent.wait_for("shutdown_done");
    let kept = agent.seen.iter().any(|event| event["event_type"] == "hydrate_kept");
    assert!(!kept, "the files were hashed first, for {:?}", started.elapsed());
    assert_eq!(agent.end().0.code(), Some(143));
}

/// Directories in directories.
fn make_deep(top: &Path, levels: usize) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    fs::create_dir_all(top).unwrap();
    let open = |dir: std::os::fd::BorrowedFd<'_>, name: &Path| {
        openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    };
    let mut dir = open(CWD, top);
    for _ in 0..levels {
        use std::os::fd::AsFd;
        mkdirat(&dir, "d", Mode::from_raw_mode(0o755)).unwrap();
        dir = open(dir.as_fd(), Path::new("d"));
    }
}

#[test]
fn deep_trees_and_deep_paths_stop_nothing() {
    let world = World::new();
    // In memory: ext4 takes a minute to remove so many levels.
    let temp = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in("/dev/shm").unwrap();
    let start = confined(world.start()).in_dir(temp);
    make_deep(&start.project().join("deep"), 15_000);
    make_deep(&start.temp.path().join(".preview-agent/stage"), 15_000);
    let mut agent = start.run();
    agent.wait_for("channel_joined");
    eventually("the project is there", || has(&agent, "index.html", "<p>hello"));
    let path = "d/".repeat(63) + "file";
    world.save(&path, "deep");
    eventually("the deep path is written", || has(&agent, &path, "deep"));
    supervisor::tree_walk::remove_tree(rustix::fs::CWD, agent.project().join("deep")).unwrap();
    assert_eq!(agent.stop().code(), Some(143));
}

#[test]
fn a_stage_in_the_project_that_is_replaced_again_and_again_diverts_nothing() {
    let world = World::new();
    let mut start = confined(world.start());
    let victim = start.temp.path().join("victim");
    make_dir(&victim, USER, 0o777);
    let state_file = start.temp.path().join("no-directory");
    fs::write(&state_file, "").unwrap();
    let attack = format!(
        "mkdir -p node_modules; cd node_modules; while :; do
            mv .preview-stage old 2>/dev/null; rm -rf old; mkfifo .preview-stage 2>/dev/null; sleep 0.02
            mv .preview-stage old 2>/dev/null; rm -rf old; ln -s {} .preview-stage 2>/dev/null; sleep 0.02
        done",
        victim.display()
    );
    start.dev_server = ["sh", "-c", &attack].map(str::to_owned).to_vec();
    let start = start.set("STATE_DIR", state_file.join("state").to_str().unwrap());
    let mut agent = start.run();
    agent.wait_for("dev_server_start");
    for n in 0..20 {
        world.save("src/App.tsx", &format!("edit {n}"));
        world.save(&format!("src/{n}.txt"), "new");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    world.in_sync(&agent);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "a file was written through a link");
    let stat = agent.project().join("src/19.txt").metadata().unwrap();
    assert_eq!((stat.uid(), stat.gid()), (USER, USER));
    assert_eq!(agent.stop().code(), Some(143));
}
