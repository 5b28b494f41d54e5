//! What people see on a terminal: progress, calm lines, colours only where they are wanted.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::world::World;
use crate::support::{eventually, open_dir, port};
use local_backend::{FaultRate, SeedFile, SnapshotFaults};

/// Its install takes a moment, and prints a line.
const PACKAGE: &str = r#"{
  "name": "x", "private": true, "dependencies": {"lib": "file:lib"},
  "scripts": {"preinstall": "node -e \"setTimeout(() => {}, 700)\""}
}"#;

/// An agent, in a pipe or below a `script`.
struct Running {
    child: Child,
    terminal: bool,
}

impl Running {
    fn send(&self, signal: &str) {
        // `script` has the agent as its child; the shell has become it.
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let of_script = children.split_whitespace().next().filter(|_| self.terminal).map(str::to_owned);
        let agent = of_script.unwrap_or_else(|| id.to_string());
        assert!(Command::new("kill").args(["-s", signal, &agent]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.send("KILL");
        }
    }
}

/// What an agent of `world` shows until its dev server starts. On a terminal of its own, by `script`, or in a pipe.
fn shown(world: &World, terminal: bool, env: &[(&str, &str)]) -> String {
    let dir = open_dir();
    let agent = env!("CARGO_BIN_EXE_preview-agent");
    let project = dir.path().join("project");
    let line = format!(
        "stty cols 100 2>/dev/null; exec {agent} run --preview-port {} --status-addr 127.0.0.1:0 --project-dir {} -- sh -c 'touch started; exec sleep 600'",
        port(),
        project.display()
    );
    let mut command = if terminal { Command::new("script") } else { Command::new("sh") };
    if terminal {
        command.args(["--quiet", "--return", "--flush", "--command", &line]).arg(dir.path().join("typescript"));
    } else {
        command.args(["-c", &line]);
    }
    let path = std::env::var_os("PATH").unwrap();
    command.env_clear().env("PATH", path).env("TERM", "xterm").envs(world.backend().agent_settings().env());
    command.envs(env.iter().copied()).stdin(Stdio::null()).stderr(Stdio::piped());
    let output = std::fs::File::create(dir.path().join("piped")).unwrap();
    let child = command.stdout(output).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut running = Running { child, terminal };
    eventually("the dev server starts", || {
        assert!(running.child.try_wait().unwrap().is_none(), "it ended");
        project.join("started").exists()
    });
    std::thread::sleep(Duration::from_millis(200));
    running.send("TERM");
    running.child.wait().unwrap();
    let name = if terminal { "typescript" } else { "piped" };
    String::from_utf8_lossy(&std::fs::read(dir.path().join(name)).unwrap()).into_owned()
}

/// A snapshot that comes piece by piece, with a pause after each, and an install.
fn slow_world() -> World {
    let world = World::with(|options| {
        let file = |path: &str, bytes: Vec<u8>| SeedFile { path: path.into(), bytes };
        // What does not deflate, so that there is something to wait for.
        let mut noise = vec![0_u8; 4_000_000];
        let mut state = 1_u32;
        for byte in &mut noise {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        options.files = vec![
            file("package.json", PACKAGE.into()),
            file("lib/package.json", br#"{"name": "lib", "version": "1.0.0"}"#.to_vec()),
            file("noise.bin", noise),
        ];
    });
    let slow = SnapshotFaults { truncate_at: Some(200_000), chance: FaultRate::ALWAYS, ..SnapshotFaults::default() };
    world.backend().faults().snapshot(slow);
    world
}

#[test]
fn a_terminal_shows_progress_of_download_and_install_and_colours() {
    let text = shown(&slow_world(), true, &[]);
    assert!(text.contains("downloading and unpacking: "), "{text}");
    assert!(text.contains("KiB/") && text.contains("/s"), "{text}");
    assert!(text.contains("installing dependencies (npm), "), "{text}");
    assert!(text.contains("\x1b[2m"), "the time is dim: {text}");
    assert!(!text.contains("\"event_type\""), "lines for people: {text}");
    // What was drawn is taken away again.
    assert!(text.rfind("\x1b[2K").is_some_and(|cleared| text[cleared..].lines().count() < 30), "{text}");
}

#[test]
fn no_color_is_obeyed() {
    let text = shown(&World::new(), true, &[("NO_COLOR", "1")]);
    assert!(text.contains("project loaded: "), "{text}");
    for code in ["\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[36m"] {
        assert!(!text.contains(code), "{code:?} in {text}");
    }
    // An empty value says nothing (no-color.org).
    assert!(shown(&World::new(), true, &[("NO_COLOR", "")]).contains("\x1b[2m"));
}

#[test]
fn a_pipe_gets_json_and_neither_bars_nor_colours() {
    let text = shown(&slow_world(), false, &[]);
    assert!(!text.contains('\x1b'), "{text}");
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{text}");
    assert!(text.contains("\"event_type\":\"hydrate_progress\""), "{text}");
    let pretty = shown(&World::new(), false, &[("LOG_FORMAT", "pretty")]);
    assert!(pretty.contains("project loaded: ") && !pretty.contains('\x1b'), "{pretty}");
}
