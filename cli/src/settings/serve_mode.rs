//! Which parts of the gateway run in a process.

/// The parts that run in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeMode {
    All,
    /// Requests alone.
    Http,
    /// The tail of the log and reports over gRPC, and no other requests.
    Grpc,
    /// The work that one process at a time does for all, and no requests.
    Worker,
    /// Upgrades the ledger, and ends.
    Migrate,
}

impl ServeMode {
    /// All modes by their words.
    pub const NAMED: [(&str, Self); 5] = [
        ("all", Self::All),
        ("http", Self::Http),
        ("grpc", Self::Grpc),
        ("worker", Self::Worker),
        ("migrate", Self::Migrate),
    ];

    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::NAMED.iter().map(|(word, _)| *word)
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::NAMED.iter().find_map(|(named, mode)| (*named == word).then_some(*mode))
    }

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
