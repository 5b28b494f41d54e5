//! What is wrong in the preview is found after each revision, without a browser, and ends with its repair. With the real Vite.

use std::path::Path;

use local_backend::SeedFile;
use serde_json::{Value, json};

use crate::support::world::World;
use crate::support::{Agent, eventually};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/react-vite");
const NOTES: &str = "src/components/Notes.jsx";

/// The project of the fixture, and what is wrong with it is asked from `/problems`.
struct Preview {
    world: World,
    agent: Agent,
}

fn fixture_file(path: &str) -> String {
    std::fs::read_to_string(Path::new(FIXTURE).join(path)).unwrap()
}

fn fixture_files() -> Vec<SeedFile> {
    let files = crate::support::tree(Path::new(FIXTURE));
    files.into_iter().map(|(path, bytes)| SeedFile { path, bytes }).collect()
}

impl Preview {
    /// The project with Vite, once it has a verdict.
    fn start() -> Preview {
        let world = World::with(|options| options.files = fixture_files());
        let mut start = world.start().set("PUBLISH_STATUS", "true");
        start.dev_server = Vec::new();
        let mut agent = start.run();
        let verdict = settled(&mut agent, 0);
        assert_eq!((&verdict["verdict"], &verdict["seen"]), (&json!("ok"), &json!("built")), "{verdict}");
        Preview { world, agent }
    }

    /// Saves a file, and returns the revision.
    fn save(&self, path: &str, text: &str) -> u64 {
        self.world.save(path, text);
        self.world.store().head().revision
    }

