//! An API key of a user. Its secrets are counted in generations from 1 and are facts only as such numbers; what they
//! are checked against stands hashed in a side table. A revoked key stays revoked.

use chrono::{DateTime, Utc};
use events::event::admin::{Ended, Key, KeyRotated, Permission};
use events::ids::KeyId;
use serde::{Deserialize, Serialize};

use crate::admin::fields::Patched;
use crate::admin::life::{Life, LifeError, admin_aggregate};

/// The key and the generation of its newest secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    pub key: Key,
    pub generation: u32,
}

/// What can be done to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyCommand {
    /// As it will stand in the log, with a secret of generation 1.
    CreateKey(Key),
    ChangeKey(ChangeKey),
    /// A new secret, at `now`; the one before works on until then.
    RotateKey {
        now: DateTime<Utc>,
        previous_until: DateTime<Utc>,
    },
    RevokeKey,
}

/// `None` and [`Patched::Kept`] keep what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeKey {
    pub name: Option<String>,
    pub permissions: Option<Vec<Permission>>,
    pub models: Patched<Vec<String>>,
    pub expires_at: Patched<DateTime<Utc>>,
}

/// Why a command to a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Life(#[from] LifeError),
    #[error("has expired")]
    Expired,
    /// Four billion rotations.
    #[error("has no generation left")]
    GenerationsExhausted,
}

impl KeyState {
    /// The one that a rotation makes.
    pub fn next_generation(&self) -> Result<u32, KeyError> {
        self.generation.checked_add(1).ok_or(KeyError::GenerationsExhausted)
    }
}

impl ChangeKey {
    fn over(self, current: &Key) -> Key {
        Key {
            key_id: current.key_id,
            user_id: current.user_id,
            name: self.name.unwrap_or_else(|| current.name.clone()),
            permissions: self.permissions.unwrap_or_else(|| current.permissions.clone()),
            models: self.models.over(current.models.clone()),
            expires_at: self.expires_at.over(current.expires_at),
        }
    }
}

admin_aggregate! {
    KeyState, Key, "key", KeyCommand, KeyError,
    /// What can have happened to a key.
    KeyFact { KeyCreated(Key), KeyChanged(Key), KeyRevoked(Ended<KeyId>), KeyRotated(KeyRotated) }
}

fn decide(life: &Life<KeyState>, command: KeyCommand) -> Result<Vec<KeyFact>, KeyError> {
    match command {
        KeyCommand::CreateKey(key) => {
            life.absent()?;
            Ok(vec![KeyFact::KeyCreated(key)])
        }
        KeyCommand::ChangeKey(change) => Ok(vec![KeyFact::KeyChanged(change.over(&life.live()?.key))]),
        KeyCommand::RotateKey { now, previous_until } => {
            Ok(vec![KeyFact::KeyRotated(rotate(life.live()?, now, previous_until)?)])
        }
        KeyCommand::RevokeKey => Ok(life.end(|state| KeyFact::KeyRevoked(Ended { id: state.key.key_id }))?),
    }
}

fn rotate(state: &KeyState, now: DateTime<Utc>, previous_until: DateTime<Utc>) -> Result<KeyRotated, KeyError> {
    // A new secret would expire at once: whoever asks for it means to go on using the key.
    if state.key.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(KeyError::Expired);
    }
    Ok(KeyRotated { key_id: state.key.key_id, generation: state.next_generation()?, previous_until })
}

fn evolve(life: &mut Life<KeyState>, fact: KeyFact) {
    let generation = life.state().map_or(1, |state| state.generation);
    match fact {
        KeyFact::KeyCreated(key) | KeyFact::KeyChanged(key) => *life = Life::Live(KeyState { key, generation }),
        KeyFact::KeyRotated(rotated) => {
            if let Life::Live(state) = life {
                state.generation = rotated.generation;
            }
        }
        KeyFact::KeyRevoked(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;

    use super::KeyCommand::{ChangeKey as Change, CreateKey, RevokeKey, RotateKey};
    use super::KeyFact::{KeyChanged, KeyCreated, KeyRevoked, KeyRotated as Rotated};
    use super::*;
    use crate::admin::life::spec::id;

    fn key() -> Key {
        Key {
            key_id: id(1),
            user_id: id(2),
            name: "app".into(),
            permissions: vec![Permission::ModelsUse],
            models: Some(vec!["sim-*".into()]),
            expires_at: Some(from_micros(9_000_000)),
        }
    }

    fn rotated(generation: u32, previous_until: i64) -> KeyFact {
        Rotated(KeyRotated { key_id: id(1), generation, previous_until: from_micros(previous_until) })
    }

    fn rotate_at(micros: i64) -> KeyCommand {
        RotateKey { now: from_micros(micros), previous_until: from_micros(micros + 2_000_000) }
    }

    #[test]
    fn generations_rise_with_every_rotation_and_survive_a_change() {
        given([KeyCreated(key())]).when(rotate_at(0)).then([rotated(2, 2_000_000)]);
        given([KeyCreated(key()), rotated(2, 0), KeyChanged(key())])
            .when(rotate_at(1_000_000))
            .then([rotated(3, 3_000_000)]);
    }

    #[test]
    fn an_expired_or_revoked_key_is_not_rotated() {
        given([KeyCreated(key())]).when(rotate_at(9_000_000)).then_refused(KeyError::Expired);
        given([KeyCreated(key()), KeyRevoked(Ended { id: id(1) })])
            .when(rotate_at(0))
            .then_refused(KeyError::Life(LifeError::Ended));
        given([KeyCreated(key()), rotated(u32::MAX, 0)])
            .when(rotate_at(0))
            .then_refused(KeyError::GenerationsExhausted);
    }

    #[test]
    fn an_allow_list_and_an_expiry_can_be_removed() {
        let change =
            ChangeKey { name: None, permissions: Some(vec![]), models: Patched::Removed, expires_at: Patched::Removed };
        let changed = Key { permissions: vec![], models: None, expires_at: None, ..key() };
        given([KeyCreated(key())]).when(Change(change)).then([KeyChanged(changed)]);
    }

    #[test]
    fn a_key_is_made_once_and_revoked_once() {
        given([]).when(CreateKey(key())).then([KeyCreated(key())]);
        given([KeyCreated(key())]).when(CreateKey(key())).then_refused(KeyError::Life(LifeError::Exists));
        given([KeyCreated(key())]).when(RevokeKey).then([KeyRevoked(Ended { id: id(1) })]);
        given([KeyCreated(key()), KeyRevoked(Ended { id: id(1) })]).when(RevokeKey).then_nothing();
    }
}
