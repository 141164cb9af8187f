//! How many connections are taken at a time: as many as there are files for, with some left for the ledger, the views
//! and the upstreams.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// However many files there are.
const CONNECTIONS_MAX: u64 = 16_384;
/// Of the files of a process that are no client's: databases, their readers, what listens.
const OWN_FILES: u64 = 64;

/// Takes all the files that this process may have; the number of connections that leaves.
pub fn take() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // What may not be raised stays.
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let places = connections_of(files.unwrap_or(u64::MAX));
    if places < CONNECTIONS_MAX {
        tracing::info!(files, connections = places, "the limit of open files bounds the connections");
    }
    usize::try_from(places).unwrap_or(usize::MAX)
}

/// A fifth is for upstreams: of those who are connected few ask at the same time.
fn connections_of(files: u64) -> u64 {
    (files.saturating_sub(OWN_FILES) / 5 * 4).clamp(16, CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (files, connections) in [(0, 16), (256, 152), (1024, 768), (20_480, 16_332), (u64::MAX, 16_384)] {
            assert_eq!(connections_of(files), connections, "{files} files");
        }
    }
}
