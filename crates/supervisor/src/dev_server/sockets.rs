//! Finds the ports that the processes of a dev server listen on, in the kernel's tables.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::process::ProcessTable;

/// Listening sockets looked at for one dev server. Real ones have one to five.
const MAX_SOCKETS: usize = 16;
/// `TCP_LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Addresses to connect to, one for each socket that the process group or a descendant of `leader` listens on, in order
/// of their ports. Empty where there is no `/proc`.
pub(super) fn listening(leader: u32) -> Vec<SocketAddr> {
    let owners = owners(leader);
    if owners.is_empty() {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = std::fs::read_to_string(table) else { continue };
        let sockets = text.lines().skip(1).filter_map(parse);
        found.extend(sockets.filter(|socket| owners.own(socket)).map(|socket| reachable(socket.address)));
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|address| (address.port(), address.is_ipv6()));
    found.truncate(MAX_SOCKETS);
    found
}

/// What shows that a socket is the dev server's.
#[derive(Debug, Default)]
struct Owners {
    inodes: BTreeSet<u64>,
    /// Of processes whose files cannot be read: another user's, where the agent may not look. The agent itself is
    /// never among these users.
    users: BTreeSet<u32>,
}

impl Owners {
    fn is_empty(&self) -> bool {
        self.inodes.is_empty() && self.users.is_empty()
    }

    fn own(&self, socket: &Socket) -> bool {
        self.inodes.contains(&socket.inode) || self.users.contains(&socket.user)
    }
}

fn owners(leader: u32) -> Owners {
    let mut owners = Owners::default();
    let own_user = rustix::process::geteuid().as_raw();
    for pid in ProcessTable::read().members(leader.cast_signed()) {
        let dir = format!("/proc/{pid}");
        match sockets_of(&dir) {
            Ok(inodes) => owners.inodes.extend(inodes),
            Err(_) => {
                let user = std::fs::metadata(&dir).map(|dir| dir.uid()).ok();
                owners.users.extend(user.filter(|user| *user != own_user));
            }
        }
    }
    owners
}

/// The inodes of a process's sockets.
///
/// # Errors
/// Its files cannot be read. As root without SYS_PTRACE the agent can list another user's descriptors, and cannot read
/// what they are.
fn sockets_of(dir: &str) -> io::Result<Vec<u64>> {
    let mut inodes = Vec::new();
    for file in std::fs::read_dir(format!("{dir}/fd"))?.flatten() {
        match std::fs::read_link(file.path()) {
            Ok(target) => inodes.extend(socket_inode(&target)),
            // It was closed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(inodes)
}

fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: SocketAddr,
    user: u32,
    inode: u64,
}

/// One line of `/proc/net/tcp` or `tcp6`, where it is a listening socket.
fn parse(line: &str) -> Option<Socket> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, _, _, _, user, _, inode, ..] = fields[..] else { return None };
    if state != LISTEN {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Groups of four bytes, each as the machine's own integer.
    let words = ip.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    Some(Socket { address: SocketAddr::new(ip, port), user: user.parse().ok()?, inode: inode.parse().ok()? })
}

/// Where a socket that listens on `address` can be connected to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_listening_sockets_of_both_families() {
        let text =
            "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 424242 1 0 100";
        let socket = parse(text).expect("a socket");
        assert_eq!(socket, Socket { address: ([127, 0, 0, 1], 8080).into(), user: 1000, inode: 424_242 });
        let six =
            "   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 77 1";
        assert_eq!(reachable(parse(six).expect("a socket").address), "[::1]:3000".parse().expect("an address"));
        assert_eq!(parse(&text.replace(" 0A ", " 01 ")), None);
    }

    #[test]
    fn finds_a_socket_of_this_process_and_no_others() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        assert!(listening(std::process::id()).contains(&address));
        #[allow(clippy::disallowed_methods, reason = "a test needs its own process")]
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
        let found = listening(child.id());
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(!found.contains(&address), "{found:?}");
    }
}
