//! Administrative changes: events of one stream and their side rows each, appended together or not at all.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use events::event::{Context, Event, Resource, Stream};
use events::ledger::{Balances, Emitted};

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::facts::{Facts, KindOfTenant, WantedFacts};
use crate::{AppendError, Idempotency, LogError, Name, SideRow, StoredReply};

#[derive(Clone, Debug)]
pub struct Append {
    pub stream: Stream,
    /// The last sequence that the decision knew; 0 for a new stream.
    pub expected_sequence: u64,
    /// Empty to write side rows alone.
    pub events: Vec<Event>,
    pub context: Context,
    pub side: Vec<SideRow>,
    pub idempotency: Option<Idempotency>,
    pub basis: Basis,
}

impl Append {
    /// An append of events alone.
    pub const fn new(stream: Stream, expected_sequence: u64, events: Vec<Event>, context: Context) -> Self {
        let basis = Basis { streams: Vec::new(), kinds: Vec::new(), known_until: 0 };
        Self { stream, expected_sequence, events, context, side: Vec::new(), idempotency: None, basis }
    }
}

/// The facts that a decision depends on besides its own stream. The append is refused if one of the streams has an event that the
/// decision did not know, so no change is recorded after an event that took away its author's right to make it; or if a stream of one
/// of the kinds has begun since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    pub streams: Vec<Stream>,
    /// Kinds of administration of which the decision knew every stream of a tenant, or of none.
    pub kinds: Vec<KindOfTenant>,
    /// The position up to which the decision knew them.
    pub known_until: u64,
}

/// The positions and the time of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: u64,
    pub last: u64,
    pub recorded_at: DateTime<Utc>,
}

/// One of several changes could not be appended, so none was.
#[derive(Debug, thiserror::Error)]
#[error("change {at}: {error}")]
pub struct AppendAllError {
    /// Its index among the changes. It means nothing if the log is unavailable.
    pub at: usize,
    pub error: AppendError,
}

impl From<LogError> for AppendAllError {
    fn from(error: LogError) -> Self {
        Self { at: 0, error: error.into() }
    }
}

/// Changes of different streams. Names are claimed and released in their order.
pub(crate) struct AppendChanges(pub(crate) Vec<Append>);

impl JobKind for AppendChanges {
    type Decided = Appended;
    type Answer = Appended;
    type Error = AppendAllError;

    fn wants(&self, _balances: &Balances, wanted: &mut WantedFacts) {
        for Append { stream, side, idempotency, basis, .. } in &self.0 {
            wanted.streams.extend(basis.streams.iter().chain([stream]).cloned());
            basis.kinds.iter().for_each(|kind| wanted.want_begun(*kind, basis.known_until));
            wanted.names.extend(side.iter().filter_map(claimed_name).map(|(name, _)| name.clone()));
            wanted.replies.extend(idempotency.as_ref().map(Idempotency::reply_key));
            wanted.catalogue |= side.iter().any(|row| replaced_catalogue(row).is_some());
        }
    }

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<Appended, AppendAllError> {
        check(&self.0, batch.facts)?;
        let first = batch.draft.position() + 1;
        self.0.iter().for_each(|append| record(append, batch));
        Ok(Appended { first, last: batch.draft.position(), recorded_at: batch.now })
    }

    fn answer(self, appended: Appended, _batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now(Ok(appended))
    }
}

fn record(append: &Append, batch: &mut OpenBatch<'_>) {
    for (sequence, event) in (append.expected_sequence + 1..).zip(&append.events) {
        let emitted = Emitted { stream: append.stream.clone(), context: append.context.clone(), event: event.clone() };
        let position = batch.draft.record(batch.facts, emitted, sequence);
        if let Event::Resource(Resource::Budget(change)) = event {
            batch.balances.fold_budget(change, position, batch.now);
        }
    }
    for row in &append.side {
        batch.facts.apply_row(row);
        batch.draft.side.push(row.clone());
    }
    if let Some(idempotency) = &append.idempotency {
        let Idempotency { fingerprint, status, body, .. } = idempotency.clone();
        let position = batch.draft.position();
        let (key, reply) =
            (idempotency.reply_key(), StoredReply { fingerprint: fingerprint.keyed, status, body, position });
        batch.facts.replies.insert(key.clone(), Some(reply.clone()));
        batch.draft.replies.push((key, reply));
    }
}

/// Refuses changes of which one conflicts with the log, or with those before it, before anything is added to the draft. A repeated
/// request is told before all else: its own first attempt is what it would conflict with.
fn check(changes: &[Append], facts: &Facts) -> Result<(), AppendAllError> {
    let at = |at| move |error| AppendAllError { at, error };
    for (index, append) in changes.iter().enumerate() {
        check_reply(append, facts).map_err(at(index))?;
    }
    let (mut streams, mut so_far) = (HashSet::new(), Facts { catalogue: facts.catalogue, ..Facts::default() });
    for (name, _) in changes.iter().flat_map(|append| &append.side).filter_map(claimed_name) {
        so_far.names.insert(name.clone(), facts.owner(name)?.map(str::to_owned));
    }
    for (index, append) in changes.iter().enumerate() {
        // The second of two changes of a stream was not decided on the first.
        let is_first = streams.insert(&append.stream);
        let checked = if is_first { check_streams(append, facts) } else { Err(AppendError::OptimisticLock) };
        checked.and_then(|()| check_rows(append, &mut so_far)).map_err(at(index))?;
    }
    Ok(())
}

fn check_reply(append: &Append, facts: &Facts) -> Result<(), AppendError> {
    if let Some(idempotency) = &append.idempotency
        && let Some(stored) = facts.reply(&idempotency.reply_key())?
    {
        let is_same = idempotency.fingerprint.matches(&stored.fingerprint);
        return Err(if is_same { AppendError::Replayed(stored.clone()) } else { AppendError::IdempotencyKeyReused });
    }
    Ok(())
}

fn check_streams(append: &Append, facts: &Facts) -> Result<(), AppendError> {
    if facts.stream(&append.stream)?.sequence != append.expected_sequence {
        return Err(AppendError::OptimisticLock);
    }
    for stream in &append.basis.streams {
        let position = facts.stream(stream)?.position;
        if position > append.basis.known_until {
            return Err(AppendError::Outdated { position });
        }
    }
    for kind in &append.basis.kinds {
        let position = facts.begun(*kind)?;
        if position > append.basis.known_until {
            return Err(AppendError::Outdated { position });
        }
    }
    Ok(())
}

/// Checks the rows one by one: each finds names as those before it leave them.
fn check_rows(append: &Append, so_far: &mut Facts) -> Result<(), AppendError> {
    for row in &append.side {
        if let Some(replaces) = replaced_catalogue(row)
            && so_far.catalogue()? != replaces
        {
            return Err(AppendError::OptimisticLock);
        }
        if let Some((name, owner)) = claimed_name(row)
            && so_far.owner(name)?.is_some_and(|other| other != owner)
        {
            return Err(AppendError::NameTaken { kind: name.kind, name: name.name.clone() });
        }
        so_far.apply_row(row);
    }
    Ok(())
}

/// The name that a row claims, and its owner.
const fn claimed_name(row: &SideRow) -> Option<(&Name, &String)> {
    if let SideRow::ClaimName { name, owner } = row { Some((name, owner)) } else { None }
}

/// The revision of the catalogue that a row replaces.
const fn replaced_catalogue(row: &SideRow) -> Option<u64> {
    if let SideRow::Catalogue { replaces, .. } = row { Some(*replaces) } else { None }
}
