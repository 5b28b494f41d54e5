//! What the documentation tells people to type does what it says, and what it points to is there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::markdown::{documents, fences, inline, root};
use crate::support::world::World;
use crate::support::{DEADLINE, port};
use clap::CommandFactory;
use preview_agent::command_line::Cli;
use rustix::process::{Pid, Signal, kill_process};

/// What becomes of a documented command here.
enum Tried {
    /// It ends with 0, and prints this.
    Prints(&'static str),
    /// It goes on until it has logged this event, and Ctrl-C ends it as documented.
    LogsUntilStopped(&'static str),
    /// Not here, for this reason; these places, which it names, are there.
    Not(&'static str, &'static [&'static str]),
}
use Tried::{LogsUntilStopped, Not, Prints};

/// Every command of the documentation. One that is missing here fails the test, and so does one that is no longer there.
const COMMANDS: &[(&str, Tried)] = &[
    ("cargo run --release -- dev fixtures/react-vite", LogsUntilStopped("deps_start")),
    ("preview-agent [run]", LogsUntilStopped("channel_joined")),
    ("preview-agent dev DIR", LogsUntilStopped("hydrate_done")),
    ("preview-agent serve [DIR]", LogsUntilStopped("console_listening")),
    ("preview-agent snapshot DIR --out FILE.zip", Prints("")),
    (
        "preview-agent health",
        Not(
            "needs an agent at the usual address: tests/agent/status_port.rs tries it",
            &["tests/agent/status_port.rs"],
        ),
    ),
    ("curl -s http://127.0.0.1:9464/readyz", Prints("\"ready\":")),
    ("curl -s http://127.0.0.1:9464/status", Prints("\"session_id\":")),
    ("curl -s http://127.0.0.1:9464/problems", Prints("\"verdict\":")),
    ("curl -s 'http://127.0.0.1:9464/logs?tail=50'", Prints("")),
    (
        "curl -s http://127.0.0.1:9464/metrics | grep -E '^preview_agent_(degraded|debts|in_sync)'",
        Prints("preview_agent_in_sync 1"),
    ),
    ("curl -s -H \"Authorization: Bearer $STATUS_TOKEN\" http://$MACHINE:9464/status", Prints("\"session_id\":")),
    ("promtool check rules deploy/alerts.yml", Prints("SUCCESS")),
    ("promtool test rules tests/alerts.test.yml", Prints("SUCCESS")),
    (
        "preview-agent dev fixtures/react-vite --env-file editor.env",
        Not("tests/browser/repair-loop.test.mjs does it", &["fixtures/react-vite"]),
    ),
    (
        "npm install --prefix clients/project-files && npm run build --prefix clients/project-files",
        Not("tests/browser/repair-loop.test.mjs does it", &["clients/project-files"]),
    ),
    (
        "npm install --prefix examples/repair-loop",
        Not("tests/browser/repair-loop.test.mjs needs it", &["examples/repair-loop"]),
    ),
    (
        "npm start --prefix examples/repair-loop -- src/App.jsx",
        Not("tests/browser/repair-loop.test.mjs does it", &["fixtures/react-vite/src/App.jsx"]),
    ),
    ("tests/run", Not("it is what runs this test", &["tests/run"])),
    ("cargo static", Not("a release build of minutes: `tests/run static` makes it", &[".cargo/static.toml"])),
    ("cargo bench --bench compare", Not("a release build, and minutes of measuring", &["benches"])),
    (
        "docker build -f Dockerfile.preview --build-arg TEMPLATE=fixtures/react-vite -t preview .",
        Not(
            "needs a registry of images: `tests/run container` builds it with podman",
            &["Dockerfile.preview", "fixtures/react-vite"],
        ),
    ),
    (
        "docker run --read-only --tmpfs /tmp --tmpfs /app:mode=0777 --user preview --cap-drop=all --env-file session.env -p 3001:3001 preview",
        Not("needs that image: `tests/run container` runs it with these switches", &[]),
    ),
    (
        "supabase db push",
        Not("needs a hosted project: `supabase/tests/run` applies the same files", &["supabase/migrations"]),
    ),
    (
        "supabase functions deploy build-project-snapshot preview-session",
        Not(
            "needs a hosted project: tests/agent/functions.rs runs them",
            &["supabase/functions/build-project-snapshot", "supabase/functions/preview-session"],
        ),
    ),
    (
        "cd supabase/functions && node_modules/.bin/deno run -A benches/snapshot.ts",
        Not(
            "minutes: its smallest size is run by the functions' own tests",
            &["supabase/functions/benches/snapshot.ts"],
        ),
    ),
    (
        "psql -1 -f take_back.sql",
        Not("`supabase/tests/run legacy` does it on a real server", &["supabase/take_back.sql"]),
    ),
    (
        "supabase/tests/run database legacy push load",
        Not("minutes: `tests/run suites` does it", &["supabase/tests/run"]),
    ),
];

/// Fenced shell commands, lines that go on joined, and the README's table of commands.
fn commands() -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for (path, text) in documents() {
        for (language, lines) in fences(&text) {
            let known = ["js", "json", "sh", "text"];
            assert!(known.contains(&language), "{}: a block of {language:?}, not one of {known:?}", path.display());
            if language == "sh" {
                let joined = lines.join("\n").replace("\\\n", " ");
                let whole = joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
                commands.extend(whole.filter(|line| !line.is_empty() && !line.starts_with('#')));
            }
        }
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `preview-agent"));
        commands.extend(rows.map(|row| format!("preview-agent{}", row.split('`').next().unwrap())));
    }
    commands
}

/// A place to try them in: copies of what they name, the debug binary on the path, a running agent.
struct Desk {
    temp: tempfile::TempDir,
    world: World,
    agent: crate::support::Agent,
}

impl Desk {
    fn new() -> Desk {
        let temp = crate::support::open_dir();
        for place in ["fixtures/react-vite", "deploy", "tests/alerts.test.yml"] {
            copy(&root().join(place), &temp.path().join(place));
        }
        fs::create_dir(temp.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_preview-agent"), temp.path().join("bin/preview-agent")).unwrap();
        let world = World::new();
        let mut agent = world.start().set("STATUS_TOKEN", "a stand-in").run();
        agent.wait_for("channel_joined");
        crate::support::eventually("in sync", || agent.status()["current"] == true);
        Desk { temp, world, agent }
    }

    /// The command with stand-ins for what the documentation leaves open, and without a release build.
    fn command(&self, documented: &str) -> Command {
        let listening = self.agent.seen.iter().find(|event| event["event_type"] == "status_listening").unwrap();
        let mut text = documented.to_owned();
        for (said, meant) in [
            ("cargo run --release --", "preview-agent"),
            ("[run]", "run"),
            ("serve [DIR]", "serve fixtures/react-vite --listen 127.0.0.1:0"),
            (" DIR", " fixtures/react-vite"),
            ("FILE.zip", "out.zip"),
            ("127.0.0.1:9464", listening["addr"].as_str().unwrap()),
            ("$MACHINE:9464", listening["addr"].as_str().unwrap()),
        ] {
            text = text.replace(said, meant);
        }
        let path = format!("{}:{}", self.temp.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-c", &text]).current_dir(&self.temp).env("PATH", path);
        command.env("STATUS_TOKEN", "a stand-in").env("STATUS_ADDR", "127.0.0.1:0").env("LOG_FORMAT", "json");
        command.env("XDG_CACHE_HOME", self.temp.path().join("cache")).env("PREVIEW_PORT", port().to_string());
        command.env("PROJECT_DIR", self.temp.path().join("run/project")).env_remove("LOG_LEVEL");
        command.envs(self.world.backend().agent_settings().env()).stdin(Stdio::null());
        command
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        let entries = fs::read_dir(from).unwrap().map(|entry| entry.unwrap());
        for entry in entries.filter(|entry| entry.file_name() != "node_modules") {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn every_command_of_the_documentation_is_tried_or_says_why_not() {
    let documented = commands();
    let known: BTreeSet<String> = COMMANDS.iter().map(|(command, _)| (*command).to_owned()).collect();
    let unknown: Vec<_> = documented.difference(&known).collect();
    assert!(unknown.is_empty(), "neither tried nor excepted: {unknown:#?}");
    let mentioned: String =
        documents().into_iter().flat_map(|(_, text)| inline(&text).1).map(|code| code + "\n").collect();
    let desk = Desk::new();
    for (documented_as, tried) in COMMANDS {
        assert!(
            documented.contains(*documented_as) || mentioned.contains(documented_as),
            "no longer there: {documented_as}"
        );
        let began = Instant::now();
        match tried {
            Prints(words) => {
                let output = desk.command(documented_as).output().unwrap();
                let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
                assert!(output.status.success() && said.contains(words), "{documented_as}: {} {said}", output.status);
            }
            LogsUntilStopped(event) => until_stopped(desk.command(documented_as), documented_as, event),
            Not(why, places) => {
                for place in *places {
                    assert!(root().join(place).exists(), "{documented_as} names {place}");
                }
                println!("not tried: {documented_as}: {why}");
                continue;
            }
        }
        println!("tried in {} ms: {documented_as}", began.elapsed().as_millis());
    }
    assert!(desk.temp.path().join("out.zip").exists());
}

fn until_stopped(mut command: Command, name: &str, event: &str) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    let wanted = format!("\"event_type\":\"{event}\"");
    let until = Instant::now() + DEADLINE;
    let mut said = Vec::new();
    let came = loop {
        match seen.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains(&wanted) => break true,
            Ok(line) => said.push(line),
            Err(_) => break false,
        }
    };
    if came {
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    } else {
        child.kill().unwrap();
    }
    // What it says until its end must have a reader.
    while seen.recv_timeout(Duration::from_secs(30)).is_ok() {}
    let status = child.wait().unwrap();
    assert!(came, "{name} never said {event}:\n{}", said.join("\n"));
    assert_eq!(status.code(), Some(130), "{name}");
}

/// Commands in the running text: steps of `tests/run` that exist, options that the binary has.
#[test]
fn commands_in_the_text_name_what_there_is() {
    let steps = fs::read_to_string(root().join("tests/run")).unwrap();
    let mut cli = Cli::command();
    cli.build();
    for (path, text) in documents() {
        for code in inline(&text).1 {
            let place = format!("{}: {code}", path.display());
            let mut words = code.split(' ');
            match (words.next(), words.next()) {
                (Some("tests/run"), Some(step)) if !step.starts_with(['-', '[']) => {
                    assert!(steps.contains(&format!("\n  {step} ")), "{place}: no such step");
                }
                (Some("preview-agent"), Some(name)) if !name.starts_with(['-', '[']) => {
                    let command = cli.find_subcommand(name).unwrap_or_else(|| panic!("{place}: no such command"));
                    for flag in words.filter_map(|word| word.strip_prefix("--")) {
                        assert!(
                            command.get_arguments().any(|arg| arg.get_long() == Some(flag)),
                            "{place}: no --{flag}"
                        );
                    }
                }
                _ => {}
            }
        }
    }
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let prose = inline(text).0;
    prose.lines().filter_map(|line| Some(anchor(line.strip_prefix('#')?.trim_start_matches('#')))).collect()
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let mut followed = 0;
    for (path, text) in documents() {
        let prose = inline(&text).0;
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") || target.starts_with("http://") {
                continue;
            }
            let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{}: {target}: no such file", path.display());
            if !wanted.is_empty() {
                let known = anchors(&fs::read_to_string(&file).unwrap());
                assert!(known.contains(wanted), "{}: {target}: no such heading among {known:?}", path.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 8, "{followed} links");
    assert_eq!(anchor(" Settings of `run`"), "settings-of-run");
}

/// Paths between backquotes, of the repository, or of the place that the document speaks of.
#[test]
fn paths_that_are_named_exist() {
    let tops = ["src", "tests", "docs", "deploy", "supabase", "fixtures", "crates", "benches", "web", ".cargo", ".ci"];
    let mut named = 0;
    for (path, text) in documents() {
        for code in inline(&text).1 {
            let plain = code.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            let of_a_project = code == "src/App.tsx";
            if !plain || of_a_project || !tops.iter().any(|top| code.starts_with(&format!("{top}/"))) {
                continue;
            }
            let bases = [root().to_owned(), path.parent().unwrap().to_owned(), root().join("crates/sync-core")];
            assert!(bases.iter().any(|base| base.join(&code).exists()), "{}: there is no {code}", path.display());
            named += 1;
        }
    }
    assert!(named > 20, "{named} paths");
}
