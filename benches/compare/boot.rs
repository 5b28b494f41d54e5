//! From the agent's exec to its dev server's first answer, of a small project whose dependencies come in different ways.

mod managers;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::agent::{self, Agent};
use crate::archive::{self, Method};
use crate::bench::Bench;
use crate::flow::PARENT;
use crate::goals::Goal;
use crate::report::{Report, Table, time};
use crate::scratch::Place;
use crate::server::{Server, Speed};
use crate::stats::median;
use managers::{Manager, Managers};

/// One start, in seconds from the exec.
struct Boot {
    /// To the dev server's start.
    spawned: f64,
    /// Of that, in the package manager or in putting prepared dependencies in place.
    install: f64,
    /// To the dev server's first answer.
    answer: f64,
}

impl Boot {
    fn own(&self) -> f64 {
        self.spawned - self.install
    }
}

pub fn measure(bench: &Bench, report: &mut Report) {
    report.heading("Boot");
    if let Some(tool) = bench.tools.lacks(&["node", "npm"]) {
        return report.text(&format!("{tool} is not on this machine."));
    }
    let managers = Managers::prepare(bench);
    let ways: Vec<_> = managers.all().collect();
    let prepared = ways.iter().find(|manager| manager.name == managers::PREPARED).expect("it is always there");
    let mut runs: Vec<Vec<Boot>> = ways.iter().map(|_| Vec::new()).collect();
    let mut parents = Vec::new();
    // The first round fills the package managers' caches.
    let warm_ups = usize::from(!bench.options.quick);
    for round in 0..bench.options.rounds + warm_ups {
        for (manager, runs) in ways.iter().zip(&mut runs) {
            bench.say(&format!("round {round}: {}", manager.name));
            let measured = boot(agent::built(), &managers, manager);
            if round >= warm_ups {
                runs.push(measured);
            }
        }
        if bench.options.parent.is_some() {
            let measured = boot(agent::parent(), &managers, prepared);
            if round >= warm_ups {
                parents.push(measured);
            }
        }
    }
    let of = |runs: &[Boot], part: fn(&Boot) -> f64| median(&runs.iter().map(part).collect::<Vec<_>>());
    report.text(
        "`fixtures/react-vite` out of a snapshot on loopback, on tmpfs; the package managers' caches are warm. The agent's own\n\
         share is the time from its exec until the dev server is started, without what the package manager (or putting the\n\
         prepared dependencies in place) took.",
    );
    let mut table =
        Table::new(&["dependencies", "the agent's own share", "install", "dev server started", "first answer"]);
    let names = ways.iter().map(|manager| manager.name.to_owned());
    let parent = (!parents.is_empty()).then(|| (format!("{}, {PARENT}", managers::PREPARED), &parents));
    for (name, runs) in names.zip(&runs).chain(parent) {
        let cells = [of(runs, Boot::own), of(runs, |boot| boot.install), of(runs, |boot| boot.spawned)];
        let cells = cells.into_iter().chain([of(runs, |boot| boot.answer)]).map(time);
        table.row(std::iter::once(name).chain(cells).collect());
    }
    for (name, why) in managers.missing() {
        table.row(vec![(*name).to_owned(), (*why).to_owned(), String::new(), String::new(), String::new()]);
    }
    report.table(&table);
    let prepared = ways.iter().position(|manager| manager.name == managers::PREPARED).expect("it is always there");
    let own = of(&runs[prepared], Boot::own) * 1000.0;
    report.goal(Goal::at_most(
        "the agent's own share of a small project's boot, prepared dependencies",
        30.0,
        Some(own),
        " ms",
    ));
}

fn boot(binary: &Path, managers: &Managers, manager: &Manager) -> Boot {
    let temp = Place::Tmpfs.dir();
    let server = Server::start(Arc::new(archive::zip(&manager.files, Method::Deflated)), Speed::Unthrottled);
    let mut env = agent::session(server.url());
    env.extend(managers.env());
    if manager.name == managers::PREPARED {
        env.push(("PREPARED_DIR", managers.prepared_in(temp.path())));
    }
    let started = Instant::now();
    let mut agent = Agent::spawn(&mut agent::command_of(binary, temp.path(), &env));
    let mut install = 0.0;
    let spawned = loop {
        let event = agent.next();
        match event["event_type"].as_str() {
            Some("deps_done") => install = event["duration_ms"].as_f64().expect("a number") / 1000.0,
            Some("deps_failed") => panic!("{}: {event}", manager.name),
            Some("dev_server_start") => break started.elapsed().as_secs_f64(),
            _ => {}
        }
    };
    agent.wait_for("dev_server_ready");
    let answer = started.elapsed().as_secs_f64();
    agent.terminate();
    Boot { spawned, install, answer }
}
