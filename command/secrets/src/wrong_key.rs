//! Advice for a start with a wrong or missing node's key: which of the other keys that the gateway can read opens the
//! folder's secrets, and what to do.

use std::path::Path;

use super::NodeKey;
use super::node_key::{FILE, NEXT_FILE, PREVIOUS_VARIABLE, VARIABLE};
use super::reseal::StoredSecrets;

/// The configured node's key does not open the folder's secrets: which key does, if one was found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongNodeKey(String);

impl WrongNodeKey {
    /// `given` and `previous` are the values of the two variables.
    pub fn find(stored: &StoredSecrets, data: &Path, given: Option<&str>, previous: Option<&str>) -> Self {
        let (path, next_path) = (data.join(FILE), data.join(NEXT_FILE));
        let opens = |key: Option<NodeKey>| key.is_some_and(|key| stored.opens_under(&key));
        let in_file = |path: &Path| NodeKey::in_file(path).ok().flatten();
        let (dir, file, next) = (data.display(), path.display(), next_path.display());
        let wanted = format!("the key that the secrets in {dir} are sealed under");
        let configured = match given {
            Some(_) => format!("{VARIABLE} is not {wanted}"),
            None if path.exists() => format!("{file} is not {wanted}"),
            None => format!("{file}, {wanted}, is missing, and {VARIABLE} is not set"),
        };
        let advice = if opens(in_file(&next_path)) {
            format!(
                ": {next} is that key, of a reseal that was interrupted after it was recorded; finish it with `ledgerway \
                 reseal --data {dir}`"
            )
        } else if given.is_some() && opens(in_file(&path)) {
            format!(
                ": {file} is; unset {VARIABLE}, or make it the new key with `ledgerway reseal` and {PREVIOUS_VARIABLE} set \
                 to what that file holds"
            )
        } else if opens(previous.and_then(|hex| NodeKey::from_variable(hex).ok())) {
            format!(
                ": {PREVIOUS_VARIABLE} is; seal everything under the new key with `ledgerway reseal --data {dir}`, then \
                 start again"
            )
        } else {
            format!(
                "; set {VARIABLE} to the right key, or put it back into {file}; if it is lost, `ledgerway reseal --help` \
                 and docs/keys.md say what can be saved"
            )
        };
        Self(configured + &advice)
    }

    /// The same for a database that several nodes share. All of them have one key, and only as a variable.
    pub fn of_shared(stored: &StoredSecrets, place: &str, previous: Option<&str>) -> Self {
        let opens = |hex: &str| NodeKey::from_variable(hex).is_ok_and(|key| stored.opens_under(&key));
        let advice = if previous.is_some_and(opens) {
            format!(
                "{PREVIOUS_VARIABLE} is: stop all nodes, seal everything under the new key with `ledgerway reseal`, then start \
                 them again"
            )
        } else {
            "all nodes of a database have the same key, so set it to that of the other nodes".to_owned()
        };
        Self(format!("{VARIABLE} is not the key that the secrets in {place} are sealed under: {advice}"))
    }
}