    fn problems(&mut self) -> Value {
        let (status, body) = self.agent.get("/problems");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Breaks a file: the problem that the editor gets for it.
    fn breaks(&mut self, case: &str, path: &str, text: &str) -> Value {
        let revision = self.save(path, text);
        let verdict = settled(&mut self.agent, revision);
        assert_eq!(verdict["verdict"], "broken", "{case}: {verdict}");
        let applied = self.applied_at(path);
        let problem = self.agent.seen.iter().rfind(|event| event["event_type"] == "problem").unwrap().clone();
        println!(
            "{case}: the problem {} ms after the write, the verdict {} ms",
            ms(&problem) - applied,
            ms(&verdict) - applied
        );
        let listed = self.problems();
        let open = listed["problems"].as_array().unwrap();
        assert_eq!(open.len(), 1, "{case}: {listed}");
        assert_eq!(open[0]["id"], problem["id"], "{case}");
        assert_eq!(listed["verdict"]["problems"], json!([problem["id"]]), "{case}");
        open[0].clone()
    }

    /// Repairs it: everything is well again.
    fn repairs(&mut self, case: &str, path: &str) {
        let revision = self.save(path, &fixture_file(path));
        let verdict = settled(&mut self.agent, revision);
        let (outcome, seen) = (&verdict["verdict"], &verdict["seen"]);
        assert_eq!((outcome, seen), (&json!("ok"), &json!("built")), "{case}: {verdict}");
        println!("{case}: repaired, the verdict {} ms after the write", ms(&verdict) - self.applied_at(path));
        assert_eq!(self.problems()["problems"], json!([]), "{case}");
        let resolved = |event: &Value| event["event_type"] == "problem_resolved";
        assert!(self.agent.seen.iter().any(resolved), "{case}");
        self.agent.seen.clear();
    }

    fn applied_at(&self, path: &str) -> i64 {
        let applied = |event: &&Value| event["event_type"] == "file_applied" && event["file_path"] == path;
        ms(self.agent.seen.iter().rfind(applied).unwrap())
    }
}

fn ms(event: &Value) -> i64 {
    event["uptime_ms"].as_i64().unwrap()
}

/// The first settled verdict on `revision` or a later one.
fn settled(agent: &mut Agent, revision: u64) -> Value {
    agent.wait_until("settled verdict", |event| {
        event["event_type"] == "verdict" && event["settled"] == true && event["revision"].as_u64() >= Some(revision)
    })
}

/// File, line and column.
fn place(problem: &Value) -> (&str, u64, u64) {
    let number = |name: &str| problem[name].as_u64().unwrap_or_default();
    (problem["file_path"].as_str().unwrap_or_default(), number("line"), number("column"))
}

#[test]
fn each_error_of_a_vite_project_is_a_problem_until_it_is_repaired() {
    let mut preview = Preview::start();
    let (notes, styles, html) = (fixture_file(NOTES), fixture_file("src/styles.css"), fixture_file("index.html"));
    let lines = |text: &str| text.lines().count() as u64;

    let syntax = preview.breaks("syntax error", NOTES, &format!("{notes}export const x = <div>;\n"));
    assert_eq!((syntax["kind"].as_str(), place(&syntax).0), (Some("build"), NOTES), "{syntax}");
    assert_eq!(place(&syntax).1, lines(&notes) + 1, "{syntax}");
    assert!(syntax["frame"].as_str().unwrap().contains("export const x"), "{syntax}");
    preview.repairs("syntax error", NOTES);

    for (case, name) in [("missing import", "./nope.jsx"), ("missing package", "left-padx")] {
        let text = notes.replacen("\nexport", &format!("\nimport y from '{name}'\nconsole.log(y)\nexport"), 1);
        let problem = preview.breaks(case, NOTES, &text);
        assert_eq!(place(&problem), (NOTES, 3, 15), "{problem}");
        assert!(problem["message"].as_str().unwrap().contains(name), "{problem}");
        preview.repairs(case, NOTES);
    }

    let css = preview.breaks("style sheet", "src/styles.css", &format!("{styles}.a {{ color: red;\n"));
    assert_eq!(place(&css), ("src/styles.css", lines(&styles) + 1, 1), "{css}");
    preview.repairs("style sheet", "src/styles.css");

    let document = preview.breaks("document", "index.html", &html.replace("/src/main.jsx", "/src/none.jsx"));
    assert_eq!(place(&document).0, "index.html", "{document}");
    preview.repairs("document", "index.html");

    let config = fixture_file("vite.config.js");
    let broken = preview.breaks("configuration", "vite.config.js", &format!("{config}const = 1\n"));
    assert_eq!((broken["kind"].as_str(), broken["code"].as_str()), (Some("server"), Some("config_error")), "{broken}");
    assert_eq!(place(&broken).0, "vite.config.js", "{broken}");
    assert_eq!(place(&broken).1, lines(&config) + 1, "{broken}");
    preview.repairs("configuration", "vite.config.js");

    // A file that is removed while another one imports it.
    preview.world.store().delete(NOTES, None, "test").unwrap();
    let revision = preview.world.store().head().revision;
    let verdict = settled(&mut preview.agent, revision);
    assert_eq!(verdict["verdict"], "broken", "{verdict}");
    let listed = preview.problems();
    assert_eq!(place(&listed["problems"][0]), ("src/App.jsx", 2, 19), "{listed}");
    preview.repairs("removed file", NOTES);

    // What nothing loads breaks nothing.
    let revision = preview.save("src/unused.jsx", "const = 1");
    assert_eq!(settled(&mut preview.agent, revision)["verdict"], "ok");

    let text = preview.agent.get("/metrics").1;
    let value = |series: &str| {
        let line = text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(value("preview_agent_problems{kind=\"build\"}"), 0.0);
    assert_eq!(value("preview_agent_problems_opened_total{kind=\"build\"}"), 6.0);
    assert_eq!(value("preview_agent_problems_opened_total{kind=\"server\"}"), 1.0);
    assert!(value("preview_agent_verdicts_total{verdict=\"broken\"}") >= 7.0);
    assert_eq!(preview.agent.status()["problems"]["count"], 0);

    let agents = preview.world.backend().agent_reports();
    eventually("the verdict is on the status topic", || agents.latest()[0]["verdict"]["revision"] == revision);
    assert!(preview.agent.stop().code().is_some());
}
