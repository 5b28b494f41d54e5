//! Logs, `/status`, `/metrics` and `/readyz` tell one story, in every phase.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::support::world::World;
use crate::support::{Agent, DEADLINE, eventually};
use local_backend::{Cut, FaultRate, SeedFile, SnapshotFaults};
use serde_json::Value;

/// Answers as soon as it is let, and ends no sooner.
const SERVER: &str = r#"
const { existsSync } = require("node:fs");
const end = () => existsSync("../may-end") ? process.exit(0) : setTimeout(end, 20);
process.on("SIGTERM", end);
const wait = () => {
  if (!existsSync("../may-serve")) return setTimeout(wait, 20);
  require("node:http").createServer((_, answer) => answer.end("hello")).listen(process.env.PORT, "127.0.0.1");
};
wait();
"#;
/// Its install ends as soon as it is let.
const PACKAGE: &str = r#"{
  "name": "x", "private": true, "dependencies": {"lib": "file:lib"},
  "scripts": {"preinstall": "node -e \"const w = () => require('fs').existsSync('../may-install') || setTimeout(w, 20); w()\""}
}"#;

/// The four views of an agent, taken one after the other.
struct Views {
    status: Value,
    ready: (u16, Value),
    metrics: BTreeMap<String, f64>,
    /// Log lines by event type.
    logged: BTreeMap<String, f64>,
}

impl Views {
    fn of(agent: &mut Agent) -> Views {
        let status = agent.status();
        let (code, body) = agent.get("/readyz");
        let metrics = samples(&agent.get("/metrics").1);
        agent.read_on();
        let mut logged = BTreeMap::new();
        for line in &agent.seen {
            *logged.entry(line["event_type"].as_str().unwrap().to_owned()).or_default() += 1.0;
        }
        Views { status, ready: (code, serde_json::from_str(&body).unwrap()), metrics, logged }
    }

    fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let of_it = |key: &str| key == name || key.starts_with(&labelled);
        self.metrics.iter().filter(|(key, _)| of_it(key)).map(|(_, value)| value).sum()
    }

    fn logged(&self, event_type: &str) -> f64 {
        self.logged.get(event_type).copied().unwrap_or_default()
    }

    /// Each pair says the same thing from two places.
    fn pairs(&self) -> Vec<(&'static str, Value, Value)> {
        let status = &self.status;
        let number = |name: &str| Value::from(self.metrics.get(name).copied().unwrap_or(f64::NAN));
        let of = |value: &Value| Value::from(value.as_f64().unwrap_or(f64::NAN));
        let phase = status["phase"].as_str().unwrap();
        let serving = status["dev_server"]["state"] == "serving";
        let reasons = status["degraded"].as_array().unwrap();
        let said: Vec<_> = self.ready.1["reasons"].as_array().unwrap().clone();
        let among = reasons.iter().all(|reason| said.contains(reason));
        vec![
            ("phase in /readyz", status["phase"].clone(), self.ready.1["phase"].clone()),
            ("phase in /metrics", 1.0.into(), number(&format!("preview_agent_phase{{phase=\"{phase}\"}}"))),
            ("one phase", 1.0.into(), self.sum("preview_agent_phase").into()),
            ("readiness", (self.ready.0 == 200).into(), (phase == "serving" && serving).into()),
            ("readiness in /metrics", f64::from(u8::from(self.ready.0 == 200)).into(), number("preview_agent_ready")),
            ("dev server", f64::from(u8::from(serving)).into(), number("preview_agent_dev_server_up")),
            ("reasons", (reasons.len() as f64).into(), self.sum("preview_agent_degraded").into()),
            ("reasons in /readyz", true.into(), among.into()),
            ("revision", of(&status["revision"]), number("preview_agent_revision")),
            ("debts", of(&status["debts"]["count"]), number("preview_agent_debts")),
            ("in sync", status["current"].clone(), (number("preview_agent_in_sync") == 1.0).into()),
            ("in sync in /readyz", status["current"].clone(), self.ready.1["current"].clone()),
            ("files applied", self.logged("file_applied").into(), self.sum("preview_agent_files_applied_total").into()),
            ("catch-ups", self.logged("catch_up").into(), self.sum("preview_agent_catch_ups_total").into()),
            ("joins", self.logged("channel_joined").into(), number("preview_agent_joins_total")),
            ("losses", self.logged("channel_lost").into(), self.sum("preview_agent_channel_losses_total").into()),
            ("exits", self.logged("dev_server_exit").into(), self.sum("preview_agent_dev_server_exits_total").into()),
            (
                "restarts",
                self.logged("dev_server_restart").into(),
                self.sum("preview_agent_dev_server_restarts_total").into(),
            ),
            ("restarts in /status", of(&status["dev_server"]["restarts"]), self.logged("restarted").into()),
        ]
    }
}

