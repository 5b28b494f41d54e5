//! The proxy between raw sockets: what each kind of request, and each kind of dev server, leads to.

mod clients;
mod dev_servers;
mod reports;
mod rig;
mod waiting;
