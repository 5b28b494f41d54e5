//! What a child gives up between fork and exec.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::ProjectUser;

/// The rights that it takes to run children as another user, and to look after them and their files.
const NEEDED: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::DAC_OVERRIDE);

/// Whether children can be run as another user: root with the five rights above.
pub(crate) fn can_isolate() -> bool {
    rustix::process::geteuid().is_root() && capabilities(None).is_ok_and(|sets| sets.effective.contains(NEEDED))
}

/// Has `command` give up what it can before it becomes another program: its user (where one is given), every
/// capability, the hope for new ones, and its life when ours ends.
pub(crate) fn confine(command: &mut Command, user: Option<&ProjectUser>) {
    let ids = user.map(|user| (user.uid(), user.gid()));
    let agent = getpid();
    #[expect(
        unsafe_code,
        reason = "the closure runs between fork and exec; it only makes system calls, and allocates nothing"
    )]
    unsafe {
        command.pre_exec(move || give_up(ids, agent));
    }
}

fn give_up(ids: Option<(rustix::process::Uid, rustix::process::Gid)>, agent: Pid) -> io::Result<()> {
    // Dropping these takes SETPCAP. Without it they stay, and mean nothing: no_new_privs lets nobody gain from them.
    for bit in 0..u64::BITS {
        let Some(capability) = CapabilitySet::from_bits(1 << bit) else { continue };
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    if let Some((uid, gid)) = ids {
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    // An old kernel without ambient capabilities has none to clear.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)?;
    // After the change of user, which would undo it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(agent) {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()));
    }
    Ok(())
}
