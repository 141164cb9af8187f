//! Whether a version that an admission names was in force.

use events::decision_time::may_have_known;
use events::event::Recorded;

use crate::{LogError, Reader};

/// Whether a version of a resource was the newest one when a request may have been planned.
pub(super) fn was_in_force(reader: &dyn Reader, version: &Recorded, admitted: &Recorded) -> Result<bool, LogError> {
    if version.position >= admitted.position {
        return Ok(false);
    }
    let changes = reader.stream(&version.stream)?;
    let mut later = changes.iter().filter(|change| change.position > version.position);
    let next = later.next().filter(|next| next.position < admitted.position);
    Ok(next.is_none_or(|next| may_have_known(next.recorded_at, admitted.recorded_at)))
}
