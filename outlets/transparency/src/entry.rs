//! The entry of an event: what is hashed, and what an entry bundle has.

use events::canonical::{self, CanonicalError, ReadError};
use events::event::Recorded;
use tlog::Hash;

/// The longest entry: a bundle stores its length in two bytes.
const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Appends the entry of an event: its canonical envelope, as `/v1/events` serves it. Of an event that is longer than an entry may
/// be, the data is replaced by `data_sha256`, the hash of the canonical data.
pub fn push(out: &mut Vec<u8>, recorded: &Recorded) -> Result<(), CanonicalError> {
    let before = out.len();
    canonical::push_envelope(out, recorded)?;
    if out.len() - before <= ENTRY_BYTES_MAX {
        return Ok(());
    }
    let short = canonical::without_data(&out[before..])?;
    out.truncate(before);
    out.extend_from_slice(short.as_bytes());
    Ok(())
}

/// The leaf of a canonical envelope.
pub fn leaf_of_envelope(envelope: &str) -> Result<Hash, ReadError> {
    if envelope.len() <= ENTRY_BYTES_MAX {
        return Ok(Hash::of_leaf(envelope.as_bytes()));
    }
    Ok(leaf(&canonical::recorded(envelope)?)?)
}

/// The leaf of an event.
pub fn leaf(recorded: &Recorded) -> Result<Hash, CanonicalError> {
    let mut entry = Vec::new();
    push(&mut entry, recorded)?;
    Ok(Hash::of_leaf(&entry))
}

#[cfg(test)]
mod tests {
    use events::event::inference::InferenceEnded;
    use events::event::{Actor, Context, Event, Inference, Stream};
    use events::hex;
    use events::ids::RequestId;
    use events::money::NanoUsd;
    use events::time::from_micros;
    use ring::digest::{SHA256, digest};
    use serde_json::json;

    use super::*;

    fn reported(text: String) -> Recorded {
        let (request, at) = (RequestId::from(uuid::Uuid::from_u128(7)), from_micros(1_763_626_530_123_456));
        let mut ended = InferenceEnded::new("m".to_owned(), at, NanoUsd::new(1));
        // `serde_json` would take the object for what the text in it says.
        ended.provider_usage = Some(json!({ "$serde_json::private::RawValue": text }));
        Recorded {
            position: 3,
            recorded_at: at,
            stream: Stream::inference(request),
            sequence: 2,
            context: Context::of(Actor::System("gateway")).in_request(request),
            event: Event::Inference(Inference::Completed(Box::new(ended))),
        }
    }

    #[test]
    fn the_data_of_a_long_event_is_its_hash_also_with_a_name_that_the_json_library_keeps_for_itself() {
        for text in ["x".repeat(ENTRY_BYTES_MAX), format!("[{}]", " ".repeat(ENTRY_BYTES_MAX))] {
            let recorded = reported(text);
            let mut entry = Vec::new();
            push(&mut entry, &recorded).expect("an entry");
            assert!(entry.len() <= ENTRY_BYTES_MAX);
            let envelope = canonical::envelope(&recorded).expect("an envelope");
            let (before, rest) = envelope.split_once(",\"data\":").expect("data");
            let (data, after) = rest.split_once(",\"position\"").expect("a position");
            let sha256 = hex::lower(digest(&SHA256, data.as_bytes()).as_ref());
            let expected = format!("{before},\"data_sha256\":\"{sha256}\",\"position\"{after}");
            assert_eq!(String::from_utf8(entry).expect("text"), expected);
        }
    }
}
