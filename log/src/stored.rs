//! Values that both engines store as the same texts and numbers. A ledger is copied from one engine to the other without
//! reading them, so there is one place that writes and reads each.

use std::collections::BTreeSet;
use std::fmt::Display;

use chrono::{DateTime, Utc};
use events::event::hold::BudgetWindow;
use events::event::{Context, Recorded, StreamKind};
use events::fraction::Fraction;
use events::ledger::Balances;
use events::time::from_micros;

use super::LogError;

/// The error for a stored value that cannot be read, or a value that cannot be stored.
pub(super) fn stored(error: impl Display) -> LogError {
    LogError::Stored(error.to_string())
}

/// A position, or a number of rows, as databases take it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A stored context, which is JSON.
pub(super) fn read_context(json: &str) -> Result<Context, LogError> {
    serde_json::from_str(json).map_err(stored)
}

/// The announced fractions of a window as one text, such as `0.5,0.8`.
pub(super) fn stored_announced(balances: &Balances, window: &BudgetWindow) -> String {
    balances.announced(window).map(|fraction| fraction.to_string()).collect::<Vec<_>>().join(",")
}

/// The inverse of [`stored_announced`].
pub(super) fn read_announced(text: &str) -> Result<BTreeSet<Fraction>, LogError> {
    text.split(',').filter(|fraction| !fraction.is_empty()).map(parsed).collect()
}

/// -1 stands for the window of the period `total`, which has no start: no window begins before 1970.
pub(super) fn stored_window_start(window: &BudgetWindow) -> i64 {
    window.window_start.map_or(-1, |start| start.timestamp_micros())
}

/// The inverse of [`stored_window_start`].
pub(super) fn read_window_start(stored: i64) -> Option<DateTime<Utc>> {
    (stored >= 0).then(|| from_micros(stored))
}

/// Parses a stored id, number or fraction.
pub(super) fn parsed<T: std::str::FromStr<Err: Display>>(text: &str) -> Result<T, LogError> {
    text.parse().map_err(|error| stored(format!("{text}: {error}")))
}

/// True if the context's request is the event's stream: such a context is stored once for all its requests, without the
/// request (ADR-0014).
pub(super) fn is_of_its_request(recorded: &Recorded) -> bool {
    let Recorded { stream, context, .. } = recorded;
    matches!(stream.kind, StreamKind::Inference | StreamKind::Hold)
        && context.request_id.is_some_and(|request| request.is_written(&stream.id))
}
