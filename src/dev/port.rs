use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Whether somebody listens on `port` already, at any address of this machine.
pub fn is_taken(port: u16) -> bool {
    let everywhere = [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
    everywhere.into_iter().any(|address| {
        // Another error (no IPv6 here) says nothing about the port.
        TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_the_loopback_takes_the_port() -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        assert!(is_taken(port));
        drop(listener);
        assert!(!is_taken(port));
        Ok(())
    }
}
