//! What a child gives up between fork and exec.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use rustix::process::{Gid, Pid, Signal, Uid, fchdir, getpid, getppid, set_parent_process_death_signal, setsid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::control_group::GroupEntry;
use super::{ProjectUser, limit_at_start, lower_open_files_limit, raise_own};
use crate::directory::Directory;

/// The capabilities needed to run children as another user, and to manage them and their files.
const NEEDED: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::DAC_OVERRIDE);

/// Whether children can be run as another user: root with the five capabilities above.
pub(crate) fn can_isolate() -> bool {
    rustix::process::geteuid().is_root() && capabilities(None).is_ok_and(|sets| sets.effective.contains(NEEDED))
}

/// User and group of a child.
#[derive(Debug, Clone, Copy)]
struct Ids {
    uid: Uid,
    gid: Gid,
}

/// Has `command`, before it becomes another program, begin a session, change to `user`, give up all capabilities and
/// the ways to gain new ones, and enter `dir`. The kernel kills it when the agent ends.
pub(crate) fn confine(
    command: &mut Command,
    user: Option<&ProjectUser>,
    dir: Arc<Directory>,
    group: Option<GroupEntry>,
) {
    let ids = user.map(|user| Ids { uid: user.uid(), gid: user.gid() });
    let agent = getpid();
    let enter_group = move || group.as_ref().map(GroupEntry::enter);
    let open_files = limit_at_start();
    // SAFETY: between fork and exec the closure only makes system calls; it allocates nothing and takes no lock.
    #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
    unsafe {
        command.pre_exec(move || {
            enter_group();
            lower_open_files_limit(open_files.as_ref());
            give_up(ids, agent, &dir)
        });
    }
}

fn give_up(ids: Option<Ids>, agent: Pid, dir: &Directory) -> io::Result<()> {
    // Its own session: it cannot move to a process group of the agent's session, where a stop would not reach it.
    setsid()?;
    // While there may be the capability that makes it final.
    raise_own();
    // To drop these needs SETPCAP. Without it they stay and have no effect: no_new_privs keeps them from being gained.
    for bit in 0..u64::BITS {
        let Some(capability) = CapabilitySet::from_bits(1 << bit) else { continue };
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    if let Some(Ids { uid, gid }) = ids {
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    // An old kernel without ambient capabilities has none to clear.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)?;
    // With the rights of the project's user: a directory that is closed to it stays closed.
    fchdir(dir)?;
    // The change of user would have undone this.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(agent) {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()));
    }
    Ok(())
}
