//! The keys of the operator and of the node, which are given as variables.

use cli::settings::{WrongConfig, setting};
use secrets::{Secret, operator_key};

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

pub(super) fn admin_key(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, WrongConfig> {
    match variable(setting::ADMIN_KEY.variable) {
        Some(text) if operator_key::is_strong(&text) => Ok(Some(Secret::new(text))),
        Some(_) => Err(setting::ADMIN_KEY.wrong_as_secret("must have at least 32 visible ASCII characters", variable)),
        None => Ok(None),
    }
}
