//! The entry of an event: what is hashed, and what an entry bundle has.

use events::canonical::{self, CanonicalError};
use events::event::Recorded;
use events::hex;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tlog::Hash;

/// What a bundle can say of an entry's length in two bytes.
const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// The member that an entry has instead of `data` if the event is too long for a bundle.
const DATA_SHA256: &str = "data_sha256";

/// Appends the entry of an event: its canonical envelope, as `/v1/events` serves it. Of an event that is longer than an entry may
/// be, the data is replaced by `data_sha256`, the hash of the canonical data.
pub fn push(out: &mut Vec<u8>, recorded: &Recorded) -> Result<(), CanonicalError> {
    let before = out.len();
    canonical::push_envelope(out, recorded)?;
    if out.len() - before <= ENTRY_BYTES_MAX {
        return Ok(());
    }
    let mut envelope: Value = serde_json::from_slice(&out[before..])?;
    out.truncate(before);
    if let Some(members) = envelope.as_object_mut()
        && let Some(data) = members.remove("data")
    {
        let sha256 = digest(&SHA256, canonical::to_string(&data)?.as_bytes());
        members.insert(DATA_SHA256.to_owned(), hex::lower(sha256.as_ref()).into());
    }
    out.extend_from_slice(canonical::to_string(&envelope)?.as_bytes());
    Ok(())
}

/// The leaf of an event.
pub fn leaf(recorded: &Recorded) -> Result<Hash, CanonicalError> {
    let mut entry = Vec::new();
    push(&mut entry, recorded)?;
    Ok(Hash::of_leaf(&entry))
}
