//! Which key is replaced by which: what the variables say, and what the ledger shows of it.

use std::path::PathBuf;

use events::log::Reader;
use secrets::node_key::{NodeKeyError, PREVIOUS_VARIABLE, VARIABLE};
use secrets::reseal::StoredSecrets;
use secrets::{NodeKey, Secret, file};

use crate::arguments::ResealArgs;
use crate::settings::setting::{NODE_KEY, NODE_KEY_PREVIOUS, PREVIOUS_KEY_LOST};
use crate::settings::{Flags, boolean, node_key as node_key_of};
use crate::{Failure, variable};

const NEW_KEY_EXAMPLE: &str = "\"$(openssl rand -hex 32)\"";

/// The keys in the variables, and the flag.
pub struct Keys {
    pub new: Option<Secret>,
    previous: Option<Secret>,
    is_previous_lost: bool,
}

impl Keys {
    pub fn read(args: &ResealArgs, flags: &Flags) -> Result<Self, Failure> {
        let keys = Self {
            new: node_key_of(NODE_KEY, variable)?,
            previous: node_key_of(NODE_KEY_PREVIOUS, variable)?,
            is_previous_lost: flags.check(PREVIOUS_KEY_LOST, boolean(&args.previous_key_lost))?,
        };
        if keys.is_previous_lost && keys.previous.is_some() {
            let why = format!(
                "{PREVIOUS_VARIABLE} is set, so the old key is not lost: remove {}",
                flags.name_of(PREVIOUS_KEY_LOST)
            );
            return Err(Failure::NotBegun(why));
        }
        Ok(keys)
    }

    /// True if a replacement is asked for, not only the end of one that was interrupted.
    pub const fn ask_for_replacement(&self) -> bool {
        self.new.is_some() || self.previous.is_some() || self.is_previous_lost
    }
}

/// The sealed secrets of a ledger, and the place of their key.
pub struct SealedLedger {
    /// The folder, or the database without its password.
    pub place: String,
    /// The file that may have the key; `None` if only the variable can.
    pub file: Option<PathBuf>,
    pub stored: StoredSecrets,
}

impl SealedLedger {
    /// The new key, where `serve` would find it: in its variable, else in the file.
    pub fn new_key(&self, keys: &Keys) -> Result<(NodeKey, Secret), Failure> {
        let in_file = || self.file.as_deref().map_or(Ok(None), file::read);
        let text = match &keys.new {
            Some(new) => new.clone(),
            None => in_file()?.ok_or_else(|| self.new_key_missing(keys))?,
        };
        let key = NodeKey::from_variable(text.reveal()).map_err(|error| match &self.file {
            Some(path) => NodeKeyError::Malformed { path: path.clone() },
            None => error,
        })?;
        Ok((key, Secret::new(text.reveal().trim().to_ascii_lowercase())))
    }

    /// The old key; `None` if it is lost.
    pub fn old_key(&self, keys: &Keys) -> Result<Option<NodeKey>, Failure> {
        let (place, stored) = (&self.place, &self.stored);
        let path = self.file.as_deref().filter(|path| {
            let key = NodeKey::in_file(path).ok().flatten();
            key.is_some_and(|key| stored.opens_under(&key))
        });
        match (&keys.previous, path.map(|path| path.display())) {
            (None, Some(path)) if keys.is_previous_lost => Err(Failure::NotBegun(format!(
                "the old key is not lost: it is in {path}; set {PREVIOUS_VARIABLE} to it instead of --previous-key-lost"
            ))),
            (None, None) if keys.is_previous_lost => Ok(None),
            (None, path) => {
                let example = path.map(|path| format!(", for example {PREVIOUS_VARIABLE}=\"$(cat {path})\""));
                let example = example.unwrap_or_default();
                let why = format!("set {PREVIOUS_VARIABLE} to the key that {place} is sealed under{example}");
                Err(Failure::NotBegun(why))
            }
            (Some(_), _) if !stored.has_wrapped_keys() => Err(Failure::NotBegun(format!(
                "nothing in {place} shows yet whether a key is right: start `ledgerway serve` once with the old key"
            ))),
            (Some(previous), path) => {
                let key = NodeKey::from_variable(previous.reveal())?;
                let hint = path.map(|path| format!("; {path} has that key")).unwrap_or_default();
                let wrong = format!("{PREVIOUS_VARIABLE} is not the key that {place} is sealed under{hint}");
                if stored.opens_under(&key) { Ok(Some(key)) } else { Err(Failure::NotBegun(wrong)) }
            }
        }
    }

    /// The new key is already in force. That is fine if the replacement that is asked for put it there.
    ///
    /// Errors: another one did, so that nothing of what is asked for was done.
    pub fn check_repeated(&self, reader: &dyn Reader, keys: &Keys, in_force: &NodeKey) -> Result<(), Failure> {
        let replaced = StoredSecrets::replacement_by(reader, in_force)?;
        let nothing_to_do = |why: &str| {
            let holder = match &self.file {
                Some(path) if keys.new.is_none() => path.display().to_string(),
                _ => VARIABLE.to_owned(),
            };
            let (place, key) = (&self.place, in_force.fingerprint());
            Failure::NotBegun(format!("nothing to do: {place} is sealed under the key in {holder} ({key}){why}"))
        };
        let Some(text) = &keys.previous else {
            return match replaced {
                Some(replaced) if keys.is_previous_lost && replaced.previous.is_none() => Ok(()),
                _ if keys.is_previous_lost => Err(nothing_to_do(", so nothing is lost")),
                Some(_) if keys.new.is_some() => Ok(()),
                _ => Err(self.new_key_missing(keys)),
            };
        };
        let previous = NodeKey::from_variable(text.reveal())?.fingerprint();
        if previous == in_force.fingerprint() {
            return Err(self.new_key_missing(keys));
        }
        if replaced.is_some_and(|replaced| replaced.previous.as_deref() == Some(previous.as_str())) {
            return Ok(());
        }
        let why = format!("; the key in {PREVIOUS_VARIABLE} opens nothing here; are the two swapped?");
        Err(nothing_to_do(&why))
    }

    /// The message for a new key that is in force already, whoever asks.
    pub fn is_sealed_already(&self) -> String {
        format!("everything in {} is already sealed under the new key", self.place)
    }

    fn new_key_missing(&self, keys: &Keys) -> Failure {
        let (existing, missing) = match &self.file {
            Some(path) if path.exists() => (Some(path.display()), None),
            Some(path) => (None, Some(path.display())),
            None => (None, None),
        };
        let place = missing.map(|path| format!(", or write one to {path}")).unwrap_or_default();
        let is_old_known = keys.previous.is_some() || keys.is_previous_lost;
        let old = match existing {
            _ if is_old_known => String::new(),
            Some(path) => {
                format!("; and set {PREVIOUS_VARIABLE} to the old one: {PREVIOUS_VARIABLE}=\"$(cat {path})\"")
            }
            None => format!("; and set {PREVIOUS_VARIABLE} to the old one"),
        };
        Failure::NotBegun(format!("there is no new key: set {VARIABLE}={NEW_KEY_EXAMPLE}{place}{old}"))
    }
}
