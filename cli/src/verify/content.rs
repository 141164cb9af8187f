//! `ledgerway verify --content`: the prompts and answers that were kept sealed must be in their store, as the events say. One object is
//! in memory at a time, and no text is shown.

mod broken;
mod deletions;

use std::collections::HashMap;
use std::iter::once;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use content_store::{ContentAddress, ContentKey, ContentStore, ObjectKey, ObjectState};
use events::content::{ContentKeyOwner, ContentPart, ContentPolicy};
use events::event::Recorded;
use events::ids::RequestId;
use events::time::{Clock, SystemClock};
use events_log::{LogError, PAGE_EVENTS, Reader};
use object_storage::StoreError;
use secrets::content_key_reader::{ContentKeyReader, StoredContentKey};
use secrets::{NodeKey, VaultError, node_key};
use serde_json::{Value, json};

use super::super::ledger_place::LedgerPlace;
use super::super::object_store::named_content_store;
use super::super::progress::{Progress, WithoutTerminal};
use super::super::runtime::CommandRuntime;
use super::super::{Failure, variable};
use super::{Fault, unreadable};
use crate::arguments::VerifyArgs;
use crate::settings::setting::{DATA, NODE_KEY};
use crate::settings::{Flags, node_key as node_key_of};
use broken::BrokenObjects;
use deletions::Deletions;

/// How long an object may be on its way: a gateway begins its last attempt within five minutes and a pause, and an attempt takes two
/// minutes at most.
const ON_ITS_WAY_MAX: TimeDelta = TimeDelta::seconds(480);
/// The reason of a request whose process was killed, with the content that it had not stored.
const NODE_LOST: &str = "node_lost";
const MISSING: &str = "it is missing: it was deleted, or was never stored because the store was away for too long or a process was killed";

/// The store of sealed content that is to be checked, and the key that opens its objects.
pub struct ContentStoreToCheck {
    store: ContentStore,
    node_key: Option<NodeKey>,
    /// False if the key was found in a folder that nobody named: it may be the key of another ledger.
    is_key_named: bool,
}

/// The objects that a check has found, and those that it has not.
#[derive(Default)]
pub struct VerifiedContent {
    /// The objects that are missing or damaged.
    pub broken: BrokenObjects,
    /// Objects that were opened and have the digest of their events.
    opened: u64,
    /// Objects that are there, and that no key here opens.
    unopened: u64,
    /// Objects that are not there, and need not be: they were lost or deleted, as the events say.
    gone: u64,
    /// Objects that are not there yet: a gateway may still be about to store them.
    pending: u64,
    /// Objects that no event names.
    unnamed: u64,
    is_key_known: bool,
}

