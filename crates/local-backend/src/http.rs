//! The HTTP API: PostgREST's functions and tables, storage, the Edge Functions, broadcasts, websockets and faults.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used))]

mod broadcast;
mod download;
mod edge_functions;
mod fault_control;
mod multipart;
mod postgrest;
mod renewal;
pub mod router;
mod rpc;
pub mod server;
pub mod state;
mod storage;
mod tables;
mod websocket;
