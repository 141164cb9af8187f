//! Which parts of the gateway run in a process.

use events::named;

named! {
    /// The parts that run in a process.
    pub enum ServeMode {
        All = "all",
        /// Requests alone.
        Http = "http",
        /// The tail of the log and reports over gRPC, and no other requests.
        Grpc = "grpc",
        /// The work that one process at a time does for all, and no requests.
        Worker = "worker",
        /// Upgrades the ledger, and ends.
        Migrate = "migrate",
    }
}

impl ServeMode {
    pub const fn serves_requests(self) -> bool {
        matches!(self, Self::All | Self::Http)
    }

    pub const fn has_roles(self) -> bool {
        matches!(self, Self::All | Self::Worker)
    }

    /// True for a part of a gateway: the other parts are in processes that share its ledger.
    pub const fn is_one_of_several(self) -> bool {
        matches!(self, Self::Http | Self::Grpc | Self::Worker)
    }
}
