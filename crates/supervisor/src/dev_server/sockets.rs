//! Finds the ports that the processes of a dev server listen on, in the kernel's tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    for pid in members(leader) {
        let dir = format!("/proc/{pid}");
        match std::fs::read_dir(format!("{dir}/fd")) {
            Ok(files) => owners.inodes.extend(files.flatten().filter_map(|file| socket_inode(&file.path()))),
            Err(_) => {
                let user = std::fs::metadata(&dir).map(|dir| dir.uid()).ok();
                owners.users.extend(user.filter(|user| *user != own_user));
            }
        }
    }
    owners
}

fn socket_inode(link: &Path) -> Option<u64> {
    let target = std::fs::read_link(link).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The processes of `leader`'s group, and all descendants of `leader`, whatever group they moved to.
fn members(leader: u32) -> BTreeSet<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut members = BTreeSet::from([leader]);
    for pid in pids {
        let Some(Relations { parent, group }) = relations(pid) else { continue };
        children.entry(parent).or_default().push(pid);
        if group == leader {
            members.insert(pid);
        }
    }
    let mut unseen: Vec<u32> = members.iter().copied().collect();
    while let Some(pid) = unseen.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            members.insert(child);
            unseen.push(child);
        }
    }
    members
}

struct Relations {
    parent: u32,
    group: u32,
}

fn relations(pid: u32) -> Option<Relations> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may contain anything; state, parent and group follow the last bracket.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end..)?).ok()?;
    // The bracket itself is the first field, the state the second.
    let mut fields = rest.split_ascii_whitespace().skip(2).map(str::parse);
    Some(Relations { parent: fields.next()?.ok()?, group: fields.next()?.ok()? })
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