impl VerifiedContent {
    /// A part of a sentence.
    pub fn sentence(&self) -> String {
        let Self { opened, unopened, gone, pending, unnamed, .. } = self;
        let counts = [
            (*unopened, "not opened"),
            (*gone, "gone as the events say"),
            (*pending, "on their way"),
            (*unnamed, "that no event names"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
        format!(", {opened} objects of content as they were sealed{}", counts.collect::<String>())
    }

    /// The statement that was proven; `None` if no object was opened.
    pub fn claim(&self) -> Option<String> {
        let opened = self.opened;
        (opened > 0)
            .then(|| format!("{opened} objects of sealed content have the texts whose digests are in the events"))
    }

    /// The objects that were not checked, and why; `None` if all were.
    pub fn unchecked(&self) -> Option<String> {
        let mut unchecked = Vec::new();
        match self {
            Self { unopened: 0, .. } => {}
            Self { unopened, is_key_known: false, .. } => unchecked.push(format!(
                "{unopened} objects are there, and their bytes were not checked: set {} to the node's key",
                NODE_KEY.variable
            )),
            Self { unopened, .. } => unchecked.push(format!(
                "{unopened} objects are there, and no key here opens them: it was erased, or other nodes have it"
            )),
        }
        if self.pending > 0 {
            unchecked.push(format!(
                "{} objects may still be on their way: run the check again in {} minutes",
                self.pending,
                ON_ITS_WAY_MAX.num_minutes()
            ));
        }
        (!unchecked.is_empty()).then(|| unchecked.join("; "))
    }

    pub fn as_json(&self) -> Value {
        let Self { opened, unopened, gone, pending, unnamed, .. } = self;
        json!({ "opened": opened, "unopened": unopened, "gone": gone, "pending": pending, "unnamed": unnamed })
    }
}

impl ContentStoreToCheck {
    /// The store that `--content` names; `None` without the argument. The node's key is in its variable, or in the data folder.
    pub fn named(args: &VerifyArgs, flags: &Flags, ledger: &LedgerPlace) -> Result<Option<Self>, Failure> {
        let Some(argument) = args.content.as_deref() else { return Ok(None) };
        let store = ContentStore::new(named_content_store(argument)?);
        let is_folder_named = flags.has(DATA) || variable(DATA.variable).is_some();
        let folder = ledger.file().map_or_else(|| args.ledger.data.folder(), Path::parent);
        let in_folder = folder.map(|folder| NodeKey::in_file(&folder.join(node_key::FILE)));
        let is_key_named = ledger.file().is_some() || is_folder_named;
        let (node_key, is_key_named) = match (node_key_of(NODE_KEY, variable)?, in_folder) {
            (Some(text), _) => (Some(NodeKey::from_variable(text.reveal())?), true),
            (None, Some(in_file)) if is_key_named => (in_file?, true),
            (None, Some(in_file)) => (in_file.ok().flatten(), false),
            (None, None) => (None, false),
        };
        Ok(Some(Self { store, node_key, is_key_named }))
    }

    /// Compares the store with the events of a ledger that was found sound.
    pub fn check(
        &self,
        ledger: &LedgerPlace,
        reader: &dyn Reader,
        runtime: &CommandRuntime,
    ) -> Result<VerifiedContent, Fault> {
        let unreadable = |error: LogError| unreadable(ledger, &error);
        let keys = match self.node_key.as_ref().map(|node_key| ContentKeyReader::new(reader, node_key)) {
            None => None,
            Some(Ok(keys)) => Some(keys),
            Some(Err(VaultError::OtherNodeKey { .. })) if !self.is_key_named => None,
            Some(Err(VaultError::Log(error))) => return Err(unreadable(error)),
            Some(Err(error)) => return Err(Fault::Unreadable(error.to_string())),
        };
        let (now, head) = (SystemClock::new().now(), reader.head().map_err(unreadable)?.position);
        let mut deletions = Deletions::default();
        deletions.catch_up(reader, now).map_err(unreadable)?;
        let found = VerifiedContent { is_key_known: keys.is_some(), ..VerifiedContent::default() };
        let (store, open) = (&self.store, HashMap::new());
        let mut check = ContentCheck { ledger, reader, store, runtime, keys, deletions, now, open, found };
        let (mut progress, mut position) = (Progress::new("content", WithoutTerminal::Silent), 0);
        while position < head {
            let page = reader.after(position, PAGE_EVENTS).map_err(unreadable)?;
            let Some(last) = page.last() else { break };
            position = last.position;
            page.iter().try_for_each(|recorded| check.apply(recorded))?;
            progress.at(position, head.max(position));
        }
        let found = check.finish()?;
        progress.done();
        Ok(found)
    }
}

/// A prompt or an answer that was kept.
struct SealedPart {
    /// The position of the event that has its digest.
    position: u64,
    recorded_at: DateTime<Utc>,
    address: ContentAddress,
    owner: ContentKeyOwner,
    digest: String,
}

/// The outcome of comparing an object with its event.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Opened,
    Unopened,
    Gone,
    Pending,
    /// The object is missing or damaged, for this reason.
    Broken(String),
}

/// Judges an object whose event was recorded this long ago.
fn judged(state: ObjectState, may_be_gone: bool, age: TimeDelta) -> Judged {
    match state {
        ObjectState::Sound => Judged::Opened,
        ObjectState::Unopened => Judged::Unopened,
        ObjectState::Missing if may_be_gone => Judged::Gone,
        ObjectState::Missing if age < ON_ITS_WAY_MAX => Judged::Pending,
        ObjectState::Missing => Judged::Broken(MISSING.to_owned()),
        ObjectState::Damaged(damage) => Judged::Broken(damage.to_string()),
    }
}

/// An error that keeps an object from being checked.
#[derive(Debug, thiserror::Error)]
enum ContentError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] VaultError),
}

/// The comparison of a store with a ledger, event by event.
struct ContentCheck<'a> {
    ledger: &'a LedgerPlace,
    reader: &'a dyn Reader,
    store: &'a ContentStore,
    runtime: &'a CommandRuntime,
    keys: Option<ContentKeyReader<'a>>,
    deletions: Deletions,
    now: DateTime<Utc>,
    /// The prompts of requests that have not ended: the end says what was lost.
    open: HashMap<RequestId, SealedPart>,
    found: VerifiedContent,
}

