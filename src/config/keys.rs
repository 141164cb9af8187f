//! The keys of the operator and of the node, which are given as variables.

use secrets::{NodeKey, Secret, operator_key};

use super::setting::{self, Setting, WrongConfig};

/// Nodes of one database have the same keys, so no node may make some of its own.
pub(super) fn require_keys_of_cluster(variable: impl Fn(&str) -> Option<String>) -> Result<(), WrongConfig> {
    for setting in [setting::NODE_KEY, setting::ADMIN_KEY] {
        if variable(setting.variable).is_none_or(|key| key.is_empty()) {
            let database = setting::DATABASE_URL.variable;
            let problem = format!("is not set, but {database} needs it: all nodes of a database have the same one");
            return Err(setting.wrong_as_variable(problem));
        }
    }
    Ok(())
}

/// The node key in a variable, if it is set.
pub fn node_key(setting: Setting, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, WrongConfig> {
    match variable(setting.variable) {
        Some(text) if NodeKey::from_variable(&text).is_ok() => Ok(Some(Secret::new(text))),
        Some(_) => Err(setting.wrong_as_secret("must be 64 hexadecimal digits", variable)),
        None => Ok(None),
    }
}

pub(super) fn admin_key(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, WrongConfig> {
    match variable(setting::ADMIN_KEY.variable) {
        Some(text) if operator_key::is_strong(&text) => Ok(Some(Secret::new(text))),
        Some(_) => Err(setting::ADMIN_KEY.wrong_as_secret("must have at least 32 visible ASCII characters", variable)),
        None => Ok(None),
    }
}
