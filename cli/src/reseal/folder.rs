//! The key of a data folder. It may be in `node.key`: the new one is on disk before anything is sealed with it, and replaces
//! the file only afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use events::ids::IdMaker;
use events::time::Clock;
use events_log::{Log, LogOptions};
use secrets::node_key::{self, VARIABLE};
use secrets::reseal::{PreviousKey, StoredSecrets, reseal};
use secrets::{NodeKey, Secret, file};

use super::keys::{Keys, SealedLedger};
use super::summary;
use crate::Failure;
use crate::runtime::CommandRuntime;

pub fn replace(
    dir: &Path,
    keys: &Keys,
    ids: &IdMaker,
    clock: Arc<dyn Clock>,
    runtime: &CommandRuntime,
) -> Result<Vec<String>, Failure> {
    // Takes the folder's lock. Holds left by a gateway stay open: the gateway ends them.
    let log = Log::open(dir, LogOptions::new(clock).without_requests()).map_err(Failure::not_begun)?;
    let replaced = runtime.block_on(Folder::new(dir, &log).replace(keys, ids));
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
        let reader = self.log.reader()?;
        let stored = StoredSecrets::read(&*reader)?;
        let sealed = SealedLedger { place: self.dir.display().to_string(), file: Some(self.path.clone()), stored };
        let mut lines = Vec::new();
        if NodeKey::in_file(&self.next)?.is_some_and(|next| sealed.stored.opens_under(&next)) {
            lines.push("finished a reseal that was interrupted after it was recorded".to_owned());
            self.replace_file(&mut lines)?;
            if !keys.ask_for_replacement() {
                return Ok(lines);
            }
        }
        let (new, new_text) = sealed.new_key(keys)?;
        if sealed.stored.opens_under(&new) {
            sealed.check_repeated(&*reader, keys, &new)?;
            self.keep_in_file(&new_text, keys, &mut lines)?;
            lines.push(sealed.is_sealed_already());
            return Ok(lines);
        }
        let old = sealed.old_key(keys)?;
        let replaces_file = keys.new.is_some() && self.path.exists();
        if replaces_file {
            // A file left by an earlier run opens nothing, as checked above.
            file::remove(&self.next)?;
            file::write_new(&self.next, &new_text)?;
        }
        let previous = old.as_ref().map_or(PreviousKey::Lost, PreviousKey::Known);
        let resealed = reseal(self.log, &sealed.stored, previous, &new, ids).await.map_err(|error| {
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
}
