//! The errors of queries, and the one table that maps them to refusals.

use axum::response::{IntoResponse, Response};
use events::concurrency::{NoRoom, QUERY_MAX, QueryLost};
use events::limit::LimitReached;
use events::log::LogError;
use events::refusal::{ErrorCode, Refusal};
use openapi::refusals;
use projections::views::{PastError, ViewsError};

/// A query failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// Nothing of this kind that the caller can see.
    #[error("no such {0}")]
    NotFound(&'static str),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error(transparent)]
    Lost(#[from] QueryLost),
    #[error(transparent)]
    Views(#[from] ViewsError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot render the response: {0}")]
    Json(#[from] serde_json::Error),
    /// The result that was read cannot be rendered.
    #[error("cannot render the response: {0}")]
    Answer(String),
}

impl From<Refusal> for QueryError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl QueryError {
    /// The refusal for the client, and the limit that was reached if it is one of the caller's own.
    pub fn into_refusal(self) -> (Refusal, Option<LimitReached>) {
        let limit_reached = if let Self::NoRoom(no_room) = &self { no_room.limit_reached() } else { None };
        (self.refusal(), limit_reached)
    }

    /// The refusal for the client. Its message never contains that of an inner error.
    fn refusal(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::NotFound(what) => Refusal::new(ErrorCode::NotFound, format!("no such {what}")),
            Self::Views(ViewsError::Behind(behind)) => Refusal::new(ErrorCode::ViewBehind, behind.to_string())
                .with("view", behind.view.as_str())
                .with("position", behind.position)
                .with("min_position", behind.wanted)
                .try_again(),
            Self::NoRoom(no_room) => no_room.refusal(),
            Self::Views(ViewsError::TookTooLong) | Self::Log(LogError::QueryTookTooLong(_)) => {
                let seconds = QUERY_MAX.as_secs();
                let message = format!("the query was ended after {seconds} s: narrow it by time, tenant or key");
                Refusal::new(ErrorCode::QueryTimeout, message).try_again()
            }
            Self::Views(error @ ViewsError::Rebuilding(view)) => Refusal::new(ErrorCode::ViewBehind, error.to_string())
                .with("view", view.as_str())
                .with("rebuilding", true)
                .try_again(),
            Self::Views(ViewsError::Past(error)) => past(&error),
            Self::Views(error @ ViewsError::Off) => Refusal::new(ErrorCode::ViewsOff, error.to_string()),
            Self::Views(ViewsError::Stopping(_)) => draining(),
            Self::Views(
                error @ (ViewsError::Database(_) | ViewsError::Stored(_) | ViewsError::StoredTime | ViewsError::Lost),
            ) => defect(&error),
            Self::Lost(error) => defect(&error),
            Self::Json(error) => defect(&error),
            Self::Answer(error) => defect(&error),
            Self::Log(error) => {
                Refusal::new(ErrorCode::LedgerUnavailable, "the log cannot be read now").try_again().because(error)
            }
        }
    }
}

/// The refusal of a query of an earlier state that is not there by now.
fn past(error: &PastError) -> Refusal {
    let behind = || Refusal::new(ErrorCode::ViewBehind, error.to_string()).try_again();
    match error {
        PastError::Building { position } => behind().with("as_of_position", *position),
        PastError::Busy => behind(),
        PastError::DiskNearlyFull { position, reason }
        | PastError::Unavailable { position, reason }
        | PastError::Failed { position, reason } => behind().with("as_of_position", *position).because(reason),
        PastError::Stopping => draining(),
    }
}

fn draining() -> Refusal {
    Refusal::new(ErrorCode::Draining, "the gateway is shutting down").try_again()
}

fn defect(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(ErrorCode::Internal, "the query failed").because(error)
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        let (refusal, limit_reached) = self.into_refusal();
        refusals::response_at_limit(refusal, limit_reached)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use projections::views::View;

    use super::*;

    #[test]
    fn a_view_without_rows_that_can_be_read_says_so_and_when_to_come_back() {
        let refusal = QueryError::from(ViewsError::Rebuilding(View::Audit)).refusal();
        assert_eq!((refusal.code, refusals::status(refusal.code).as_u16()), (ErrorCode::ViewBehind, 503));
        assert_eq!((&refusal.details["view"], &refusal.details["rebuilding"]), (&"audit".into(), &true.into()));
        assert_eq!(refusal.retry_after, Some(Refusal::TRY_AGAIN_AFTER));
        let slow = QueryError::from(ViewsError::TookTooLong).refusal();
        assert_eq!(
            (slow.code, refusals::status(slow.code).as_u16(), slow.retry_after),
            (ErrorCode::QueryTimeout, 503, Some(Refusal::TRY_AGAIN_AFTER))
        );
    }

    #[test]
    fn an_earlier_state_that_cannot_be_built_is_not_a_gateway_that_stops() {
        let (position, reason) = (7, "of a file".into());
        let refusal = |error: PastError| QueryError::from(ViewsError::from(error)).refusal();
        for error in [
            PastError::DiskNearlyFull { position, reason: Arc::clone(&reason) },
            PastError::Unavailable { position, reason: Arc::clone(&reason) },
            PastError::Failed { position, reason },
        ] {
            let refusal = refusal(error);
            assert_eq!((refusal.code, &refusal.details["as_of_position"]), (ErrorCode::ViewBehind, &position.into()));
            assert!(!refusal.message.contains("of a file"), "{}", refusal.message);
        }
        assert_eq!(refusal(PastError::Stopping).code, ErrorCode::Draining);
    }
}
