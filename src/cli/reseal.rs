//! `ledgerway reseal`: replaces the node's key of a folder that no gateway serves. Exit 0 done, 1 failed, 2 not begun.
//!
//! Wherever it is interrupted, either the old key or the new one opens everything, and both can be found: the new key is on
//! disk before anything is sealed with it, and replaces `node.key` only afterwards. The next run continues from there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use events::ids::{IdMaker, SystemRandom};
use events::log::{ExpiredHolds, Log, LogOptions};
use events::time::{Clock, SystemClock};
use secrets::file;
use secrets::keyless::KeylessProvider;
use secrets::node_key::{self, NodeKeyError, PREVIOUS_VARIABLE, VARIABLE};
use secrets::reseal::{PreviousKey, Resealed, StoredSecrets, reseal};
use secrets::{NodeKey, Secret};

use super::ledger_place::named_database;
use super::{Failure, exit, find_ledger, print_line, printable, single_threaded_runtime, variable};
use crate::config::arguments::ResealArgs;
use crate::config::setting::{DATABASE_URL, NODE_KEY, NODE_KEY_PREVIOUS, PREVIOUS_KEY_LOST};
use crate::config::{Flags, boolean, node_key as node_key_of};

const NEW_KEY_EXAMPLE: &str = "\"$(openssl rand -hex 32)\"";
/// The most providers that are listed by name.
const NAMED_MAX: usize = 20;

pub fn run(args: &ResealArgs, flags: &Flags) -> ExitCode {
    let replaced = Keys::read(args, flags).and_then(|keys| {
        if named_database(None)?.is_some() {
            let variable = DATABASE_URL.variable;
            return Err(Failure::NotBegun(format!(
                "{variable} is set, and this version replaces the node's key of data folders alone: unset it to reseal a folder"
            )));
        }
        find_ledger(&args.data, flags)?;
        replace(&args.data.dir, &keys)
    });
    exit(replaced.map(|lines| lines.iter().for_each(|line| print_line(line))))
}

/// The keys in the variables, and the flag.
struct Keys {
    new: Option<Secret>,
    previous: Option<Secret>,
    is_previous_lost: bool,
}

impl Keys {
    fn read(args: &ResealArgs, flags: &Flags) -> Result<Self, Failure> {
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
    const fn ask_for_replacement(&self) -> bool {
        self.new.is_some() || self.previous.is_some() || self.is_previous_lost
    }
}

fn replace(dir: &Path, keys: &Keys) -> Result<Vec<String>, Failure> {
    let runtime = single_threaded_runtime()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ids = IdMaker::new(Arc::clone(&clock), Arc::new(SystemRandom));
    // Takes the folder's lock. Holds left by a gateway stay open: the gateway ends them.
    let log = Log::open(dir, LogOptions { expired_holds: ExpiredHolds::Leave, ..LogOptions::new(clock) })
        .map_err(Failure::not_begun)?;
    let replaced = runtime.block_on(Folder::new(dir, &log).replace(keys, &ids));
    // Checkpoints the write-ahead log, so that nothing sealed with the old key is left in it.
    log.close();
    replaced
}

/// The folder whose key is replaced.
struct Folder<'a> {
    dir: &'a Path,
    log: &'a Log,
    path: PathBuf,
    next: PathBuf,
}

impl<'a> Folder<'a> {
    fn new(dir: &'a Path, log: &'a Log) -> Self {
        Self { dir, log, path: dir.join(node_key::FILE), next: dir.join(node_key::NEXT_FILE) }
    }

    async fn replace(&self, keys: &Keys, ids: &IdMaker) -> Result<Vec<String>, Failure> {
        let stored = StoredSecrets::read(self.log).await?;
        let mut lines = Vec::new();
        if NodeKey::in_file(&self.next)?.is_some_and(|next| stored.opens_under(&next)) {
            lines.push("finished a reseal that was interrupted after it was recorded".to_owned());
            self.replace_file(&mut lines)?;
            if !keys.ask_for_replacement() {
                return Ok(lines);
            }
        }
        let (new, new_text) = self.new_key(keys)?;
        if stored.opens_under(&new) {
            self.check_repeated(keys, &new).await?;
            self.keep_in_file(&new_text, keys, &mut lines)?;
            lines.push(format!("everything in {} is already sealed under the new key", self.dir.display()));
            return Ok(lines);
        }
        let old = self.old_key(keys, &stored)?;
        let replaces_file = keys.new.is_some() && self.path.exists();
        if replaces_file {
            // A file left by an earlier run opens nothing, as checked above.
            file::remove(&self.next)?;
            file::write_new(&self.next, &new_text)?;
        }
        let previous = old.as_ref().map_or(PreviousKey::Lost, PreviousKey::Known);
        let resealed = reseal(self.log, &stored, previous, &new, ids).await.map_err(|error| {
            Failure::Failed(format!(
                "{error}; run it again: it finds out which key is in force and continues from there"
            ))
        })?;
        lines.extend(summary(&resealed, &new, &old));
        if replaces_file {
            self.replace_file(&mut lines)?;
        } else if keys.new.is_some() {
            lines.push(format!("start the gateway with {VARIABLE} set to the new key, and back that key up"));
        }
        Ok(lines)
    }

