//! An API key of a user. Its secrets are counted in generations from 1 and are facts only as such numbers; what they
//! are checked against stands hashed in a side table. A revoked key stays revoked.

use chrono::{DateTime, Utc};
use events::event::Resource;
use events::event::admin::{Key, KeyRotated, Permission};
use serde::{Deserialize, Serialize};

use crate::admin::fields::Patched;
use crate::admin::lifecycle::{LifecycleError, Rules, SpecialCommand, StateOf};

/// The key and the generation of its newest secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    pub key: Key,
    pub generation: u32,
}

/// A new secret, at `now`; the one before works on until `previous_until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotateKey {
    pub now: DateTime<Utc>,
    pub previous_until: DateTime<Utc>,
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
    Lifecycle(#[from] LifecycleError),
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

impl Rules for Key {
    type State = KeyState;
    type Change = ChangeKey;
    type Special = RotateKey;
    type Error = KeyError;

    fn changed(&self, change: ChangeKey) -> Result<Self, KeyError> {
        Ok(change.over(self))
    }
}

impl StateOf<Key> for KeyState {
    fn of(key: Key, before: Option<&Self>) -> Self {
        Self { key, generation: before.map_or(1, |state| state.generation) }
    }

    fn resource(&self) -> &Key {
        &self.key
    }

    fn take(&mut self, fact: &Resource) {
        if let Resource::KeyRotated(rotated) = fact {
            self.generation = rotated.generation;
        }
    }
}

impl SpecialCommand<Key> for RotateKey {
    fn decide(self, state: &KeyState) -> Result<Resource, KeyError> {
        // A new secret would expire at once: whoever asks for it means to go on using the key.
        if state.key.expires_at.is_some_and(|expires_at| expires_at <= self.now) {
            return Err(KeyError::Expired);
        }
        let (key_id, generation) = (state.key.key_id, state.next_generation()?);
        let rotated = KeyRotated { key_id, generation, previous_until: self.previous_until };
        Ok(Resource::KeyRotated(Box::new(rotated)))
    }
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End, Special};
    use crate::admin::lifecycle::CommandOf;
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Key> {
        spec::given(facts)
    }

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

    fn rotated(generation: u32, previous_until: i64) -> Resource {
        let previous_until = from_micros(previous_until);
        Resource::KeyRotated(Box::new(KeyRotated { key_id: id(1), generation, previous_until }))
    }

    fn rotate_at(micros: i64) -> CommandOf<Key> {
        Special(RotateKey { now: from_micros(micros), previous_until: from_micros(micros + 2_000_000) })
    }

    #[test]
    fn generations_rise_with_every_rotation_and_survive_a_change() {
        given([created(key())]).when(rotate_at(0)).then([rotated(2, 2_000_000)]);
        given([created(key()), rotated(2, 0), changed(key())]).when(rotate_at(1_000_000)).then([rotated(3, 3_000_000)]);
    }

    #[test]
    fn an_expired_or_revoked_key_is_not_rotated() {
        given([created(key())]).when(rotate_at(9_000_000)).then_refused(KeyError::Expired);
        given([created(key()), ended::<Key>(id(1))])
            .when(rotate_at(0))
            .then_refused(KeyError::Lifecycle(LifecycleError::Ended));
        given([created(key()), rotated(u32::MAX, 0)]).when(rotate_at(0)).then_refused(KeyError::GenerationsExhausted);
    }

    #[test]
    fn an_allow_list_and_an_expiry_can_be_removed() {
        let change =
            ChangeKey { name: None, permissions: Some(vec![]), models: Patched::Removed, expires_at: Patched::Removed };
        let without = Key { permissions: vec![], models: None, expires_at: None, ..key() };
        given([created(key())]).when(Change(change)).then([changed(without)]);
    }

    #[test]
    fn a_key_is_made_once_and_revoked_once() {
        given([]).when(Create(key())).then([created(key())]);
        given([created(key())]).when(Create(key())).then_refused(KeyError::Lifecycle(LifecycleError::Exists));
        given([created(key())]).when(End).then([ended::<Key>(id(1))]);
        given([created(key()), ended::<Key>(id(1))]).when(End).then_nothing();
    }
}
