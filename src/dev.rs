//! Local mode: backend, agent and dev server for a folder on this machine.
