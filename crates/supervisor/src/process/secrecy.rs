//! Keeps the agent's memory and environment from other processes.

/// Keeps other processes of the same user from reading this process's memory, environment and open files, and from
/// tracing it. To be called before a secret is in memory.
pub fn become_unreadable() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        // The log does not work yet.
        eprintln!("preview-agent: cannot keep other processes from reading its memory: {error}");
    }
}

/// Overwrites the values of these variables at the place where the system put them at the start. `/proc/<pid>/environ`
/// shows that place to root outside of the container's user namespace, to debuggers and in crash dumps. To be called
/// while there is one thread, after the values were read: they are empty from then on.
///
/// A second exec without the variables would also do it, but would need another way to pass the values, and time.
pub fn wipe_environment(is_secret: impl Fn(&str) -> bool) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: there is one thread, so nothing else uses the C library's table. Each entry is a string that ends with a
        // zero byte, and only bytes before that one are written.
        #[expect(unsafe_code, reason = "the C library's own table is the only way to the place of the values")]
        unsafe {
            unsafe extern "C" {
                static mut environ: *mut *mut std::ffi::c_char;
            }
            let mut entry = environ;
            while !entry.is_null() && !(*entry).is_null() {
                let text = std::ffi::CStr::from_ptr(*entry).to_bytes();
                let name = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
                let secret = std::str::from_utf8(text.split_at(name).0).is_ok_and(&is_secret);
                let (start, end) = (name.saturating_add(1), text.len());
                if secret {
                    for at in start..end {
                        // Volatile, because nothing in this program reads it again.
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