impl ContentCheck<'_> {
    fn apply(&mut self, recorded: &Recorded) -> Result<(), Fault> {
        let (Some(tenant), Some(request)) = (recorded.context.tenant_id, recorded.context.request_id) else {
            return Ok(());
        };
        let (position, recorded_at) = (recorded.position, recorded.recorded_at);
        if let Some(admitted) = recorded.event.admission() {
            if let (ContentPolicy::Sealed, Some(digest)) = (admitted.content_policy, &admitted.prompt_digest) {
                let address = ContentAddress { tenant, admitted_at: recorded_at, request, part: ContentPart::Prompt };
                let owner = ContentKeyOwner::of(tenant, recorded.context.user_id);
                let prompt = SealedPart { position, recorded_at, address, owner, digest: digest.clone() };
                self.open.insert(request, prompt);
            }
            return Ok(());
        }
        let Some(ended) = recorded.event.outcome() else { return Ok(()) };
        let Some(prompt) = self.open.remove(&request) else { return Ok(()) };
        let answer = ended.answer_digest.as_ref().map(|digest| SealedPart {
            position,
            recorded_at,
            address: ContentAddress { part: ContentPart::Answer, ..prompt.address },
            owner: prompt.owner,
            digest: digest.clone(),
        });
        once(prompt).chain(answer).try_for_each(|part| {
            let was_killed = ended.reason.as_deref() == Some(NODE_LOST);
            self.check(&part, was_killed || ended.content_lost.contains(&part.address.part))
        })
    }

    /// Checks the prompts of requests that have not ended, and counts the objects that no event names.
    fn finish(mut self) -> Result<VerifiedContent, Fault> {
        for part in std::mem::take(&mut self.open).into_values() {
            // Its end will say whether it was lost.
            let may_be_lost = self.now - part.recorded_at >= ON_ITS_WAY_MAX;
            self.check(&part, may_be_lost)?;
        }
        let stored = self.runtime.block_on(self.store.count()).map_err(|error| unchecked(&error))?;
        self.found.unnamed = stored.saturating_sub(self.found.opened + self.found.unopened);
        Ok(self.found)
    }

    fn check(&mut self, part: &SealedPart, may_be_lost: bool) -> Result<(), Fault> {
        let mut judged = self.judge(part, may_be_lost)?;
        if matches!(judged, Judged::Broken(_)) {
            // Meanwhile, its days may have ended, or its tenant.
            self.now = SystemClock::new().now();
            self.deletions.catch_up(self.reader, self.now).map_err(|error| unreadable(self.ledger, &error))?;
            judged = self.judge(part, may_be_lost)?;
        }
        match judged {
            Judged::Opened => self.found.opened += 1,
            Judged::Unopened => self.found.unopened += 1,
            Judged::Gone => self.found.gone += 1,
            Judged::Pending => self.found.pending += 1,
            Judged::Broken(reason) => self.found.broken.add(part.position, part.address.to_string(), reason),
        }
        Ok(())
    }

    fn judge(&self, part: &SealedPart, may_be_lost: bool) -> Result<Judged, Fault> {
        let may_be_gone = may_be_lost || self.deletions.allows_absence_of(&part.address);
        match self.read_state(part) {
            Ok(state) => Ok(judged(state, may_be_gone, self.now - part.recorded_at)),
            Err(ContentError::Store(error)) => Err(unchecked(&error)),
            Err(ContentError::Key(VaultError::Log(error))) => Err(unreadable(self.ledger, &error)),
            Err(ContentError::Key(error)) => Ok(Judged::Broken(error.to_string())),
        }
    }

    fn read_state(&self, part: &SealedPart) -> Result<ObjectState, ContentError> {
        let key_of = |generation| self.key_of(part, generation);
        self.runtime.block_on(self.store.check(&part.address, &part.digest, key_of))
    }

    fn key_of(&self, part: &SealedPart, generation: u32) -> Result<ObjectKey, ContentError> {
        let Some(keys) = &self.keys else { return Ok(ObjectKey::Unknown) };
        Ok(match keys.key_of_generation(part.address.tenant, part.owner, generation)? {
            StoredContentKey::Opened(key) => {
                ObjectKey::Known(Box::new(ContentKey::new(part.owner, key.generation, &key.secret)))
            }
            StoredContentKey::OtherGeneration if part.position > self.deletions.keys_lost_at => {
                ObjectKey::OtherGeneration
            }
            StoredContentKey::OtherGeneration | StoredContentKey::Erased | StoredContentKey::OfOtherNodes => {
                ObjectKey::Unknown
            }
        })
    }
}

fn unchecked(error: &StoreError) -> Fault {
    Fault::Unreadable(format!("cannot check the content: {error}"))
}

#[cfg(test)]
mod tests {
    use content_store::ObjectDamage;

    use super::*;

    /// Holds: content.verify
    #[test]
    fn a_missing_object_is_broken_once_no_gateway_tries_to_store_it_any_more() {
        let missing = |may_be_gone, seconds| judged(ObjectState::Missing, may_be_gone, TimeDelta::seconds(seconds));
        let too_old = ON_ITS_WAY_MAX.num_seconds();
        for young in [-60, 0, too_old - 1] {
            assert_eq!(missing(false, young), Judged::Pending, "{young}");
        }
        for old in [too_old, 86_400] {
            assert_eq!(missing(false, old), Judged::Broken(MISSING.to_owned()), "{old}");
        }
        assert_eq!([missing(true, 0), missing(true, too_old)], [Judged::Gone, Judged::Gone]);
        let damage = ObjectDamage::NotOpened;
        let damaged = judged(ObjectState::Damaged(damage), true, TimeDelta::seconds(0));
        assert_eq!(damaged, Judged::Broken(damage.to_string()), "a damaged object is there, whatever may be gone");
    }
}
