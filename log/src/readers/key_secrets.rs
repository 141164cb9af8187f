//! The stored secrets of keys, read together. While a read is under way, the keys that are asked for wait, and the next read has many of
//! them: after a restart, thousands of keys ask at once, and a read for each would cost a change of threads.
//!
//! The read that answers a caller begins after it has asked, so it never returns a secret that was dropped before. Owners take turns: an
//! owner with many keys leaves room in each read for the keys of others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blocking_work::{Owner, Pool};
use events::ids::{IdMap, KeyId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Idle, WAIT_MAX, of_any_type, of_type};
use crate::interrupt::Interrupt;
use crate::{KeySecret, LogError, Reader};

/// The most keys of one read. A read takes a few milliseconds, and what waits for it as long.
const KEYS_OF_READ_MAX: usize = 256;
/// The most keys that wait.
const WAITING_MAX: usize = 65_536;
/// The most keys of one owner that wait.
const WAITING_OF_OWNER_MAX: usize = WAITING_MAX / 4;

/// The answer to one caller: no secrets if the key has none. Callers of one read share its error.
type KeySecretsRead = Result<Vec<KeySecret>, Arc<LogError>>;
/// The secrets that a read has found, by key. A key without secrets has no entry.
type FoundSecrets = IdMap<KeyId, KeySecretsRead>;

/// Reads the secrets of all keys that wait, one read after the other.
pub(crate) struct KeySecretsReader {
    pool: &'static Pool,
    idle: Arc<Idle>,
    waiting: Mutex<WaitingKeys>,
}

/// The reading that is under way. If it ends before its time, by a panic or because the runtime ends, those who wait get no answer, and
/// the next caller begins anew.
struct RunningRead {
    reader: Arc<KeySecretsReader>,
    is_over: bool,
}

/// A key whose secrets somebody waits for.
struct WaitingKey {
    key: KeyId,
    answer: oneshot::Sender<KeySecretsRead>,
}

/// The keys that no read has yet. Those whose callers have left stay until a read would have them.
#[derive(Default)]
struct WaitingKeys {
    by_owner: HashMap<Owner, VecDeque<WaitingKey>>,
    /// The owners of these keys, the next one first.
    turns: VecDeque<Owner>,
    len: usize,
    /// Whether somebody reads, who goes on until no key waits.
    is_read: bool,
}

impl KeySecretsReader {
    pub(super) fn new(pool: &'static Pool, idle: Arc<Idle>) -> Self {
        Self { pool, idle, waiting: Mutex::default() }
    }

    /// The stored secrets of a key, oldest first.
    ///
    /// Errors: too many keys wait, or the read failed or took too long.
    pub(crate) async fn read(self: &Arc<Self>, owner: Owner, key: KeyId) -> KeySecretsRead {
        let (answer, answered) = oneshot::channel();
        if self.push(owner, WaitingKey { key, answer }).map_err(Arc::new)? {
            let running = RunningRead { reader: Arc::clone(self), is_over: false };
            drop(self.pool.start(move || running.read_all()));
        }
        match self.pool.answer_until(Instant::now() + WAIT_MAX, answered).await {
            Some(Ok(read)) => read,
            // The read has panicked, or the process is ending.
            Some(Err(_)) => Err(Arc::new(LogError::Closed)),
            None => Err(Arc::new(LogError::TimedOut(WAIT_MAX))),
        }
    }

    /// Adds a key. Returns true if nobody reads: the caller must begin at once.
    fn push(&self, owner: Owner, key: WaitingKey) -> Result<bool, LogError> {
        let mut waiting = self.waiting();
        waiting.push(owner, key)?;
        Ok(!std::mem::replace(&mut waiting.is_read, true))
    }

    /// The keys of the next read. `None` if no key waits: then the reading is over.
    fn next_keys(&self) -> Option<Vec<WaitingKey>> {
        let mut waiting = self.waiting();
        let keys = waiting.take();
        waiting.is_read = !keys.is_empty();
        waiting.is_read.then_some(keys)
    }

    /// Answers these callers by one read.
    fn answer(&self, mut keys: Vec<WaitingKey>) {
        keys.retain(|waiting| !waiting.answer.is_closed());
        let mut ids: Vec<KeyId> = keys.iter().map(|waiting| waiting.key).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return;
        }
        let read = of_any_type(move |reader| {
            let mut found = FoundSecrets::default();
            read_each(reader, &ids, &mut found)?;
            Ok(found)
        });
        let read = of_type::<FoundSecrets>(self.idle.read(&Interrupt::new(None), read)).map_err(Arc::new);
        for WaitingKey { key, answer } in keys {
            let secrets = match &read {
                Ok(found) => found.get(&key).cloned().unwrap_or_else(|| Ok(Vec::new())),
                Err(error) => Err(Arc::clone(error)),
            };
            let _ = answer.send(secrets);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingKeys> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningRead {
    /// Reads until no key waits. Blocking.
    fn read_all(mut self) {
        while let Some(keys) = self.reader.next_keys() {
            self.reader.answer(keys);
        }
        self.is_over = true;
    }
}

impl Drop for RunningRead {
    fn drop(&mut self) {
        if !self.is_over {
            let unanswered = std::mem::take(&mut *self.reader.waiting());
            drop(unanswered);
        }
    }
}

impl WaitingKeys {
    /// Adds a key of this owner.
    ///
    /// Errors: too many keys wait, of all owners or of this one.
    fn push(&mut self, owner: Owner, key: WaitingKey) -> Result<(), LogError> {
        if self.len >= WAITING_MAX {
            return Err(LogError::QueueFull);
        }
        let of_owner = self.by_owner.entry(owner).or_default();
        if of_owner.len() >= WAITING_OF_OWNER_MAX {
            return Err(LogError::QueueFull);
        }
        if of_owner.is_empty() {
            self.turns.push_back(owner);
        }
        of_owner.push_back(key);
        self.len += 1;
        Ok(())
    }

    /// The keys of the next read, one of each owner in turn.
    fn take(&mut self) -> Vec<WaitingKey> {
        let mut taken = Vec::new();
        while taken.len() < KEYS_OF_READ_MAX
            && let Some(owner) = self.turns.pop_front()
        {
            let Some(of_owner) = self.by_owner.get_mut(&owner) else { continue };
            taken.extend(of_owner.pop_front());
            if of_owner.is_empty() {
                self.by_owner.remove(&owner);
            } else {
                self.turns.push_back(owner);
            }
        }
        self.len -= taken.len();
        taken
    }
}

/// Reads the secrets of these keys. If some of what is stored cannot be read, it reads each half alone: only the keys whose it is have the
/// error.
///
/// Errors: the database cannot be read now.
fn read_each(reader: &dyn Reader, keys: &[KeyId], found: &mut FoundSecrets) -> Result<(), LogError> {
    match reader.key_secrets(keys) {
        Ok(secrets) => {
            for secret in secrets {
                if let Ok(of_key) = found.entry(secret.key_id).or_insert_with(|| Ok(Vec::new())) {
                    of_key.push(secret);
                }
            }
        }
        Err(error) if !error.is_about_what_is_stored() => return Err(error),
        Err(_) if keys.len() > 1 => {
            let (first, second) = keys.split_at(keys.len() / 2);
            read_each(reader, first, found)?;
            read_each(reader, second, found)?;
        }
        Err(error) => {
            let error = Arc::new(error);
            found.extend(keys.iter().map(|key| (*key, Err(Arc::clone(&error)))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
