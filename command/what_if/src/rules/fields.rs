//! The fields of an object in the rules file. Each is read by its name, and a name that is not known is refused.

use std::fmt::Display;

use events::money::NanoUsd;
use events::nearest_name::did_you_mean;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::RulesError;

pub(super) struct Fields<'a> {
    /// Where the object is; empty for the whole file.
    path: String,
    members: &'a Map<String, Value>,
    value: &'a Value,
}

impl<'a> Fields<'a> {
    /// The fields of an object, all of them known.
    pub(super) fn of(value: &'a Value, path: &str, known: &[&str]) -> Result<Self, RulesError> {
        let Value::Object(members) = value else {
            let path = if path.is_empty() { "the file" } else { path };
            return Err(RulesError::Invalid { path: path.to_owned(), reason: "must be an object".to_owned() });
        };
        let fields = Self { path: path.to_owned(), members, value };
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(fields),
            Some(name) => {
                let hint = did_you_mean(name, known.iter().copied());
                Err(RulesError::UnknownField { path: fields.path_of(name), hint })
            }
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(super) fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, RulesError> {
        self.optional(name)?.ok_or_else(|| self.missing(name))
    }

    /// `None` if it is absent or null.
    pub(super) fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, RulesError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value, &self.path_of(name)).map(Some),
        }
    }

    /// An object with fields of its own; `None` if it is absent.
    pub(super) fn object<T>(
        &self,
        name: &str,
        known: &[&str],
        read: impl FnOnce(&Fields<'_>) -> Result<T, RulesError>,
    ) -> Result<Option<T>, RulesError> {
        let value = self.members.get(name);
        value.map(|value| read(&Fields::of(value, &self.path_of(name), known)?)).transpose()
    }

    /// The items of a list, which is empty if it is absent.
    pub(super) fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&Value, &str) -> Result<T, RulesError>,
    ) -> Result<Vec<T>, RulesError> {
        let path = self.path_of(name);
        let items: Vec<Value> = self.optional(name)?.unwrap_or_default();
        items.iter().enumerate().map(|(at, item)| read(item, &format!("{path}[{at}]"))).collect()
    }

    pub(super) fn ids<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, RulesError> {
        self.list(name, read)
    }

    /// The object as one value.
    pub(super) fn whole<T: DeserializeOwned>(&self) -> Result<T, RulesError> {
        read(self.value, &self.path)
    }

    pub(super) fn must_not_be_negative(&self, name: &str, amount: Option<NanoUsd>) -> Result<(), RulesError> {
        match amount {
            Some(amount) if amount.is_negative() => {
                Err(RulesError::Invalid { path: self.path_of(name), reason: "must not be negative".to_owned() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn missing(&self, name: &str) -> RulesError {
        RulesError::Missing { path: self.path_of(name) }
    }

    pub(super) fn invalid(&self, reason: impl Display) -> RulesError {
        RulesError::Invalid { path: self.path.clone(), reason: reason.to_string() }
    }

    fn path_of(&self, name: &str) -> String {
        // A name is the file's own text, of any length.
        let name: String = name.chars().take(64).collect();
        if self.path.is_empty() { name } else { format!("{}.{name}", self.path) }
    }
}

fn read<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T, RulesError> {
    T::deserialize(value).map_err(|error| RulesError::Invalid { path: path.to_owned(), reason: error.to_string() })
}
