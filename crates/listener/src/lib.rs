//! A small HTTP/1.1 server with bounds: how many connections it keeps, how long a request head or an idle connection may
//! take, how large a head may be.
//!
//! [`serve`] takes what `axum::serve` takes, so a router moves here with one line:
//!
//! ```ignore
//! let service = router.into_make_service_with_connect_info::<SocketAddr>();
//! tokio::spawn(listener::serve(tcp_listener, service, Limits::default(), std::future::pending()));
//! ```
//!
//! What a client that breaks a bound sees:
//!
//! | client | answer |
//! | --- | --- |
//! | sends no complete request head within [`Limits::head_time`] | 408, then the connection is closed |
//! | sends a head that is too large, or has too many fields | 431, then closed |
//! | keeps an idle connection longer than [`Limits::idle_time`] | closed; earlier where connections are scarce |
//! | stops in the middle of a request body for [`Limits::stall_time`] | the service reads an error |
//! | stops reading a response for [`Limits::stall_time`] | closed |
//! | comes when all its places are taken | 503, then closed |

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used)
)]

mod body;
mod client_io;
mod connection;
mod hosts;
mod limits;
mod places;
mod server;

pub use body::{RequestBody, StalledBody};
pub use hosts::{HostError, Hosts};
pub use limits::{Limits, open_files_limit};
pub use server::serve;
