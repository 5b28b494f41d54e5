//! Downloads a snapshot and extracts it while it arrives.