    /// The new key is already in force. That is fine if the replacement that is asked for put it there.
    ///
    /// Errors: another one did, so that nothing of what is asked for was done.
    async fn check_repeated(&self, keys: &Keys, in_force: &NodeKey) -> Result<(), Failure> {
        let replaced = StoredSecrets::replacement_by(self.log, in_force).await?;
        let nothing_to_do = |why: &str| {
            let place = if keys.new.is_some() { VARIABLE.to_owned() } else { self.path.display().to_string() };
            let (dir, key) = (self.dir.display(), in_force.fingerprint());
            Failure::NotBegun(format!("nothing to do: {dir} is sealed under the key in {place} ({key}){why}"))
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

    /// Replaces `node.key` by the new key. The old key is kept in a file of its own, because earlier backups need it.
    fn replace_file(&self, lines: &mut Vec<String>) -> Result<(), Failure> {
        if let (Some(old), Some(text)) = (NodeKey::in_file(&self.path)?, file::read(&self.path)?) {
            let kept = self.dir.join(format!("node-{}.key", old.fingerprint()));
            if file::read(&kept)?.is_none() {
                file::write_new(&kept, &text)?;
            }
            lines.push(format!("the old key is in {}: move it to the backups made before", kept.display()));
        }
        file::replace(&self.next, &self.path)?;
        lines.push(format!("{} holds the new key: back it up", self.path.display()));
        Ok(())
    }

    /// The new key, where `serve` would find it: in its variable, else in `node.key`.
    fn new_key(&self, keys: &Keys) -> Result<(NodeKey, Secret), Failure> {
        let text = match &keys.new {
            Some(new) => new.clone(),
            None => file::read(&self.path)?.ok_or_else(|| self.new_key_missing(keys))?,
        };
        let malformed = |_| NodeKeyError::Malformed { path: self.path.clone() };
        let key = NodeKey::from_variable(text.reveal()).map_err(malformed)?;
        Ok((key, Secret::new(text.reveal().trim().to_ascii_lowercase())))
    }

    /// The old key; `None` if it is lost.
    fn old_key(&self, keys: &Keys, stored: &StoredSecrets) -> Result<Option<NodeKey>, Failure> {
        let (dir, path) = (self.dir.display(), self.path.display());
        let in_file = NodeKey::in_file(&self.path)?.filter(|key| stored.opens_under(key));
        match &keys.previous {
            _ if keys.is_previous_lost && in_file.is_some() => Err(Failure::NotBegun(format!(
                "the old key is not lost: it is in {path}; set {PREVIOUS_VARIABLE} to it instead of --previous-key-lost"
            ))),
            None if keys.is_previous_lost => Ok(None),
            None => {
                let example = format!(", for example {PREVIOUS_VARIABLE}=\"$(cat {path})\"");
                let example = in_file.map_or_else(String::new, |_| example);
                let why = format!("set {PREVIOUS_VARIABLE} to the key that {dir} is sealed under{example}");
                Err(Failure::NotBegun(why))
            }
            Some(_) if !stored.has_wrapped_keys() => Err(Failure::NotBegun(format!(
                "nothing in {dir} shows yet whether a key is right: start `ledgerway serve` once with the old key"
            ))),
            Some(previous) => {
                let key = NodeKey::from_variable(previous.reveal())?;
                let hint = if in_file.is_some() { format!("; {path} has that key") } else { String::new() };
                let wrong = format!("{PREVIOUS_VARIABLE} is not the key that {dir} is sealed under{hint}");
                if stored.opens_under(&key) { Ok(Some(key)) } else { Err(Failure::NotBegun(wrong)) }
            }
        }
    }

    /// Brings `node.key`, if it exists, up to a new key that is given as a variable.
    fn keep_in_file(&self, new: &Secret, keys: &Keys, lines: &mut Vec<String>) -> Result<(), Failure> {
        let kept = file::read(&self.path)?;
        if keys.new.is_some() && kept.is_some_and(|kept| !kept.reveal().eq_ignore_ascii_case(new.reveal())) {
            file::remove(&self.next)?;
            file::write_new(&self.next, new)?;
            self.replace_file(lines)?;
        }
        Ok(())
    }

    fn new_key_missing(&self, keys: &Keys) -> Failure {
        let (path, is_there) = (self.path.display(), self.path.exists());
        let place = if is_there { String::new() } else { format!(", or write one to {path}") };
        let is_old_known = keys.previous.is_some() || keys.is_previous_lost;
        let old = match (is_old_known, is_there) {
            (true, _) => String::new(),
            (false, true) => {
                format!("; and set {PREVIOUS_VARIABLE} to the old one: {PREVIOUS_VARIABLE}=\"$(cat {path})\"")
            }
            (false, false) => format!("; and set {PREVIOUS_VARIABLE} to the old one"),
        };
        Failure::NotBegun(format!("there is no new key: set {VARIABLE}={NEW_KEY_EXAMPLE}{place}{old}"))
    }
}

fn summary(resealed: &Resealed, new: &NodeKey, old: &Option<NodeKey>) -> Vec<String> {
    let Resealed { position, resealed, discarded } = resealed;
    let fingerprint = new.fingerprint();
    if old.is_some() {
        return vec![format!(
            "resealed under node key {fingerprint}, at position {position}: {} API keys of providers; API keys of clients stay \
             valid",
            resealed.len()
        )];
    }
    let mut lines = vec![format!(
        "started over under node key {fingerprint}, at position {position}: API keys of clients have stopped working, rotate \
         the ones that are needed"
    )];
    if !discarded.is_empty() {
        let named = discarded.iter().take(NAMED_MAX).map(provider).collect::<Vec<_>>().join(", ");
        let more = discarded.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("give these providers an API key again, they are not called until then: {named}{more}"));
    }
    lines
}

fn provider(provider: &KeylessProvider) -> String {
    match &provider.name {
        Some(name) => format!("{} ({})", printable(name), provider.id),
        None => provider.id.clone(),
    }
}
