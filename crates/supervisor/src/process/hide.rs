//! Keeping what the agent knows from processes beside it.

/// Lets no process of the same user read this one's memory, environment and handles, or trace it. To be called before
/// there is a secret in memory.
pub fn become_unreadable() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        // No kernel refuses it; and nothing can be logged yet.
        eprintln!("preview-agent: cannot make itself unreadable: {error}");
    }
}

/// Overwrites the values of these variables where the system put them at the start, which is what `/proc/<pid>/environ`
/// shows to whoever may look: a root outside of the container's user namespace, a debugger, a crash dump. To be called
/// while there is one thread, once the values have been read: they are empty from then on.
///
/// In place rather than by a second exec, which would have to hand the values over and costs a start.
pub fn wipe_environment(is_secret: impl Fn(&str) -> bool) {
    #[cfg(target_os = "linux")]
    {
        #[expect(unsafe_code, reason = "the C library's own table is the only way to where the values lie")]
        unsafe {
            unsafe extern "C" {
                static mut environ: *mut *mut std::ffi::c_char;
            }
            let mut entry = environ;
            while !entry.is_null() && !(*entry).is_null() {
                let text = std::ffi::CStr::from_ptr(*entry).to_bytes();
                let name = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
                let secret = std::str::from_utf8(&text[..name]).is_ok_and(&is_secret);
                let (start, end) = (name + 1, text.len());
                if secret {
                    for at in start..end {
                        // Volatile: nobody in this program reads it again, and it must happen all the same.
                        (*entry).add(at).write_volatile(0);
                    }
                }
                entry = entry.add(1);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = is_secret;
}
