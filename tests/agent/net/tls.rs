use preview_agent::sync::net::{Net, NetError, describe};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::net::certificates::Certificates;

/// Answers one request over TLS, and says which protocol was agreed on.
async fn serve(certificates: &Certificates) -> (String, tokio::task::JoinHandle<Option<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let acceptor = certificates.acceptor(&["http/1.1"]);
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.ok()?;
        let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        stream.flush().await.unwrap();
        protocol
    });
    (url, task)
}

#[tokio::test]
async fn an_extra_ca_is_trusted_and_without_it_the_server_is_not() {
    let certificates = Certificates::new();
    let (url, task) = serve(&certificates).await;
    let net = Net::new(Some(certificates.ca.path())).unwrap();
    let answer = net.http_client().unwrap().get(&url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok");
    assert_eq!(task.await.unwrap().as_deref(), Some(&b"http/1.1"[..]));

    let (url, _task) = serve(&certificates).await;
    let error = Net::new(None).unwrap().http_client().unwrap().get(format!("{url}?token=s3cret")).send().await;
    let error = describe(error.unwrap_err());
    assert!(error.contains("certificate") && !error.contains("s3cret"), "{error}");
}

#[test]
fn a_ca_file_is_refused_by_its_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        Net::new(Some(file.path())).unwrap_err()
    };
    assert!(matches!(refused("nothing"), NetError::NoCa { .. }));
    let damaged = refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(matches!(damaged, NetError::BadCa { number: 1, .. }), "{damaged}");
    let missing = Net::new(Some("/nowhere/ca.pem".as_ref())).unwrap_err();
    assert!(missing.to_string().contains("EXTRA_CA_FILE: cannot read /nowhere/ca.pem: "), "{missing}");
}

#[tokio::test]
async fn downloads_follow_redirects_to_a_bound_and_requests_with_keys_follow_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(|| async { axum::response::Redirect::temporary("/again") });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let net = Net::new(None).unwrap();
    let error = net.http_client().unwrap().get(&url).send().await.unwrap_err();
    assert!(describe(error).contains("too many redirects"));
    assert_eq!(net.api_client().unwrap().get(&url).send().await.unwrap().status(), 307);
}
