//! A dev server behind a proxy is found where it really listens.

use supervisor::dev_server::{DevServerEvent, DevServerState, Placement, RootAnswer, Scheme, Upstream};

use crate::harness::{Harness, free_port};

const PAGE: &str = r#"require("http").createServer((request, response) =>
  response.setHeader("content-type", "text/html").end("<p>page")).listen(PORT, "127.0.0.1")"#;

async fn behind_proxy(script: &str) -> Harness {
    let harness = Harness::new(|config| config.placement = Placement::BehindProxy { port: None }).await;
    harness.replace("server.js", script);
    harness.server.files_ready();
    harness
}

async fn upstream(harness: &Harness, fits: impl Fn(Upstream) -> bool) -> Upstream {
    let mut status = harness.server.watch();
    let found = status.wait_for(|status| status.state == DevServerState::Serving && status.upstream.is_some_and(&fits));
    let found = tokio::time::timeout(crate::harness::DEADLINE, found).await.expect("in time").expect("it runs").clone();
    found.upstream.expect("checked")
}

#[tokio::test]
async fn chosen_port_is_free_and_kept() {
    let mut harness = behind_proxy(&PAGE.replace("PORT", "process.env.PORT")).await;
    let first = upstream(&harness, |_| true).await;
    assert_eq!((first.scheme, first.answer), (Scheme::Http, RootAnswer::Page));
    assert_ne!(first.address.port(), harness.port);
    let pid = harness.server.status().pid.expect("a pid");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid"),
        rustix::process::Signal::KILL,
    )
    .expect("killed");
    harness.until(|event| matches!(event, DevServerEvent::Exited { .. }).then_some(())).await;
    assert_eq!(upstream(&harness, |_| true).await.address, first.address);
    harness.server.stop().await;
}

#[tokio::test]
async fn server_that_ignores_its_port_is_found() {
    let port = free_port().await;
    let harness = behind_proxy(&PAGE.replace("PORT", &port.to_string())).await;
    assert_eq!(upstream(&harness, |_| true).await.address.port(), port);
    harness.server.stop().await;
}

#[tokio::test]
async fn server_that_listens_on_another_address_is_asked_there() {
    let script = PAGE.replace("PORT", "process.env.PORT").replace("127.0.0.1", "127.0.0.2");
    let harness = behind_proxy(&script).await;
    assert_eq!(upstream(&harness, |_| true).await.address.ip().to_string(), "127.0.0.2");
    harness.server.stop().await;
}

#[tokio::test]
async fn server_of_a_grandchild_is_found() {
    let port = free_port().await;
    let script = r#"require("child_process").spawn("sh", ["-c", "node page.js & wait"], { detached: true })"#;
    let harness = Harness::new(|config| config.placement = Placement::BehindProxy { port: None }).await;
    harness.replace("server.js", script);
    harness.replace("page.js", &PAGE.replace("PORT", &port.to_string()));
    harness.server.files_ready();
    assert_eq!(upstream(&harness, |_| true).await.address.port(), port);
    harness.server.stop().await;
}

#[tokio::test]
async fn page_is_preferred_to_an_api_on_the_given_port() {
    let port = free_port().await;
    let api = r#"require("http").createServer((request, response) => response.end("{}")).listen(process.env.PORT);"#;
    // The page comes later than the API has been accepted.
    let page = format!("setTimeout(() => {{ {} }}, 2500)", PAGE.replace("PORT", &port.to_string()));
    let harness = Harness::new(|config| {
        config.placement = Placement::BehindProxy { port: None };
        config.limits.probe_interval = std::time::Duration::from_millis(100);
    })
    .await;
    harness.replace("server.js", &format!("{api}\n{page}"));
    harness.server.files_ready();
    let found = upstream(&harness, |upstream| upstream.answer == RootAnswer::Page).await;
    assert_eq!(found.address.port(), port);
    harness.server.stop().await;
}
