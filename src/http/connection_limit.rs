//! The number of connections accepted at a time: as many as the limit of open files allows, less those that the ledger,
//! the views and the upstreams need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections to the address for gRPC. Each has many calls at a time, and a program or a proxy needs one.
const GRPC_CONNECTIONS_MAX: usize = 1024;
/// The most connections, whatever the limit of open files.
const CONNECTIONS_MAX: u64 = 16_384;
/// Files for anything but connections: databases, their readers, listeners.
const OWN_FILES: u64 = 64;
/// Files of a connection thread's runtime.
const FILES_OF_A_THREAD: u64 = 4;

/// Raises the soft limit of open files to the hard one, and returns the number of connections that it allows.
pub fn raise_connection_limit(threads: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // If the limit may not be raised, the current one applies.
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let own_files = OWN_FILES + FILES_OF_A_THREAD * threads as u64;
    let connections = connections_of(files.unwrap_or(u64::MAX), own_files);
    if connections < CONNECTIONS_MAX {
        tracing::info!(files, connections, "connections are limited by the open-file limit");
    }
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// The number of connections to the address for gRPC, out of all: a quarter at most.
pub fn grpc_connections_of(connections: usize) -> usize {
    GRPC_CONNECTIONS_MAX.min(connections / 4)
}

/// A fifth is left for upstreams: few of the connected clients have a request in flight at the same time.
fn connections_of(files: u64, own_files: u64) -> u64 {
    (files.saturating_sub(own_files) / 5 * 4).clamp(16, CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (files, connections) in [(0, 16), (256, 152), (1024, 768), (20_480, 16_332), (u64::MAX, 16_384)] {
            assert_eq!(connections_of(files, OWN_FILES), connections, "{files} files");
        }
        assert_eq!(connections_of(1024, OWN_FILES + 200), 608);
    }

    #[test]
    fn grpc_leaves_most_connections_to_http() {
        for (all, grpc) in [(16, 4), (152, 38), (4095, 1023), (16_384, 1024)] {
            assert_eq!(grpc_connections_of(all), grpc, "{all} connections");
        }
    }
}
