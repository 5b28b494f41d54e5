//! A dev server behind a proxy is found where it really listens.

use supervisor::dev_server::{DevServerEvent, Placement, RootAnswer, Scheme, StateName, Upstream};

use crate::rig::{Rig, free_port};

const PAGE: &str = r#"require("http").createServer((request, response) =>
  response.setHeader("content-type", "text/html").end("<p>page")).listen(PORT, "127.0.0.1")"#;

async fn behind_proxy(script: &str) -> Rig {
    let rig = Rig::new(|config| config.placement = Placement::BehindProxy { port: None }).await;
    rig.replace("server.js", script);
    rig.server.files_ready();
    rig
}

async fn upstream(rig: &Rig, fits: impl Fn(Upstream) -> bool) -> Upstream {
    let mut status = rig.server.watch();
    let found = status.wait_for(|status| status.state == StateName::Serving && status.upstream.is_some_and(&fits));
    let found = tokio::time::timeout(crate::rig::PATIENCE, found).await.expect("in time").expect("it runs").clone();
    found.upstream.expect("checked")
}

#[tokio::test]
async fn the_port_that_it_is_given_is_free_and_kept() {
    let mut rig = behind_proxy(&PAGE.replace("PORT", "process.env.PORT")).await;
    let first = upstream(&rig, |_| true).await;
    assert_eq!((first.scheme, first.answer), (Scheme::Http, RootAnswer::Page));
    assert_ne!(first.address.port(), rig.port);
    let pid = rig.server.status().pid.expect("a pid");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid"),
        rustix::process::Signal::KILL,
    )
    .expect("killed");
    rig.until(|event| matches!(event, DevServerEvent::Exited { .. }).then_some(())).await;
    assert_eq!(upstream(&rig, |_| true).await.address, first.address);
    rig.server.stop().await;
}

#[tokio::test]
async fn a_server_that_ignores_its_port_is_found() {
    let port = free_port().await;
    let rig = behind_proxy(&PAGE.replace("PORT", &port.to_string())).await;
    assert_eq!(upstream(&rig, |_| true).await.address.port(), port);
    rig.server.stop().await;
}

#[tokio::test]
async fn a_server_of_a_grandchild_is_found() {
    let port = free_port().await;
    let script = r#"require("child_process").spawn("sh", ["-c", "node page.js & wait"], { detached: true })"#;
    let rig = Rig::new(|config| config.placement = Placement::BehindProxy { port: None }).await;
    rig.replace("server.js", script);
    rig.replace("page.js", &PAGE.replace("PORT", &port.to_string()));
    rig.server.files_ready();
    assert_eq!(upstream(&rig, |_| true).await.address.port(), port);
    rig.server.stop().await;
}

#[tokio::test]
async fn the_page_is_preferred_to_an_api_on_the_given_port() {
    let port = free_port().await;
    let api = r#"require("http").createServer((request, response) => response.end("{}")).listen(process.env.PORT);"#;
    // The page comes later than the API has been accepted.
    let page = format!("setTimeout(() => {{ {} }}, 2500)", PAGE.replace("PORT", &port.to_string()));
    let rig = Rig::new(|config| {
        config.placement = Placement::BehindProxy { port: None };
        config.limits.probe_interval = std::time::Duration::from_millis(100);
    })
    .await;
    rig.replace("server.js", &format!("{api}\n{page}"));
    rig.server.files_ready();
    let found = upstream(&rig, |upstream| upstream.answer == RootAnswer::Page).await;
    assert_eq!(found.address.port(), port);
    rig.server.stop().await;
}
