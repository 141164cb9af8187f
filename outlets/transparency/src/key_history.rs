//! The keys of a log, each with the position of the event that names it. Which of them sign a checkpoint, and which checkpoints
//! count, follows from these positions alone: so whoever publishes next decides as the one before would have.

use events::event::log_key::LogKeyCreated;
use events::event::{Event, Recorded, Resource, Stream, StreamKind};
use events_log::{LogError, Reader};
use tlog::{SignedCheckpoint, TreeHead, VerifierKey};

use crate::checkpoint::{CheckpointError, LogKeys};

/// A key that the log names.
#[derive(Clone, Debug)]
pub struct RecordedKey {
    /// The position of its event.
    pub position: u64,
    pub created: LogKeyCreated,
    verifier: VerifierKey,
}

/// The keys of a log, as its events name them.
#[derive(Clone, Debug)]
pub struct KeyHistory {
    origin: String,
    /// Oldest first.
    keys: Vec<RecordedKey>,
}

/// The keys that sign a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// Those that were replaced since the checkpoint before, oldest first: whoever knows only the first of them sees a checkpoint
    /// that leads to the next key.
    pub replaced: &'a [RecordedKey],
    /// The key in force, and those that the log names only after the checkpoint.
    pub in_force: &'a [RecordedKey],
}

impl KeyHistory {
    /// The history of a log that has no keys yet.
    pub fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), keys: Vec::new() }
    }

    /// The keys that a ledger has for the log of this origin. Blocking.
    pub fn read(origin: &str, log: &dyn Reader) -> Result<Self, LogError> {
        let mut history = Self::new(origin);
        for recorded in log.stream(&Stream::new(StreamKind::LogKey, origin))? {
            history.add(&recorded);
        }
        Ok(history)
    }

    /// Adds the key that an event names, if it is a newer one of this log. A key that cannot be read has signed nothing.
    pub fn add(&mut self, recorded: &Recorded) {
        let Event::Resource(Resource::LogKeyCreated(created)) = &recorded.event else { return };
        let is_newer = self.keys.last().is_none_or(|newest| newest.position < recorded.position);
        if is_newer
            && created.origin == self.origin
            && let Ok(verifier) = created.verifier_key.parse()
        {
            self.keys.push(RecordedKey { position: recorded.position, created: (**created).clone(), verifier });
        }
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// All keys.
    pub fn keys(&self) -> LogKeys {
        LogKeys::of_log(self.origin.clone(), self.keys.iter().map(|key| key.verifier.clone()).collect())
    }

    /// The keys that sign the checkpoint of a tree, after one of `before` events; 0 if it is the first one, which leads nobody from
    /// one key to another.
    pub fn signing(&self, before: u64, size: u64) -> Signing<'_> {
        let in_force = self.in_force(size);
        let from = if before == 0 { in_force } else { self.in_force(before).min(in_force) };
        let (until, in_force) = self.keys.split_at(in_force.min(self.keys.len()));
        Signing { replaced: &until[from.min(until.len())..], in_force }
    }

    /// The index of the newest key that a tree of this size names; of the first one, if it names none yet: then the log was
    /// longer than that when it was first published.
    fn in_force(&self, size: u64) -> usize {
        self.keys.partition_point(|key| key.position <= size).saturating_sub(1)
    }

    /// The keys that are trusted: the given ones, and those that the log names in the events of a checkpoint that a trusted key has
    /// signed. All of these checkpoints must be signed by one of them. That the events are those of the checkpoints is for the caller
    /// to compare.
    ///
    /// Errors: one of the checkpoints is of another log, or no trusted key has signed it; with its index.
    pub fn trusted(
        &self,
        given: &LogKeys,
        checkpoints: &[SignedCheckpoint],
    ) -> Result<LogKeys, (usize, CheckpointError)> {
        let (origin, mut trusted) = (given.origin(), given.verifiers().to_vec());
        // The shorter ones first: what they name replaces a key before it can vouch for others in a longer one.
        let mut ascending: Vec<_> = checkpoints.iter().collect();
        ascending.sort_by_key(|signed| signed.unverified().head().size);
        while let Some(news) = ascending.iter().find_map(|signed| self.news_of(signed, origin, &trusted)) {
            trusted.extend(news);
        }
        for (index, signed) in checkpoints.iter().enumerate() {
            signed.verify(origin, &trusted).map_err(|error| (index, error.into()))?;
        }
        Ok(LogKeys::of_log(origin.to_owned(), trusted))
    }

    /// The keys that a checkpoint adds to those that are trusted; `None` if it adds none. A key that a trusted one has replaced vouches for
    /// nobody: it may have been stolen since.
    fn news_of(&self, signed: &SignedCheckpoint, origin: &str, trusted: &[VerifierKey]) -> Option<Vec<VerifierKey>> {
        let size = signed.unverified().head().size;
        let named = || self.keys.iter().take_while(|key| key.position <= size).map(|key| &key.verifier);
        let mut signers = signed.signers(origin, trusted).ok()?.into_iter();
        let is_replaced = |signer: &VerifierKey| {
            let mut later = named().skip_while(|key| *key != signer).skip(1);
            later.any(|key| trusted.contains(key))
        };
        signers.find(|signer| !is_replaced(signer))?;
        let news: Vec<_> = named().filter(|key| !trusted.contains(key)).cloned().collect();
        (!news.is_empty()).then_some(news)
    }

    /// Refuses a checkpoint that no trusted key has signed, or none but those that the log had replaced by then.
    pub fn must_be_in_force(&self, trusted: &LogKeys, signed: &SignedCheckpoint) -> Result<(), CheckpointError> {
        let size = signed.unverified().head().size;
        let signers = signed.signers(trusted.origin(), trusted.verifiers())?;
        let replaced: Option<Vec<u64>> = signers.into_iter().map(|key| self.replaced_at(key, size)).collect();
        match replaced.and_then(|positions| positions.into_iter().max()) {
            Some(position) => Err(CheckpointError::Replaced { size, position }),
            None => Ok(()),
        }
    }

    /// Returns the tree head of a checkpoint that one of the log's keys has signed while it was in force.
    pub fn read_in_force(&self, checkpoint: &[u8]) -> Result<TreeHead, CheckpointError> {
        Ok(*self.signed_in_force(checkpoint)?.unverified().head())
    }

    /// A checkpoint with its signatures, if one of the log's keys has signed it while it was in force.
    pub(crate) fn signed_in_force(&self, checkpoint: &[u8]) -> Result<SignedCheckpoint, CheckpointError> {
        let signed = SignedCheckpoint::parse(checkpoint)?;
        self.must_be_in_force(&self.keys(), &signed)?;
        Ok(signed)
    }

    /// Where a tree of this size names the key that replaced this one; `None` if it is in force. A key that the log does not name, or not
    /// yet, has no successor.
    fn replaced_at(&self, key: &VerifierKey, size: u64) -> Option<u64> {
        let index = self.keys.iter().position(|known| known.verifier == *key)?;
        self.keys.get(index + 1).map(|next| next.position).filter(|position| *position <= size)
    }
}
