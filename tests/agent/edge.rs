//! The Edge Functions as they are deployed, under real Deno, against the local backend on a PostgreSQL; and the local
//! backend's own places of the same names.

mod canary;
mod functions;
mod keys;
mod limits;
mod scope;
mod socket;
mod suite;
mod world;
