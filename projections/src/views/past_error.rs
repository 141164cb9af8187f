//! Why a query of an earlier state gets no answer, beside what queries of the newest one can meet.

use std::sync::Arc;

/// Why there are no views as of a position, by now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    #[error("the views as of position {position} are being built; repeat the request in a while")]
    Building { position: u64 },
    #[error("the views as of other positions are built first; repeat the request in a while")]
    Busy,
    #[error("the views as of position {position} cannot be built: too little room is left on the disk of the gateway")]
    DiskNearlyFull { position: u64, reason: Arc<str> },
    /// The query may succeed when it is tried again.
    #[error("the views as of position {position} cannot be built now; repeat the request in a while")]
    Unavailable { position: u64, reason: Arc<str> },
    /// The query would fail again.
    #[error("the views as of position {position} cannot be built; the log of the gateway says why")]
    Failed { position: u64, reason: Arc<str> },
    #[error("the views are stopping")]
    Stopping,
}
