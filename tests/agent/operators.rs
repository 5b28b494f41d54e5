//! What operators are given speaks of what the binary exposes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use crate::support::world::World;
use clap::CommandFactory;
use preview_agent::command_line::Cli;
use preview_agent::telemetry::status::codes::Limit;
use serde_json::Value;
use supervisor::dev_server;
use sync_core::{CatchUpCause, DegradedReason, DisconnectReason, PendingReason, RejectReason, SkipReason};

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana-dashboard.json");
const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alerts.yml");

/// Metrics of a control group, which need not exist where the tests run.
const ONLY_IN_A_CONTAINER: [&str; 2] = ["preview_agent_cgroup_memory_bytes", "preview_agent_cgroup_memory_limit_bytes"];

/// Every series of `/metrics` by its name, with its labels.
fn exposed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("preview_agent_")) {
        let series = line.rsplit_once(' ').expect("a value").0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()));
        names.entry(name.into()).or_default().extend(labels);
    }
    names
}

/// Every metric that `text` names.
fn named(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_word(c)).filter(|word| word.starts_with("preview_agent_")).map(str::to_owned).collect()
}

/// Every `label="value"` and `by (label, …)` beside a metric, the label's name alone.
fn labels(text: &str) -> BTreeSet<String> {
    let grouped = text.split("by (").skip(1).filter_map(|rest| rest.split(')').next()).flat_map(|list| list.split(','));
    let matched = text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).flat_map(|list| list.split(','));
    let matched = matched.filter_map(|label| label.split(['=', '!']).next().filter(|_| label.contains('"')));
    grouped.chain(matched).map(|label| label.trim().to_owned()).collect()
}

fn expressions_of(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| expressions_of(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions_of(value, found)),
        _ => {}
    }
}

#[test]
fn every_metric_and_label_of_dashboard_and_alerts_is_exposed() {
    let world = World::new();
    let mut agent = world.agent();
    agent.wait_for("dev_server_start");
    world.save("src/new.txt", "so that histograms hold something");
    agent.wait_for("file_applied");
    let exposed = exposed(&agent.get("/metrics").1);
    agent.stop();

    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let mut expressions = Vec::new();
    expressions_of(&dashboard, &mut expressions);
    let alerts = fs::read_to_string(ALERTS).unwrap();
    let alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned);
    expressions.extend(alerts);
    assert!(expressions.len() > 30, "{expressions:?}");
    // Prometheus adds the first two to whatever it scrapes.
    let always = ["job", "instance", "le"];
    for expression in &expressions {
        let names = named(expression);
        assert!(!names.is_empty(), "{expression}");
        for name in names.iter().filter(|name| !ONLY_IN_A_CONTAINER.contains(&name.as_str())) {
            assert!(exposed.contains_key(name), "{name} is not exposed: {expression}");
        }
        for label in labels(expression).iter().filter(|label| !always.contains(&label.as_str())) {
            let known = names.iter().any(|name| exposed.get(name).is_some_and(|labels| labels.contains(label)));
            assert!(known, "no metric of this expression has the label {label}: {expression}");
        }
    }
}

#[test]
fn a_metric_that_is_not_there_would_be_found() {
    let text = "# HELP preview_agent_a x\npreview_agent_a{reason=\"x,y\",job=\"z\"} 1\npreview_agent_b 2\n";
    let found = exposed(text);
    assert_eq!(found["preview_agent_a"], BTreeSet::from(["reason".to_owned(), "job".to_owned()]));
    assert!(found["preview_agent_b"].is_empty() && found.len() == 2);
    let expression = r#"sum by (le, cause) (rate(preview_agent_c_total{reason="x"}[5m])) > preview_agent_b"#;
    let names = ["preview_agent_b", "preview_agent_c_total"].map(str::to_owned);
    assert_eq!(named(expression), BTreeSet::from(names));
    assert_eq!(labels(expression), BTreeSet::from(["cause", "le", "reason"].map(str::to_owned)));
}