/// Every sample by its name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sample = |line: &str| line.rsplit_once(' ').map(|(key, value)| (key.to_owned(), value.parse().unwrap()));
    lines.filter_map(sample).collect()
}

/// Looks until all views agree, and the agent is in `phase` and `state`.
fn agree(agent: &mut Agent, phase: &str, state: &str) -> Views {
    agree_that(agent, phase, state, "", |_| true)
}

/// As [`agree`], and until `what` holds: the views follow the log within 100 ms.
fn agree_that(agent: &mut Agent, phase: &str, state: &str, what: &str, holds: impl Fn(&Views) -> bool) -> Views {
    let until = Instant::now() + DEADLINE;
    loop {
        let mut views = Views::of(agent);
        // A start that is not the first.
        let starts = views.logged("dev_server_start");
        views.logged.insert("restarted".into(), (starts - 1.0).max(0.0));
        let mut differ: Vec<_> = views.pairs().into_iter().filter(|(_, left, right)| left != right).collect();
        differ.push(("phase", views.status["phase"].clone(), phase.into()));
        differ.push(("state", views.status["dev_server"]["state"].clone(), state.into()));
        differ.retain(|(_, left, right)| left != right);
        if differ.is_empty() && holds(&views) {
            return views;
        }
        assert!(Instant::now() < until, "{phase}, {state}, {what}: {differ:#?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn world() -> World {
    World::with(|options| {
        let file = |path: &str, text: &str| SeedFile { path: path.into(), bytes: text.into() };
        options.files = vec![
            file("package.json", PACKAGE),
            file("lib/package.json", r#"{"name": "lib", "version": "1.0.0"}"#),
            file("server.js", SERVER),
        ];
    })
}

/// `starting` lasts but milliseconds, and `failed` as long as it takes to end: nobody can be sure to look in time.
#[test]
fn every_view_agrees_in_every_phase_that_lasts() {
    let world = world();
    let told = |phase: &str| {
        let agents = world.backend().agent_reports();
        eventually(phase, || agents.latest()[0]["status"]["phase"] == phase);
    };
    let faults = world.backend().faults();
    faults.snapshot(SnapshotFaults { status: Some(503), chance: FaultRate::ALWAYS, ..SnapshotFaults::default() });
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut start = world.start().set("PREVIEW_PORT", port.to_string()).set("FLY_MACHINE_ID", "machine-1");
    start = start.set("PUBLISH_STATUS", "true").set("STOP_GRACE", "60");
    start.dev_server = ["node", "server.js"].map(str::to_owned).to_vec();
    let dir = start.temp.path().to_owned();
    let let_it = |name: &str| std::fs::write(dir.join(name), "").unwrap();
    let mut agent = start.run();

    agent.wait_for("hydrate_start");
    let views = agree(&mut agent, "hydrating", "waiting");
    assert_eq!((views.ready.0, &views.status["container_id"]), (503, &"machine-1".into()));
    told("hydrating");

    faults.clear();
    let done = agent.wait_for("hydrate_done");
    let part = |name: &str| done[name].as_u64().unwrap_or_else(|| panic!("no {name} in {done}"));
    assert!(part("wait_ms") + part("extract_ms") + part("place_ms") <= part("duration_ms") + 3, "{done}");
    let views = agree(&mut agent, "installing", "installing");
    assert_eq!(views.metrics["preview_agent_hydration_seconds_count{phase=\"total\"}"], 1.0);
    assert_eq!(views.ready.0, 503);

    let_it("may-install");
    agent.wait_for("dev_server_start");
    agree(&mut agent, "serving", "starting");
    let_it("may-serve");
    agent.wait_for("dev_server_ready");
    let views = agree(&mut agent, "serving", "serving");
    assert_eq!(views.ready.0, 200);
    for step in
        ["config", "hydrated", "install_start", "install_done", "dev_server_start", "dev_server_ready", "in_sync"]
    {
        assert!(views.status["boot_ms"][step].is_u64(), "{step}: {}", views.status["boot_ms"]);
    }

    world.save("src/App.tsx", "2");
    let applied = agent.wait_for("file_applied");
    let head = world.store().head().revision as f64;
    let at_head = |views: &Views| views.metrics["preview_agent_revision"] == head;
    let views = agree_that(&mut agent, "serving", "serving", "at the head", at_head);
    assert_eq!(views.status["last_applied"]["file_path"], applied["file_path"]);
    assert_eq!(views.metrics["preview_agent_event_lag_seconds_count"], 1.0);

    faults.refuse_connections(Some(503));
    faults.cut(Cut::Abruptly);
    let lost = agent.wait_for("channel_lost")["reason"].as_str().unwrap().to_owned();
    let down = |views: &Views| views.metrics["preview_agent_degraded{reason=\"channel_down\"}"] == 1.0;
    let views = agree_that(&mut agent, "serving", "serving", "degraded", down);
    assert_eq!(views.ready.0, 200, "a hiccup of the channel takes no machine out of routing");
    for name in ["channel_losses", "reconnects"] {
        let series = format!("preview_agent_{name}_total{{reason=\"{lost}\"}}");
        assert!(views.metrics[&series] >= 1.0, "{series}: {}", views.metrics[&series]);
    }
    faults.clear();
    agent.wait_for("channel_joined");

    let pid = agree(&mut agent, "serving", "serving").status["dev_server"]["pid"].as_i64().unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    let exit = agent.wait_for("dev_server_exit");
    agent.wait_for("dev_server_ready");
    let views = agree(&mut agent, "serving", "serving");
    let reason = exit["reason"].as_str().unwrap();
    assert_eq!(views.metrics[&format!("preview_agent_dev_server_restarts_total{{reason=\"{reason}\"}}")], 1.0);
    assert_eq!(views.status["dev_server"]["last_exit"]["reason"], reason);

    told("serving");
    agent.signal("TERM");
    agent.wait_for("shutdown");
    let views = agree(&mut agent, "stopping", "serving");
    assert_eq!(views.ready.0, 503);
    told("stopping");
    every_line_is_whole(&agent);
    let_it("may-end");
    assert_eq!(agent.end().0.code(), Some(143));
}

/// What the contract asks of each line, and of durations.
fn every_line_is_whole(agent: &Agent) {
    for line in &agent.seen {
        for field in ["timestamp", "level", "message", "event_type", "project_id", "session_id", "container_id"] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
        assert!(line["uptime_ms"].is_u64(), "{line}");
        assert!(!line.as_object().unwrap().values().any(|value| value.is_object() || value.is_array()), "flat: {line}");
    }
    let types: Vec<_> = agent.seen.iter().map(|line| line["event_type"].as_str().unwrap()).collect();
    for expected in ["agent_start", "deps_start", "deps_done", "dev_server_start", "catch_up", "degraded", "recovered"]
    {
        assert!(types.contains(&expected), "{expected} is missing: {types:?}");
    }
    for (event_type, fields) in [
        ("hydrate_done", &["duration_ms", "files", "bytes", "revision"][..]),
        ("file_applied", &["file_path", "version", "revision", "bytes", "lag_ms"]),
        ("deps_done", &["duration_ms"]),
        ("dev_server_ready", &["duration_ms"]),
        ("catch_up", &["duration_ms"]),
    ] {
        let line = agent.seen.iter().find(|line| line["event_type"] == event_type).unwrap();
        fields.iter().for_each(|field| assert!(!line[*field].is_null(), "{field} in {line}"));
    }
}

#[test]
fn every_metric_is_there_from_the_start_and_says_what_it_is() {
    let mut agent = World::new().start().without("SUPABASE_URL").without("REALTIME_TOKEN").run();
    let text = agent.get("/metrics").1;
    let named = |prefix: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let (types, helps) = (named("# TYPE "), named("# HELP "));
    assert!(types.len() > 30, "{types:?}");
    for name in &types {
        assert!(helps.contains(name), "{name} says nothing of itself");
        assert!(["preview_agent_", "process_"].iter().any(|prefix| name.starts_with(prefix)), "{name}");
    }
    for name in ["preview_agent_event_lag_seconds_count", "preview_agent_joins_total"] {
        assert_eq!(samples(&text).get(name), Some(&0.0), "{name} in {text}");
    }
    // The agent's own memory, where the system says it.
    if Path::new("/proc/self/statm").exists() {
        assert!(samples(&text)["preview_agent_resident_memory_bytes"] > 1e6);
    }
}
