//! The HTTP API: PostgREST's functions and tables, storage, the Edge Functions, broadcasts and the switches of faults.

mod arguments;
mod broadcast;
mod download;
pub mod edge_functions;
mod fault_control;
mod multipart;
pub mod postgrest;
mod renewal;
pub mod rpc;
pub mod server;
pub mod storage;
mod tables;
