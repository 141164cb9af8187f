//! The check of order: positions have no gaps, time never goes back, and every event is on a stream of its kind. Gaps within
//! streams are checked along their index, see `streams`.

use chrono::{DateTime, Utc};
use events::event::Recorded;

/// The progress of the check.
#[derive(Default)]
pub(super) struct OrderCheck {
    /// The last position that was checked.
    pub(super) position: u64,
    recorded_at: Option<DateTime<Utc>>,
}

impl OrderCheck {
    pub(super) fn follows(&self, position: u64) -> Result<(), String> {
        let wanted = self.position + 1;
        if position == wanted { Ok(()) } else { Err(format!("position {wanted} is missing")) }
    }

    pub(super) fn check(&mut self, recorded: &Recorded) -> Result<(), String> {
        self.follows(recorded.position)?;
        if self.recorded_at.is_some_and(|last| recorded.recorded_at < last) {
            return Err("it was recorded before the event in front of it".to_owned());
        }
        must_be_on_its_stream(recorded)?;
        (self.position, self.recorded_at) = (recorded.position, Some(recorded.recorded_at));
        Ok(())
    }
}

/// An event of its kind, in a place that its kind may have.
pub(super) fn must_be_on_its_stream(recorded: &Recorded) -> Result<(), String> {
    let (event, stream) = (&recorded.event, &recorded.stream);
    let is_of_it = event.stream_id().is_none_or(|id| id == stream.id);
    if event.stream_kind() != stream.kind || !is_of_it {
        return Err(format!("{} on the stream {stream}", event.name()));
    }
    if !event.sequence_rule().allows(recorded.sequence) {
        return Err(format!("{} is number {} of {stream}", event.name(), recorded.sequence));
    }
    Ok(())
}
