//! Requests to the preview port, as bytes.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::DEADLINE;

/// The whole answer to a navigation.
pub fn get(address: &str, target: &str) -> String {
    send(
        address,
        &format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends bytes, and reads until the other side closes.
pub fn send(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // An answer may come before all is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The two parts of an answer.
pub fn head_and_body(answer: &str) -> (&str, &str) {
    answer.split_once("\r\n\r\n").unwrap_or((answer, ""))
}
