//! One TLS configuration and one resolver for everything that goes out.
