//! The port for reading a log, whatever its database. It has no generics, so that code that reads is compiled once and names
//! no engine.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use events::event::{Recorded, Stream};
use events::ids::{KeyId, RequestId, TenantId, UserId};
use events::ledger::Balances;

use super::raw::RawReader;
use super::{
    ClientAddress, EventFilter, Head, ImportedCatalogue, KeySecret, LimitSharing, LogError, Part, PersonalData,
    RegisteredNode, SealedSecret, StoredReply, TenantKey,
};

/// A process of a shared log that has run longer than another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierNode {
    /// The id of the node, as in [`RunningNode`].
    pub node_id: String,
    /// True if the node was seen in the last ten seconds, and could append then.
    pub could_append_lately: bool,
}

/// A process that serves a shared log, and was seen in the last ten seconds. Times are by the database's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningNode {
    /// The id of the node, as in its log lines and in the batches of the log.
    pub node_id: String,
    /// From which it is connected, as the database sees it; `local` for a socket.
    pub address: String,
    pub started_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
    /// False for one that does other work.
    pub serves_requests: bool,
    /// How it counts rate limits; `None` if it counts none, or does not say it.
    pub limit_sharing: Option<LimitSharing>,
}

impl RunningNode {
    /// True for one that was given a Redis, and says so.
    pub const fn has_redis(&self) -> bool {
        self.is_starting() || matches!(self.limit_sharing, Some(LimitSharing::Unreached)) || self.shares_limits()
    }

    /// True for one that was given a Redis, and does not serve yet.
    pub const fn is_starting(&self) -> bool {
        matches!(self.limit_sharing, Some(LimitSharing::Starting))
    }

    /// True for one that shares its counts of rate limits, or will when its Redis is back.
    pub const fn shares_limits(&self) -> bool {
        matches!(self.limit_sharing, Some(LimitSharing::Disconnected | LimitSharing::Connected))
    }
}

/// A read-only connection to a log. Blocking. It returns events in order, and never one that is not durable.
pub trait Reader: RawReader + Send {
    fn head(&self) -> Result<Head, LogError>;

    /// At most `limit` events after `position`, in order.
    fn after(&self, position: u64, limit: usize) -> Result<Vec<Recorded>, LogError>;

    /// At most `limit` events after `after` that match the filter. For one owner, only its blocks are read, and the events
    /// after the last written block; administrative events have an index. A call examines a bounded part of the log, so it
    /// may return no events although there are more: see [`Part::has_more`].
    fn filtered(&self, filter: &EventFilter, after: u64, limit: usize) -> Result<Part, LogError>;

    /// The first position recorded at this time or later, or the one after the last.
    fn first_since(&self, at: DateTime<Utc>) -> Result<u64, LogError>;

    /// The position after which changes of prices also concern the requests before them: the end of the log when a version
    /// that re-values requests opened it first.
    fn revaluation_begins_after(&self) -> Result<u64, LogError>;

    /// The events at these positions. Positions that the log does not have are absent.
    fn at(&self, positions: &[u64]) -> Result<HashMap<u64, Recorded>, LogError>;

    /// Which of these positions are of events that this process appended: all, unless the log is shared.
    fn appended_by(
        &self,
        _node_id: &str,
        positions: RangeInclusive<u64>,
    ) -> Result<Vec<RangeInclusive<u64>>, LogError> {
        Ok(vec![positions])
    }

    /// All events of a stream.
    fn stream(&self, of: &Stream) -> Result<Vec<Recorded>, LogError>;

    /// The last event of each type on an administrative stream, in order: now, or as of `position`, which must be one of the
    /// stream's own. Reads one row per type, however long the stream is.
    fn last_of_each_type(&self, of: &Stream, position: Option<u64>) -> Result<Vec<Recorded>, LogError>;

    /// All administrative events after `position`, in order.
    fn administration_after(&self, position: u64) -> Result<Vec<Recorded>, LogError>;

    fn idempotent_reply(&self, scope: &str, key: &str) -> Result<Option<StoredReply>, LogError>;

    /// The stored generations of the secrets of these keys, by key, and of each the oldest first.
    fn key_secrets(&self, keys: &[KeyId]) -> Result<Vec<KeySecret>, LogError>;

    /// The newest sealed secret of a subject.
    fn sealed_secret(&self, subject: &str) -> Result<Option<SealedSecret>, LogError>;

    /// The sealed secret of a subject in one generation.
    fn sealed_secret_of(&self, subject: &str, generation: u32) -> Result<Option<SealedSecret>, LogError>;

    /// The wrapped data key of a scope.
    fn wrapped_key(&self, scope: &str) -> Result<Option<Vec<u8>>, LogError>;

    /// Some scope and its wrapped data key; `None` if there are no data keys yet.
    fn any_wrapped_key(&self) -> Result<Option<(String, Vec<u8>)>, LogError>;

    /// All wrapped data keys, each with its scope.
    fn wrapped_keys(&self) -> Result<Vec<(String, Vec<u8>)>, LogError>;

    /// All registered nodes.
    fn nodes(&self) -> Result<Vec<RegisteredNode>, LogError>;

    /// The keys of all tenants, for every node that has them.
    fn tenant_keys(&self) -> Result<Vec<TenantKey>, LogError>;

    /// A tenant's key, for every node that has it.
    fn tenant_keys_of(&self, tenant: &str) -> Result<Vec<TenantKey>, LogError>;

    /// All sealed secrets.
    fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, LogError>;

    /// The subjects among `subjects` that have a secret which can still be opened.
    fn subjects_with_secret(&self, subjects: Vec<String>) -> Result<HashSet<String>, LogError>;

    /// The tenants in which a user has keys of sealed content.
    fn tenants_with_content_keys_of(&self, user: UserId) -> Result<Vec<TenantId>, LogError>;

    /// The data of those subjects that have not been erased.
    fn personal_data(&self, subjects: &[UserId]) -> Result<HashMap<UserId, PersonalData>, LogError>;

    /// The catalogue that was imported last into a shared ledger, unless it has the revision that the caller knows; 0 is none.
    fn imported_catalogue(&self, _known: u64) -> Result<Option<ImportedCatalogue>, LogError> {
        Ok(None)
    }

    /// The processes of a shared log that registered before this one, and have not said that they end. `None` if this one was not
    /// seen lately itself, or could not append: others may take it for gone.
    fn earlier_nodes(&self, _node_id: &str) -> Result<Option<Vec<EarlierNode>>, LogError> {
        Ok(Some(Vec::new()))
    }

    /// The processes that serve a shared log, in the order of their starts; none if the log is not shared.
    fn running_nodes(&self) -> Result<Vec<RunningNode>, LogError> {
        Ok(Vec::new())
    }

    /// At most `limit` users with this name who have not been erased.
    fn people_named(&self, name: &str, limit: usize) -> Result<Vec<UserId>, LogError>;

    /// The client addresses of those requests for which one is stored.
    fn client_addresses(&self, requests: &[RequestId]) -> Result<HashMap<RequestId, ClientAddress>, LogError>;

    /// The balances and the head that they are as of. For display, not for decisions.
    fn balances(&self, now: DateTime<Utc>) -> Result<(Head, Balances), LogError>;
}
