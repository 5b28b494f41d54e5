//! The websocket: frames in and out.
