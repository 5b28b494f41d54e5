//! docs/protocol.md against the code: names in both directions, numbers, and nothing that is not there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::CommandFactory;
use preview_agent::cli::exit::Exit;
use preview_agent::command_line::Cli;
use preview_agent::sync::snapshot::Limits;
use preview_agent::telemetry::logs::Origin;
use preview_agent::telemetry::status::{Phase, SharedStatus};
use sync_core::wire::{ProjectEvent, StatusEvent};

type Names = BTreeSet<String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands under `## heading`.
fn section(heading: &str) -> String {
    let text = read("docs/protocol.md");
    let found = text.split("\n## ").find(|section| section.starts_with(&format!("{heading}\n")));
    found.unwrap_or_else(|| panic!("no section {heading}")).to_owned()
}

/// The rows of the tables of `text` as their cells, heads and rulers left out.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let of_body =
        |at: usize| lines[at].starts_with("| ") && !lines.get(at + 1).is_some_and(|next| next.starts_with("| ---"));
    let body = (0..lines.len()).filter(|at| of_body(*at) && !lines[*at].starts_with("| ---"));
    let cells = |line: &str| line.trim_matches('|').split(" |").map(|cell| cell.trim().to_owned()).collect();
    body.map(|at| cells(lines[at])).collect()
}

/// The table of `section` whose head begins with `first`.
fn table(section: &str, first: &str) -> Vec<Vec<String>> {
    let head = format!("| {first} |");
    let lines = section.lines().skip_while(|line| !line.starts_with(&head));
    let text: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    assert!(text.len() > 2, "no table of {first}");
    rows(&text.join("\n"))
}

