//! The priority of threads whose work may wait.

/// Lowers the priority of the current thread, in units of `nice`.
#[cfg(target_os = "linux")]
pub fn lower_by(niceness: i32) {
    if let Err(error) = rustix::process::nice(niceness) {
        let thread = std::thread::current();
        tracing::warn!(thread = thread.name(), %error, "cannot lower the priority of a thread");
    }
}

/// Other systems than Linux would change the whole process.
#[cfg(not(target_os = "linux"))]
pub fn lower_by(_: i32) {}
