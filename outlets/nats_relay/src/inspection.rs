//! The inspection of the stream: whether it is a copy of this log, where it ends, and what its consumers should know.

use events::canonical::{self, CanonicalError};
use events::event::Recorded;
use events_log::role::RoleMemory;
use events_log::{Log, PositionStatus};

use crate::connection::Connection;
use crate::failure::RelayError;
use crate::stream::{StreamInfo, prepare};

/// The stream, which is a copy of the log up to its end.
pub struct Inspected {
    /// The last position in it.
    pub last: u64,
    /// When it was created, as the server writes it.
    pub created: String,
    pub bytes: u64,
    first: u64,
    deleted: u64,
}

/// Something that was done to the stream. The relay goes on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("was deleted and made again: it ends at {last}, and is filled from there")]
    MadeAgain { last: u64 },
    #[error("was cut: it had reached {remembered}, ends at {last}, and is filled again from there")]
    Cut { last: u64, remembered: u64 },
    #[error("was purged: it begins at {first}, so new consumers do not get what was before")]
    WithoutItsBeginning { first: u64 },
    #[error("has lost {deleted} of its messages: they were deleted, so new consumers do not get them")]
    WithHoles { deleted: u64 },
}

/// Inspects the stream, and creates it if there is none.
pub async fn inspect(log: &Log, connection: &Connection, replicas: u8) -> Result<Inspected, RelayError> {
    let StreamInfo { created, state, .. } = prepare(connection, replicas).await?;
    let last = state.last_seq;
    if last > 0 {
        must_be_recorded(log, last).await?;
        must_be_its_event(log, connection, last).await?;
    }
    Ok(Inspected { last, created, bytes: state.bytes, first: state.first_seq, deleted: state.num_deleted })
}

async fn must_be_recorded(log: &Log, last: u64) -> Result<(), RelayError> {
    match log.wait_until_known(last).await {
        PositionStatus::Recorded => Ok(()),
        PositionStatus::NotRecorded => Err(RelayError::Ahead { stream: last, log: log.head().position }),
        PositionStatus::Unknown => Err(RelayError::HeadUnknown),
    }
}

/// The last message proves those before it, which were only accepted one after the other.
async fn must_be_its_event(log: &Log, connection: &Connection, last: u64) -> Result<(), RelayError> {
    // A deleted one cannot be compared. That it is missing is a finding.
    let Some(stored) = connection.stored(last).await? else { return Ok(()) };
    let recorded = log.read(move |reader| reader.after(last - 1, 1)).await?;
    let is_its_event = match recorded.first() {
        Some(recorded) => recorded.position == last && is_message_of(&stored, recorded)?,
        None => false,
    };
    if is_its_event { Ok(()) } else { Err(RelayError::OtherEvent { position: last }) }
}

/// True for the whole event, and for the event without its data: the server may have taken shorter messages then.
fn is_message_of(stored: &[u8], recorded: &Recorded) -> Result<bool, CanonicalError> {
    let envelope = canonical::envelope(recorded)?;
    Ok(envelope.as_bytes() == stored || canonical::without_data(envelope.as_bytes())?.as_bytes() == stored)
}

impl Inspected {
    /// The newest memory of this stream, or of another one if there is none of this.
    pub fn newest(&self, memories: [Option<RoleMemory>; 2]) -> Option<RoleMemory> {
        memories.into_iter().flatten().max_by_key(|memory| (memory.detail == self.created, memory.position))
    }

    /// The change of the stream since a relay remembered its end, and its time of creation.
    pub fn finding(&self, memory: Option<&RoleMemory>) -> Option<Finding> {
        let Self { last, ref created, first, deleted, .. } = *self;
        match memory {
            Some(memory) if memory.detail != *created => return Some(Finding::MadeAgain { last }),
            Some(memory) if memory.position > last => {
                return Some(Finding::Cut { last, remembered: memory.position });
            }
            Some(_) | None => {}
        }
        match (first, deleted) {
            (2.., _) => Some(Finding::WithoutItsBeginning { first }),
            (_, 1..) => Some(Finding::WithHoles { deleted }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_to_the_stream_is_found() {
        let inspected =
            |last, first, deleted| Inspected { last, created: "monday".to_owned(), bytes: 0, first, deleted };
        let monday = |position| RoleMemory { position, detail: "monday".to_owned() };
        let sunday = RoleMemory { position: 4, detail: "sunday".to_owned() };
        assert_eq!(inspected(0, 0, 0).finding(None), None);
        assert_eq!(inspected(9, 1, 0).finding(Some(&monday(9))), None);
        assert_eq!(inspected(9, 1, 0).finding(Some(&monday(4))), None);
        assert_eq!(inspected(0, 0, 0).finding(Some(&sunday)), Some(Finding::MadeAgain { last: 0 }));
        assert_eq!(inspected(3, 1, 0).finding(Some(&monday(4))), Some(Finding::Cut { last: 3, remembered: 4 }));
        assert_eq!(inspected(9, 10, 0).finding(None), Some(Finding::WithoutItsBeginning { first: 10 }));
        assert_eq!(inspected(9, 1, 2).finding(Some(&monday(9))), Some(Finding::WithHoles { deleted: 2 }));
        let newest = |one, other| inspected(9, 1, 0).newest([one, other]);
        assert_eq!(newest(Some(monday(4)), Some(monday(12))), Some(monday(12)));
        assert_eq!(newest(Some(monday(2)), Some(sunday.clone())), Some(monday(2)));
        assert_eq!(newest(None, Some(sunday.clone())), Some(sunday));
    }
}
