//! What a body gives of a resource.

use events::event::ResourceState;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The members that a body names, and those that stand in for what it does not, in the form that events have them. `null` in
/// a change removes one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Given(Map<String, Value>);

/// A resource whose state is made of what bodies give.
pub trait FromGiven: ResourceState {
    /// The members as bodies give them: what this resource was given, without what followed from it.
    fn given(&self) -> Map<String, Value> {
        members(self)
    }

    /// Adds to the members that bodies give what follows from them.
    fn resolve(_: &mut Map<String, Value>) -> Result<(), serde_json::Error> {
        Ok(())
    }
}

/// What a change says of a field that may be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patched<T> {
    /// Not mentioned.
    Kept,
    /// `null`.
    Removed,
    Set(T),
}

/// What was declared of a resource does not make its state: a defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} is not what was declared: {reason}")]
pub struct Undeclared {
    kind: &'static str,
    reason: String,
}

impl<T> Patched<T> {
    /// What the field is after the change.
    pub fn over(self, current: Option<T>) -> Option<T> {
        match self {
            Self::Kept => current,
            Self::Removed => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl Given {
    pub fn names(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn names_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.names(name))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// `None` for what is absent or `null`.
    pub fn get<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, Undeclared> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        serde_json::from_value(value.clone()).map_err(|error| Undeclared { kind: name, reason: error.to_string() })
    }

    /// What stands elsewhere than in events. That the body names it stays, what it says does not.
    pub fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Patched<T>, Undeclared> {
        let taken = self.get(name)?;
        Ok(match (taken, self.0.get_mut(name)) {
            (Some(value), Some(place)) => {
                *place = Value::Null;
                Patched::Set(value)
            }
            (None, Some(_)) => Patched::Removed,
            (_, None) => Patched::Kept,
        })
    }

    pub fn put(&mut self, name: &str, value: impl Serialize) {
        self.0.insert(name.to_owned(), json!(value));
    }

    /// The resource that a creation makes.
    pub fn make<R: FromGiven>(mut self, id: R::Id) -> Result<R, Undeclared> {
        self.put(R::ID_FIELD, id);
        state_of(self.0)
    }

    /// What a change makes of a resource.
    pub fn over<R: FromGiven>(&self, state: &R) -> Result<R, Undeclared> {
        let mut members = state.given();
        members.extend(self.0.clone());
        members.retain(|_, value| !value.is_null());
        state_of(members)
    }
}

fn state_of<R: FromGiven>(mut members: Map<String, Value>) -> Result<R, Undeclared> {
    let state = R::resolve(&mut members).and_then(|()| serde_json::from_value(members.into()));
    state.map_err(|error| Undeclared { kind: R::KIND.as_str(), reason: error.to_string() })
}

/// The members of a state, or of a part of one, as its events have them.
pub fn members(state: &impl Serialize) -> Map<String, Value> {
    if let Value::Object(members) = json!(state) { members } else { Map::new() }
}
