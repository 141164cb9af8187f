//! What a log is read through, whichever database keeps it. Kept free of generics, so that code which reads is compiled once
//! and knows no engine.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::raw::RawReader;
use super::{ClientAddress, EventFilter, Head, KeySecret, LogError, Part, PersonalData, SealedSecret, StoredReply};
use crate::event::{Recorded, Stream};
use crate::ids::{KeyId, RequestId, UserId};
use crate::ledger::Balances;

/// A read-only connection to a log. Blocking. What it reads is in order, and never ahead of what is durable.
pub trait Reader: RawReader + Send {
    fn head(&self) -> Result<Head, LogError>;

    /// At most `limit` events beyond `position`, in order.
    fn after(&self, position: u64, limit: usize) -> Result<Vec<Recorded>, LogError>;

    /// At most `limit` events beyond `after` that pass the filter. Of one owner's events only the blocks that hold any are
    /// read, and what came after those were last written; administration has an index of its own. However few pass, no
    /// more than a bounded part of the log is looked at: what is found then may be nothing, with more behind it.
    fn filtered(&self, filter: &EventFilter, after: u64, limit: usize) -> Result<Part, LogError>;

    /// The events at these positions, by position; one that the log does not have is not among them.
    fn at(&self, positions: &[u64]) -> Result<HashMap<u64, Recorded>, LogError>;

    /// The whole history of one stream.
    fn stream(&self, of: &Stream) -> Result<Vec<Recorded>, LogError>;

    /// The last event of each type on a stream of administration, in order: as it is, or as it was at `position`, which
    /// is one of the stream's own. However many there are, as many rows are read as there are types.
    fn last_of_each_type(&self, of: &Stream, position: Option<u64>) -> Result<Vec<Recorded>, LogError>;

    /// Every event of administration beyond `position`, in order.
    fn administration_after(&self, position: u64) -> Result<Vec<Recorded>, LogError>;

    fn idempotent_reply(&self, scope: &str, key: &str) -> Result<Option<StoredReply>, LogError>;

    /// Every generation of a key's secret that is kept, oldest first.
    fn key_secrets(&self, key: KeyId) -> Result<Vec<KeySecret>, LogError>;

    /// The newest sealed secret of a subject.
    fn sealed_secret(&self, subject: &str) -> Result<Option<SealedSecret>, LogError>;

    /// The data key of a scope, wrapped.
    fn wrapped_key(&self, scope: &str) -> Result<Option<Vec<u8>>, LogError>;

    /// Some scope and its data key, wrapped; `None` where there is none yet.
    fn any_wrapped_key(&self) -> Result<Option<(String, Vec<u8>)>, LogError>;

    /// Every data key that there is, wrapped, by its scope.
    fn wrapped_keys(&self) -> Result<Vec<(String, Vec<u8>)>, LogError>;

    /// Every sealed secret that there is.
    fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, LogError>;

    /// Those of the subjects that have a secret which was not given up.
    fn subjects_with_secret(&self, subjects: Vec<String>) -> Result<HashSet<String>, LogError>;

    /// Those of the subjects that have not been erased.
    fn personal_data(&self, subjects: &[UserId]) -> Result<HashMap<UserId, PersonalData>, LogError>;

    /// At most `limit` of those who have this name and have not been erased.
    fn people_named(&self, name: &str, limit: usize) -> Result<Vec<UserId>, LogError>;

    /// Those of the requests whose origin is kept.
    fn client_addresses(&self, requests: &[RequestId]) -> Result<HashMap<RequestId, ClientAddress>, LogError>;

    /// What the ledger stands at, as of the head that comes with it; for people, not for decisions. Blocking.
    fn balances(&self, now: DateTime<Utc>) -> Result<(Head, Balances), LogError>;
}
