//! What goes out: TLS, HTTP, the websocket, reads, downloads and renewals, against small servers that misbehave.

#[path = "net/certificates.rs"]
mod certificates;
#[path = "net/realtime.rs"]
mod realtime;
#[path = "net/tls.rs"]
mod tls;
