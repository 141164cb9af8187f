//! An administrative change: events of one stream and their side rows, appended together.

use chrono::{DateTime, Utc};
use events::event::{Context, Event, Resource, Stream};
use events::ledger::{Balances, Emitted};

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::facts::{Facts, WantedFacts};
use crate::{AppendError, Idempotency, Name, SideRow, StoredReply};

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
        let basis = Basis { streams: Vec::new(), known_until: 0 };
        Self { stream, expected_sequence, events, context, side: Vec::new(), idempotency: None, basis }
    }
}

/// The streams that a decision depends on besides its own. The append is refused if one of them has an event that the
/// decision did not know: so no change is recorded after an event that took away its author's right to make it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    pub streams: Vec<Stream>,
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

pub(crate) struct AppendChange(pub(crate) Box<Append>);

impl JobKind for AppendChange {
    type Decided = Appended;
    type Answer = Appended;
    type Error = AppendError;

    fn wants(&self, _balances: &Balances, wanted: &mut WantedFacts) {
        let Append { stream, side, idempotency, basis, .. } = &*self.0;
        wanted.streams.extend(basis.streams.iter().chain([stream]).cloned());
        wanted.names.extend(side.iter().filter_map(claimed_name).map(|(name, _)| name.clone()));
        wanted.replies.extend(idempotency.as_ref().map(Idempotency::reply_key));
        wanted.catalogue |= side.iter().any(|row| replaced_catalogue(row).is_some());
    }

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<Appended, AppendError> {
        let append = &*self.0;
        check(append, batch.facts)?;
        let first = batch.draft.position() + 1;
        for (sequence, event) in (append.expected_sequence + 1..).zip(&append.events) {
            let emitted =
                Emitted { stream: append.stream.clone(), context: append.context.clone(), event: event.clone() };
            let position = batch.draft.record(batch.facts, emitted, sequence);
            if let Event::Resource(Resource::Budget(change)) = event {
                batch.balances.fold_budget(change, position, batch.now);
            }
        }
        for row in &append.side {
            batch.facts.apply_row(row);
            batch.draft.side.push(row.clone());
        }
        let last = batch.draft.position();
        if let Some(idempotency) = &append.idempotency {
            let Idempotency { fingerprint, status, body, .. } = idempotency.clone();
            let (key, reply) = (idempotency.reply_key(), StoredReply { fingerprint, status, body, position: last });
            batch.facts.replies.insert(key.clone(), Some(reply.clone()));
            batch.draft.replies.push((key, reply));
        }
        Ok(Appended { first, last, recorded_at: batch.now })
    }

    fn answer(self, appended: Appended, _batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now(Ok(appended))
    }
}

/// Refuses a change that conflicts with the log, before anything is added to the draft.
fn check(append: &Append, facts: &Facts) -> Result<(), AppendError> {
    if let Some(idempotency) = &append.idempotency
        && let Some(stored) = facts.reply(&idempotency.reply_key())?
    {
        let is_same = stored.fingerprint == idempotency.fingerprint;
        return Err(if is_same { AppendError::Replayed(stored.clone()) } else { AppendError::IdempotencyKeyReused });
    }
    if facts.stream(&append.stream)?.sequence != append.expected_sequence {
        return Err(AppendError::OptimisticLock);
    }
    for stream in &append.basis.streams {
        let position = facts.stream(stream)?.position;
        if position > append.basis.known_until {
            return Err(AppendError::Outdated { position });
        }
    }
    for replaces in append.side.iter().filter_map(replaced_catalogue) {
        if facts.catalogue()? != replaces {
            return Err(AppendError::OptimisticLock);
        }
    }
    append.side.iter().filter_map(claimed_name).try_for_each(|(name, owner)| match facts.owner(name)? {
        Some(other) if other != owner => Err(AppendError::NameTaken { kind: name.kind, name: name.name.clone() }),
        _ => Ok(()),
    })
}

/// The name that a row claims, and its owner.
const fn claimed_name(row: &SideRow) -> Option<(&Name, &String)> {
    if let SideRow::ClaimName { name, owner } = row { Some((name, owner)) } else { None }
}

/// The revision of the catalogue that a row replaces.
const fn replaced_catalogue(row: &SideRow) -> Option<u64> {
    if let SideRow::Catalogue { replaces, .. } = row { Some(*replaces) } else { None }
}
