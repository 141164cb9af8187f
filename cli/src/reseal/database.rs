//! The key of a ledger in PostgreSQL. All nodes have it as a variable, so nothing is on disk, and none of them may run: it would
//! go on with the old key.

use events::hex;
use events::ids::IdMaker;
use events::log::{DatabaseAddress, LogError, UnusableReason, WrongLedger, append_alone, open_shared_reader};
use secrets::node_key::VARIABLE;
use secrets::reseal::{PreviousKey, Replacement, Resealed, StoredSecrets};

use super::keys::{Keys, SealedLedger};
use super::summary;
use crate::Failure;

pub fn replace(database: &DatabaseAddress, keys: &Keys, ids: &IdMaker) -> Result<Vec<String>, Failure> {
    let reader = open_shared_reader(database)
        .map_err(|error| Failure::NotBegun(format!("cannot read the ledger in {database}: {error}")))?;
    // Before the secrets are read: whatever is recorded later refuses the replacement.
    let known_until = reader.head()?.position;
    let sealed = SealedLedger { place: database.to_string(), file: None, stored: StoredSecrets::read(&*reader)? };
    let (new, _) = sealed.new_key(keys)?;
    if sealed.stored.opens_under(&new) {
        sealed.check_repeated(&*reader, keys, &new)?;
        return Ok(vec![sealed.is_sealed_already()]);
    }
    let old = sealed.old_key(keys)?;
    let previous = old.as_ref().map_or(PreviousKey::Lost, PreviousKey::Known);
    let replacement = Replacement::decide(&*reader, &sealed.stored, previous, &new, ids).map_err(Failure::failed)?;
    let Replacement { append, resealed, discarded } = replacement;
    let node = hex::lower(&ids.bytes::<8>());
    let position = append_alone(database, &node, ids, append, known_until).map_err(not_appended)?.last;
    let mut lines = summary(&Resealed { position, resealed, discarded }, &new, &old);
    lines.push(format!(
        "start all nodes with {VARIABLE} set to the new key, and back that key up; keep the old one with the backups made before"
    ));
    Ok(lines)
}

fn not_appended(error: WrongLedger) -> Failure {
    match error.reason {
        UnusableReason::Log(LogError::Commit(_)) => Failure::Failed(format!(
            "{error}; run it again: it finds out which key is in force and continues from there"
        )),
        _ => Failure::not_begun(error),
    }
}
