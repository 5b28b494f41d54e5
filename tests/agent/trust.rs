//! The project's code beside the agent, which has secrets: the real binary as root, and as nobody in particular.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use crate::support::world::World;
use crate::support::{Agent, eventually, port};
use serde_json::Value;

/// Tries what it can, writes down how that went, and serves.
const SPY: &str = r#"
const fs = require('fs');
const tried = (what) => { try { return String(what()) } catch (error) { return error.code } };
const agent = process.ppid;
const found = {
  status: fs.readFileSync('/proc/self/status', 'utf8'),
  environment: process.env,
  home: tried(() => fs.writeFileSync(process.env.HOME + '/probe', 'x')),
  agent_environ: tried(() => fs.readFileSync(`/proc/${agent}/environ`, 'latin1')),
  agent_memory: tried(() => fs.openSync(`/proc/${agent}/mem`, 'r')),
  agent_maps: tried(() => fs.readFileSync(`/proc/${agent}/maps`)),
  agent_handles: tried(() => fs.readdirSync(`/proc/${agent}/fd`)),
  agent_cmdline: tried(() => fs.readFileSync(`/proc/${agent}/cmdline`, 'latin1')),
  state: tried(() => fs.readFileSync('../.preview-agent/owned', 'utf8')),
  own: tried(() => { fs.appendFileSync('src/App.tsx', ''); fs.mkdirSync('node_modules/.vite', { recursive: true }); fs.writeFileSync('src/made', 'x') }),
};
fs.writeFileSync('node_modules/found.json.next', JSON.stringify(found));
fs.renameSync('node_modules/found.json.next', 'node_modules/found.json');
require('http').createServer((_, answer) => answer.end('ok')).listen(process.env.PORT);
"#;

fn spied(agent: &Agent) -> Value {
    let file = agent.project().join("node_modules/found.json");
    eventually("the spy has looked around", || file.exists());
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn field<'a>(found: &'a Value, name: &str) -> &'a str {
    let status = found["status"].as_str().unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim()
}

fn no_secret_in(world: &World, text: &str) {
    for (name, value) in world.backend().agent_settings().env() {
        if ["SNAPSHOT_URL", "REALTIME_TOKEN", "SUPABASE_ANON_KEY"].contains(&name) {
            assert!(!text.contains(&value), "{name} is in {text}");
        }
    }
}

#[test]
fn the_projects_code_is_another_user_without_rights() {
    let world = World::new();
    world.save("server.cjs", SPY);
    let mut start = world.start().set("PREVIEW_PORT", port().to_string()).set("PREVIEW_USER", "4321:4322");
    start.dev_server = ["node", "server.cjs"].map(str::to_owned).to_vec();
    let mut agent = start.run();
    agent.wait_for("channel_joined");
    let found = spied(&agent);
    assert_eq!(field(&found, "Uid"), "4321\t4321\t4321\t4321");
    assert_eq!(field(&found, "Gid"), "4322\t4322\t4322\t4322");
    assert_eq!(field(&found, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&found, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&found, "NoNewPrivs"), "1");
    for denied in ["agent_environ", "agent_memory", "agent_maps", "agent_handles", "state"] {
        assert_eq!(found[denied], "EACCES", "{denied}");
    }
    assert_eq!((&found["own"], &found["home"]), (&"undefined".into(), &"undefined".into()), "it can work");
    no_secret_in(&world, &found.to_string());
    assert_eq!(agent.status()["isolation"], "user");

    // We are root and may look: there is nothing to be seen.
    let environ = std::fs::read(format!("/proc/{}/environ", agent.pid())).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    assert!(environ.contains("REALTIME_TOKEN="), "{environ}");
    no_secret_in(&world, &environ);

    // What is written later is the user's as well.
    world.save("deep/er/new.ts", "1");
    world.in_sync_but(&agent, &["src/made"]);
    for path in ["", "src", "src/App.tsx", "deep", "deep/er", "deep/er/new.ts"] {
        let stat = agent.project().join(path).metadata().unwrap();
        assert_eq!((stat.uid(), stat.gid()), (4321, 4322), "{path}");
    }
    assert_eq!(agent.stop().code(), Some(143));
}

#[test]
fn what_may_be_run_is_placed_with_five_capabilities_and_no_more() {
    let world = World::new();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, mode) in [("run.sh", 0o755), ("bin/deep.sh", 0o755), ("plain.txt", 0o644)] {
        zip.start_file(name, zip::write::SimpleFileOptions::default().unix_permissions(mode)).unwrap();
        // A file that begins with `#!` is executable whatever its mode.
        zip.write_all(if name == "plain.txt" { "text\n" } else { "#!/bin/sh\n" }.as_bytes()).unwrap();
    }
    let mut start = world.start().set("PREVIEW_USER", "4321:4322").without("SNAPSHOT_URL").without("REALTIME_TOKEN");
    let snapshot = start.temp.path().join("snapshot.zip");
    std::fs::write(&snapshot, zip.finish().unwrap().into_inner()).unwrap();
    start = start.arg("--snapshot").arg(snapshot.to_str().unwrap());
    let kept = "--bounding-set=-all,+setuid,+setgid,+chown,+kill,+dac_override";
    start.through = ["setpriv", kept].map(str::to_owned).to_vec();
    let mut agent = start.run();
    agent.wait_for("dev_server_start");
    assert_eq!(agent.status()["isolation"], "user");
    for (path, mode) in [("run.sh", 0o755), ("bin/deep.sh", 0o755), ("plain.txt", 0o644)] {
        let stat = agent.project().join(path).metadata().unwrap();
        assert_eq!((stat.mode() & 0o777, stat.uid(), stat.gid()), (mode, 4321, 4322), "{path}");
    }
}

#[test]
fn a_killed_agent_leaves_no_dev_server() {
    for user in ["4321", "none"] {
        let world = World::new();
        let mut start = world.start().set("PREVIEW_PORT", port().to_string()).set("PREVIEW_USER", user);
        start.dev_server = ["sleep", "3600"].map(str::to_owned).to_vec();
        let mut agent = start.run();
        agent.wait_for("dev_server_start");
        let pid = agent.status()["dev_server"]["pid"].as_u64().unwrap();
        assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
        drop(agent.crash());
        // Whoever adopts it may leave a zombie for a while; what counts is that it runs no more.
        eventually("the dev server is gone too", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }
}

#[test]
fn without_a_home_the_projects_code_gets_one() {
    let world = World::new();
    let mut start = world.start().without("HOME").set("PREVIEW_USER", "none");
    start.dev_server = ["sh", "-c", "echo at home in \"$HOME\"; sleep 3600"].map(str::to_owned).to_vec();
    let mut agent = start.run();
    let said = agent.wait_until("the dev server's line", |line| line["stream"] == "stdout");
    let home = std::path::PathBuf::from(said["message"].as_str().unwrap().strip_prefix("at home in ").unwrap());
    assert!(home.is_dir() && home.starts_with(agent.dir()), "{}", home.display());
}

#[test]
fn where_no_home_can_be_made_the_preview_still_comes() {
    for user in ["none", "4321"] {
        let world = World::new();
        let start = world.start().without("HOME").set("PREVIEW_USER", user);
        let file = start.temp.path().join("a-file");
        std::fs::write(&file, "in the way").unwrap();
        let mut agent = start.set("STATE_DIR", file.join("state").to_string_lossy()).run();
        agent.wait_for("dev_server_start");
        world.in_sync(&agent);
    }
}
