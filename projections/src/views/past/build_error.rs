//! Why the views as of a position could not be built.

use std::io;

use events_log::LogError;

use crate::views::past_error::PastError;
use crate::views::projector::is_storage_failure;
use crate::views::replay_error::ReplayError;
use crate::views::snapshots::NoRoom;
use crate::views::store::StoreError;

/// The views as of a position could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("the views' file: {0}")]
    Views(#[from] io::Error),
    #[error("it panicked, which is a defect of the gateway")]
    Panicked,
}

impl BuildError {
    pub fn for_queries(&self, position: u64) -> PastError {
        let reason = self.to_string().into();
        match self {
            Self::Replay(ReplayError::Stopped) => PastError::Stopping,
            Self::NoRoom(NoRoom::DiskNearlyFull { .. }) => PastError::DiskNearlyFull { position, reason },
            _ if self.stays() => PastError::Failed { position, reason },
            _ => PastError::Unavailable { position, reason },
        }
    }

    /// Whether another build would fail as well, for all that is known.
    fn stays(&self) -> bool {
        match self {
            Self::Panicked | Self::Replay(ReplayError::Incomplete { .. }) => true,
            Self::Replay(ReplayError::Store(StoreError::Database(error))) => !is_storage_failure(error),
            Self::Replay(ReplayError::Store(StoreError::Log(error)) | ReplayError::Log(error)) | Self::Log(error) => {
                error.is_about_what_is_stored()
            }
            // The file system, or a log that was replaced meanwhile.
            Self::Replay(
                ReplayError::Store(StoreError::Delete { .. } | StoreError::WalHeld { .. })
                | ReplayError::LogReplaced(_)
                | ReplayError::Write(_)
                | ReplayError::Stopped,
            )
            | Self::NoRoom(_)
            | Self::Views(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use events_log::{EngineError, EngineErrorKind};
    use rusqlite::ffi;

    use super::*;
    use crate::views::View;

    fn engine(kind: EngineErrorKind) -> LogError {
        EngineError { kind, message: "no".to_owned() }.into()
    }

    fn sqlite(code: i32) -> ReplayError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    fn reason(error: &BuildError) -> PastError {
        error.for_queries(7)
    }

    #[test]
    fn what_would_fail_again_is_told_from_what_may_pass() {
        let incomplete = ReplayError::Incomplete { view: View::Audit, position: 7, reason: "no".to_owned() };
        let stays: [BuildError; 6] = [
            BuildError::Panicked,
            incomplete.into(),
            LogError::Stored("no".to_owned()).into(),
            engine(EngineErrorKind::Damaged).into(),
            ReplayError::from(engine(EngineErrorKind::Data)).into(),
            sqlite(ffi::SQLITE_CONSTRAINT).into(),
        ];
        for error in &stays {
            assert!(matches!(reason(error), PastError::Failed { position: 7, .. }), "{error}");
        }
        let passes: [BuildError; 6] = [
            engine(EngineErrorKind::Unavailable).into(),
            LogError::TimedOut(std::time::Duration::ZERO).into(),
            ReplayError::LogReplaced(3).into(),
            ReplayError::Write(io::Error::other("no")).into(),
            sqlite(ffi::SQLITE_FULL).into(),
            BuildError::Views(io::Error::other("no")),
        ];
        for error in &passes {
            assert!(matches!(reason(error), PastError::Unavailable { position: 7, .. }), "{error}");
        }
        let full = NoRoom::DiskNearlyFull { free: 1, needed: 2 }.into();
        assert!(matches!(reason(&full), PastError::DiskNearlyFull { position: 7, .. }));
        assert_eq!(reason(&ReplayError::Stopped.into()), PastError::Stopping);
    }
}