/// What stands between backquotes.
fn quoted(text: &str) -> Names {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn first_cells(rows: &[Vec<String>]) -> Names {
    rows.iter().flat_map(|row| quoted(&row[0])).collect()
}

/// Every text between `before` and the next `"` in the sources below `dir`.
fn literals(dir: &str, before: &str, skip: impl Fn(&Path) -> bool) -> Names {
    let mut found = Names::new();
    for path in sources(&root().join(dir)).into_iter().filter(|path| !skip(path)) {
        let text = fs::read_to_string(&path).unwrap();
        found.extend(text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    found
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn settings_are_settings_and_exits_are_exits() {
    let text = section("Settings");
    let mut known: Names =
        ["SNAPSHOT_URL", "REALTIME_TOKEN", "SUPABASE_ANON_KEY", "STATUS_TOKEN", "PREVIEW_ACCESS_TOKEN"]
            .map(String::from)
            .into();
    let mut cli = Cli::command();
    cli.build();
    let run = cli.find_subcommand("run").unwrap();
    known.extend(run.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())));
    for setting in first_cells(&table(&text, "variable")) {
        assert!(known.contains(&setting), "{setting} is no setting");
    }
    let exits = table(&text, "exit status");
    let said: Vec<&str> = exits.iter().map(|row| row[0].as_str()).collect();
    let numbers = [Exit::fine(), Exit::usage(""), Exit::unavailable(""), Exit::fault(""), Exit::disk("")];
    let numbers = numbers.map(|exit| exit.status().to_string());
    assert_eq!(said[..5], numbers);
    assert_eq!((said[5], Exit::signal(15).status()), ("128 + n", 143));
    // The variables that may not hold a service key, and what it begins with.
    let source = read("src/sync/token.rs");
    for name in quoted(&text).iter().filter(|name| name.starts_with("SUPABASE_SE") || name.starts_with("sb_")) {
        assert!(source.contains(name.as_str()), "{name} is not looked for");
    }
}

#[test]
fn events_are_those_that_are_read_and_sent() {
    let text = section("Realtime");
    let known: Names = ProjectEvent::ALL.map(|event| event.as_str().to_owned()).into();
    // Two tables begin with the event; the second says when, too.
    let (heard, told) = text.split_once("With `PUBLISH_STATUS`").expect("the status topic");
    assert_eq!(first_cells(&table(heard, "event")), known);
    let published = table(told, "event");
    assert_eq!(first_cells(&published), StatusEvent::ALL.map(|event| event.as_str().to_owned()).into());
    let publisher = read("crates/sync-core/src/channel/publisher.rs");
    // Each field that is named is one that the code speaks of.
    for row in &published {
        for field in quoted(&row[1]) {
            assert!(publisher.contains(&format!("\"{field}\"")), "{field} of {} is not sent", row[0]);
        }
    }
    let wire = sync_core::wire::project_topic("<project id>");
    assert!(
        text.contains(&format!("`{wire}`"))
            && text.contains(&format!("`{}`", sync_core::wire::status_topic("<project id>")))
    );
}

#[test]
fn functions_are_those_of_the_database_with_their_arguments() {
    let migrations: String =
        sources(&root().join("supabase/migrations")).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let files = sources(&root().join("src/sync"));
    let texts: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // The line's quotes are in pairs; those of a whole file need not be.
    let called = texts.iter().flat_map(|text| text.lines()).flat_map(|line| line.split('"').skip(1).step_by(2));
    let called: Names =
        called.filter(|text| migrations.contains(&format!("function public.{text}("))).map(str::to_owned).collect();
    for (heading, agents) in [("Reads", true), ("Writes", false)] {
        for row in table(&section(heading), "function") {
            let name = row[0].trim_matches('`');
            let definition = migrations.split(&format!("function public.{name}(")).nth(1);
            let definition = definition.unwrap_or_else(|| panic!("{name} is no function of the database"));
            let arguments: Names = definition
                .split(')')
                .next()
                .unwrap()
                .split(',')
                .filter_map(|argument| Some(argument.split_whitespace().next()?.to_owned()))
                .collect();
            assert_eq!(quoted(&row[1]), arguments, "{name}");
            assert_eq!(called.contains(name), agents, "{name}");
        }
    }
    // And no read is left out.
    let reads = first_cells(&table(&section("Reads"), "function"));
    assert_eq!(reads, called);
    for code in first_cells(&table(&section("Writes"), "code")) {
        assert!(migrations.contains(&format!("'{code}'")), "{code} is never raised");
    }
}

#[test]
fn the_digest_of_the_example_is_right() {
    let text = section("Reads");
    let mut digest = sync_core::TableDigest::default();
    digest.toggle("src/App.tsx", 3, &sync_core::ContentHash::of(b"hello"));
    assert!(text.contains(&format!("`{digest}`")), "{digest}");
}

#[test]
fn status_holds_what_is_said() {
    let origin = Origin { project_id: "p".into(), session_id: "s".into(), container_id: None };
    let status = SharedStatus::new(origin, Instant::now());
    let text = section("Status");
    let keys = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Names>();
    let paragraph = |begins: &str| quoted(text.split("\n\n").find(|part| part.starts_with(begins)).unwrap());
    let mut said = paragraph("`/status` holds");
    said.remove("/status");
    assert_eq!(said, keys(status.to_json()));
    let readyz = rows(&text).into_iter().find(|row| row[0] == "`/readyz`").unwrap();
    let mut said = quoted(&readyz[2]);
    said.retain(|name| !name.starts_with('/'));
    assert_eq!(said, keys(status.readiness().1));
    let source = read("src/telemetry/status.rs");
    let routes: Names =
        source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    let places: Names =
        first_cells(&table(&text, "place")).iter().map(|place| place.split('?').next().unwrap().to_owned()).collect();
    assert_eq!(places, routes);
    let phases: Names = Phase::ALL.map(|phase| phase.as_str().to_owned()).into();
    let mut said = quoted(text.split("\n\n").find(|part| part.starts_with("Phases:")).unwrap());
    said.retain(|name| !name.starts_with('/'));
    assert_eq!(said, phases);
}

#[test]
fn metrics_are_those_that_are_exposed() {
    let text = section("Metrics");
    let source = read("src/telemetry/status/metrics.rs");
    let described: Names =
        source.split('"').filter(|text| text.starts_with("preview_agent_")).map(str::to_owned).collect();
    let listed = table(&text, "name");
    assert_eq!(first_cells(&listed), described);
    for row in &listed {
        let of_kind = match row[1].as_str() {
            "counter" => row[0].ends_with("_total`"),
            "histogram" => row[0].ends_with("_seconds`"),
            kind => kind == "gauge" && !row[0].ends_with("_total`"),
        };
        assert!(of_kind, "{row:?}");
    }
}

#[test]
fn event_types_are_those_that_are_logged() {
    let text = section("Logs");
    let local = |path: &Path| path.ends_with("src/dev.rs") || path.starts_with(root().join("src/dev"));
    let mut logged = literals("src", "event_type = \"", local);
    logged.extend(literals("crates/supervisor/src", "event_type = \"", |_: &Path| false));
    // These two are made where lines are.
    logged.extend(["logs_dropped", "log"].map(str::to_owned));
    assert_eq!(first_cells(&table(&text, "event types")), logged);
    let all: String = ["src", "crates/supervisor/src"]
        .iter()
        .flat_map(|directory| sources(&root().join(directory)))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for field in table(&text, "event types").iter().flat_map(|row| quoted(&row[1])) {
        assert!(all.contains(&field), "no line has {field}");
    }
}

#[test]
fn bounds_are_the_constants() {
    let limits = Limits::default().archive;
    for row in table(&section("Bounds"), "bound") {
        let said = value(&row[1]);
        let place = row[2].trim_matches('`');
        let is = match place {
            "Limits::compressed" => limits.compressed.into(),
            "Limits::expanded" => limits.expanded.into(),
            "Limits::entries" => limits.entries.into(),
            "Limits::ratio" => limits.ratio.into(),
            _ => {
                let (file, name) = place.split_once(": ").unwrap_or_else(|| panic!("{place} names no constant"));
                let source = read(file);
                let line = source.lines().find(|line| line.contains(&format!("const {name}: ")));
                constant(line.unwrap_or_else(|| panic!("{place} is no constant")))
            }
        };
        assert_eq!(said, is, "{row:?}");
    }
}

/// `50 MiB`, `1,500 ms`, `200`: bytes, milliseconds, or the number.
fn value(text: &str) -> u128 {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number: u128 = number.replace(',', "").parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let unit = match unit {
        "" | "bytes" | "ms" | "%" => 1,
        "s" => 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        other => panic!("the unit {other}"),
    };
    number * unit
}

/// The value of a line such as `const NAME: u64 = 64 << 20;` or `…: Duration = Duration::from_secs(15);`.
fn constant(line: &str) -> u128 {
    let (_, expression) = line.split_once(" = ").expect("a value");
    let expression = expression.trim_end_matches(';');
    let in_call = |name: &str| expression.strip_prefix(&format!("Duration::{name}("))?.strip_suffix(')').map(number);
    in_call("from_secs")
        .map(|seconds| seconds * 1000)
        .or_else(|| in_call("from_millis"))
        .unwrap_or_else(|| number(expression))
}

fn number(expression: &str) -> u128 {
    let sum = expression.split(" + ").map(|part| {
        let part = part.trim_matches(['(', ')']);
        let product = |part: &str| {
            part.split(" * ")
                .map(|factor| {
                    factor.replace('_', "").parse::<u128>().unwrap_or_else(|error| panic!("{expression}: {error}"))
                })
                .product::<u128>()
        };
        match part.split_once(" << ") {
            Some((left, right)) => product(left) << product(right),
            None => product(part),
        }
    });
    sum.sum()
}

#[test]
fn what_is_read_of_a_constant_is_its_value() {
    assert_eq!(constant("pub const A: u64 = 64 << 20;"), 64 << 20);
    assert_eq!(constant("const A: usize = 5_000_000 + (64 << 10);"), 5_065_536);
    assert_eq!(constant("const A: u64 = 32 * 1024 * 1024;"), 32 << 20);
    assert_eq!(constant("const A: Duration = Duration::from_millis(1_500);"), 1500);
    assert_eq!(value("1,024 MiB"), 1 << 30);
}
