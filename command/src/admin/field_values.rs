//! The values of a resource's fields, between the body of a request and the events.

use std::fmt;

use events::event::ResourceState;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The fields that a body sets, and the defaults of those that it omits, in the form of the events. `null` in a change
/// removes a field.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct FieldValues(Map<String, Value>);

/// The names only: among the values is the API key of a provider, until it is taken out.
impl fmt::Debug for FieldValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The effect of a change on an optional field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patch<T> {
    /// The body omits it.
    Kept,
    /// The body sets it to `null`.
    Removed,
    Set(T),
}

/// The declared fields do not match the struct of the resource's state: a defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the declaration of {declared} does not match its type: {reason}")]
pub struct DeclarationMismatch {
    /// The name of a kind of resource, or of a field.
    declared: &'static str,
    reason: String,
}

impl<T> Patch<T> {
    /// The value of the field after the change.
    pub fn apply_to(self, current: Option<T>) -> Option<T> {
        match self {
            Self::Kept => current,
            Self::Removed => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl FieldValues {
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// `None` for a field that is absent or `null`.
    pub fn get<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, DeclarationMismatch> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        serde_json::from_value(value.clone())
            .map_err(|error| DeclarationMismatch { declared: name, reason: error.to_string() })
    }

    /// Takes a value that no event may contain. `null` stays in its place, so that the command still names the field.
    pub fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Patch<T>, DeclarationMismatch> {
        let taken = self.get(name)?;
        Ok(match (taken, self.0.get_mut(name)) {
            (Some(value), Some(kept)) => {
                *kept = Value::Null;
                Patch::Set(value)
            }
            (None, Some(_)) => Patch::Removed,
            (_, None) => Patch::Kept,
        })
    }

    pub fn put(&mut self, name: &str, value: impl Serialize) {
        self.0.insert(name.to_owned(), json!(value));
    }

    pub fn into_members(self) -> Map<String, Value> {
        self.0
    }
}

/// The state with these fields, and with those that `derive` adds.
pub fn state_of<R: ResourceState>(
    mut members: Map<String, Value>,
    derive: impl FnOnce(&mut Map<String, Value>) -> Result<(), serde_json::Error>,
) -> Result<R, DeclarationMismatch> {
    let state = derive(&mut members).and_then(|()| serde_json::from_value(members.into()));
    state.map_err(|error| DeclarationMismatch { declared: R::KIND.as_str(), reason: error.to_string() })
}

/// The fields of a state, or of a part of one, in the form of the events.
pub fn members(state: &impl Serialize) -> Map<String, Value> {
    if let Value::Object(members) = json!(state) { members } else { Map::new() }
}
