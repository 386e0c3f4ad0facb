//! How many arenas the C library's allocator keeps. glibc gives every thread one of its own, up to eight a core, and gives little of them
//! back: a process that runs for months ends up with the sum of what each thread once needed. Measured (`scripts/bench-load --only growth`,
//! docs/performance.md), one arena halves what five million requests leave behind, at no cost per request: the path of a request does not
//! allocate. glibc reads the number before `main` and offers no other way without `unsafe`, so the program starts itself anew, once, in the
//! same process. Whoever has set it (or any of glibc's tunables) keeps what was set; another C library is left alone.

use crate::config;

/// The variable that says how many.
const ARENAS: &str = "MALLOC_ARENA_MAX";
/// glibc's other way to say it.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Starts the program anew with one arena, unless somebody has chosen already. Returns when there is nothing to do, and when it cannot be
/// done: more memory is better than no daemon.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn settle() {
    use std::os::unix::process::CommandExt;

    if config::is_in_environment(ARENAS) || config::is_in_environment(TUNABLES) {
        return;
    }
    let mut words = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), words.next()) else { return };
    // Started by something else (`ld.so plimsoll serve`), that would be started anew, and take our first word for a program.
    if program.file_name() != std::path::Path::new(&name).file_name() {
        return;
    }
    // Does not return when it succeeds. The process stays the same one: its id, its descriptors, its working directory.
    let _error = std::process::Command::new(program).arg0(name).args(words).env(ARENAS, "1").exec();
}

/// Another C library: nothing to do.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn settle() {}
