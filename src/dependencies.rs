//! What the project's package manager has installed, and what it must install.