/// Under its own heading: one code may stand for two things.
#[test]
fn every_reason_code_is_explained() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let dev_server = dev_server::FaultReason::ALL.map(dev_server::FaultReason::as_str);
    let groups: [(&str, &[&str]); 8] = [
        ("Degraded", &DegradedReason::ALL.map(DegradedReason::as_str)),
        ("The channel", &DisconnectReason::ALL.map(DisconnectReason::as_str)),
        ("Debts", &PendingReason::ALL.map(PendingReason::as_str)),
        ("The dev server", &dev_server),
        ("Catch-ups", &CatchUpCause::ALL.map(CatchUpCause::as_str)),
        ("Refused", &RejectReason::ALL.map(RejectReason::as_str)),
        ("Skipped", &SkipReason::ALL.map(SkipReason::as_str)),
        ("Limits", &Limit::ALL.map(Limit::as_str)),
    ];
    // The waiting page shows the same.
    let faults = dev_server::FaultReason::ALL.map(|reason| (reason.as_str(), reason.advice()));
    let degraded = DegradedReason::ALL.map(|reason| (reason.as_str(), reason.advice()));
    for (reason, advice) in faults.into_iter().chain(degraded) {
        let (start, end) = (format!("| `{reason}` |"), format!("| {advice} |"));
        let row = text.lines().find(|line| line.starts_with(&start) && line.ends_with(&end));
        assert!(row.is_some(), "docs/operations.md has another advice for {reason} than: {advice}");
    }
    for (heading, known) in groups {
        let section = text.split("\n### ").find(|section| section.starts_with(heading)).expect(heading);
        let body = section.split_once('\n').unwrap().1;
        for code in known {
            assert!(body.contains(&format!("`{code}`")), "{heading}: {code} is not explained");
        }
        // What a table explains exists.
        let rows = body.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        for code in rows.flat_map(|cell| cell.split(['`', ' '])).filter(|code| !code.is_empty()) {
            assert!(known.contains(&code), "{heading}: there is no code {code}");
        }
    }
}

/// The README's table of settings and what `run --help` lists are one.
#[test]
fn the_settings_table_is_what_help_says() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let table = readme.split("## Settings of `run`").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let cell = |cell: &str| cell.trim().trim_matches('`').split(' ').next().unwrap_or_default().to_owned();
    let documented: BTreeSet<(String, String)> = rows
        .map(|row| row.split('|').map(cell).collect::<Vec<_>>())
        .map(|cells| (cells[1].clone(), cells[2].clone()))
        .collect();

    let mut cli = Cli::command();
    cli.build();
    let run = cli.find_subcommand_mut("run").unwrap();
    let mut listed: BTreeSet<(String, String)> = run
        .get_arguments()
        .filter(|arg| arg.get_id() != "help")
        .filter_map(|arg| {
            let variable = arg.get_env().map(|env| env.to_string_lossy().into_owned()).unwrap_or_default();
            Some((variable, format!("--{}", arg.get_long()?)))
        })
        .collect();
    // Secrets have no flag; they stand in the words after the list.
    let help = run.render_long_help().to_string();
    let secrets = help.lines().skip_while(|line| !line.starts_with("Secrets")).skip(1);
    let secrets = secrets.take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    listed.extend(secrets.map(|secret| (secret.to_owned(), String::new())));
    assert_eq!(documented, listed);
}

/// By Prometheus' own tool; what each rule fires on stands in `tests/alerts.test.yml`.
#[test]
fn the_alert_rules_are_good_and_fire_when_they_should() {
    for arguments in [["check", "rules", "deploy/alerts.yml"], ["test", "rules", "tests/alerts.test.yml"]] {
        let run = Command::new("promtool").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let output = run.unwrap_or_else(|error| panic!("promtool: {error} (`tests/run tools` installs it)"));
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
    let tests = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alerts.test.yml")).unwrap();
    let rules = fs::read_to_string(ALERTS).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname=\"{alert}\", alertstate=\"firing\"");
        assert!(tests.contains(&fires), "nothing shows that {alert} fires");
    }
}

/// Each rule names its paragraph in docs/operations.md, and each panel says what it shows.
#[test]
fn every_alert_has_a_runbook_and_every_panel_a_description() {
    let operations = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let headings: BTreeSet<String> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let rules = fs::read_to_string(ALERTS).unwrap();
    let names: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let books: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")).collect();
    assert_eq!(names.len(), books.len());
    for (name, book) in names.iter().zip(books) {
        let anchor = book.trim_matches('"').strip_prefix("docs/operations.md#").expect("an anchor");
        assert_eq!(anchor, name.to_lowercase());
        assert!(headings.contains(anchor), "docs/operations.md has no paragraph on {name}");
    }
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{}", panel["title"]);
    }
}
