//! What goes out: TLS, HTTP, the websocket, reads, downloads and renewals, against small servers that misbehave.

mod certificates;
mod database;
mod realtime;
mod renewal;
mod tls;
