//! The files that this process may have open, and what they are for: the ledger, the views and what else is its own; connections of
//! clients; and connections to providers. Each part has a bound, so that none takes what another needs.

use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections to the address for gRPC. Each has many calls at a time, and a program or a proxy needs one.
const GRPC_CONNECTIONS_MAX: usize = 1024;
/// The most connections to the separate address for metrics.
const METRICS_CONNECTIONS_MAX: usize = 64;
/// The most connections of clients, and to providers, whatever the limit of open files.
const CONNECTIONS_MAX: u64 = 16_384;
/// Files for databases, their readers, listeners and outlets: a quarter of all, within these bounds.
const OWN_FILES_MIN: u64 = 64;
const OWN_FILES_MAX: u64 = 256;
/// Files of a connection thread's runtime.
const FILES_OF_A_THREAD: u64 = 4;
/// Where files are fewer than anything needs, connections of each kind still get so many.
const CLIENTS_MIN: u64 = 16;
const UPSTREAMS_MIN: u64 = 8;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePlan {
    /// Those of clients, to all addresses together.
    pub clients: usize,
    /// Those to providers.
    pub upstreams: usize,
}

impl FilePlan {
    /// Raises the soft limit of open files to the hard one, and divides what it allows.
    pub fn make() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // If the limit may not be raised, the current one applies.
        let files = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
        let threads = available_parallelism().map_or(1, usize::from);
        Self::of(files.unwrap_or(u64::MAX), FILES_OF_A_THREAD * threads as u64 + look_ups())
    }

    /// Logs how many there may be, if the open-file limit leaves fewer than the gateway would take.
    pub fn log_if_limited(self) {
        let Self { clients, upstreams } = self;
        if self != Self::of(u64::MAX, 0) {
            tracing::info!(clients, upstreams, "connections are limited by the open-file limit");
        }
    }

    /// Two thirds of what is left are for clients, of which few have a request in flight at the same time.
    fn of(files: u64, of_work: u64) -> Self {
        let own = (files / 4).clamp(OWN_FILES_MIN, OWN_FILES_MAX) + of_work;
        let third = files.saturating_sub(own) / 3;
        let count = |files: u64| usize::try_from(files).unwrap_or(usize::MAX);
        Self {
            clients: count((third * 2).clamp(CLIENTS_MIN, CONNECTIONS_MAX)),
            upstreams: count(third.clamp(UPSTREAMS_MIN, CONNECTIONS_MAX)),
        }
    }
}

/// The files of names that are looked up.
fn look_ups() -> u64 {
    blocking_work::look_ups_max() as u64
}

/// The number of connections to the address for gRPC, out of all: a quarter at most.
pub fn grpc_connections_of(connections: usize) -> usize {
    GRPC_CONNECTIONS_MAX.min(connections / 4)
}

/// The number of connections to the separate address for metrics, out of all: an eighth at most.
pub fn metrics_connections_of(connections: usize) -> usize {
    METRICS_CONNECTIONS_MAX.min(connections / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (files, of_work, clients, upstreams) in [
            (0, 0, 16, 8),
            (256, 0, 128, 64),
            (256, 40, 100, 50),
            (1024, 136, 420, 210),
            (20_000, 264, 12_986, 6493),
            (65_536, 264, 16_384, 16_384),
            (u64::MAX, 264, 16_384, 16_384),
        ] {
            assert_eq!(FilePlan::of(files, of_work), FilePlan { clients, upstreams }, "{files} files");
        }
    }

    #[test]
    fn grpc_and_metrics_leave_most_connections_to_http() {
        for (all, grpc, metrics) in [(16, 4, 2), (152, 38, 19), (4095, 1023, 64), (16_384, 1024, 64)] {
            assert_eq!((grpc_connections_of(all), metrics_connections_of(all)), (grpc, metrics), "{all} connections");
        }
    }
}
