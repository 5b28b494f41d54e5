//! What goes out: TLS, HTTP, the websocket, reads, downloads and renewals, against small servers that misbehave.

#[path = "net/certificates.rs"]
mod certificates;
#[path = "net/database.rs"]
mod database;
#[path = "net/realtime.rs"]
mod realtime;
#[path = "net/renewal.rs"]
mod renewal;
#[path = "net/tls.rs"]
mod tls;
