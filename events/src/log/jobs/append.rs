//! An administrative change: events of one stream, with the rows that belong to them, as one decision.

use chrono::{DateTime, Utc};

use super::{Deciding, JobKind, RecordedBatch, Reply, wants_stream};
use crate::event::{Context, Event, Resource, Stream};
use crate::ledger::{Balances, Emitted, FoldBudget, decide};
use crate::log::draft::RecordedReply;
use crate::log::facts::{Facts, Name, Wanted};
use crate::log::{AppendError, Idempotency, SideRow, StoredReply};

#[derive(Clone, Debug)]
pub struct Append {
    pub stream: Stream,
    /// Last sequence that the decision knew of; 0 for a new stream.
    pub expected_sequence: u64,
    /// None where side rows alone are to be written.
    pub events: Vec<Event>,
    pub context: Context,
    pub side: Vec<SideRow>,
    pub idempotency: Option<Idempotency>,
    pub basis: Basis,
}

/// What a decision rests on besides its own stream: an append is refused where any of these streams has an event that
/// the decision did not know. So no change stands in the log behind the event that took its author's right to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    pub streams: Vec<Stream>,
    /// Up to which position they were known.
    pub known_until: u64,
}

/// Where an append stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: u64,
    pub last: u64,
    pub recorded_at: DateTime<Utc>,
}

pub(in crate::log) struct AppendChange(pub(in crate::log) Box<Append>);

impl JobKind for AppendChange {
    /// Positions of its first and last event.
    type Decided = (u64, u64);
    type Answer = Appended;
    type Error = AppendError;

    fn wants(&self, _balances: &Balances, wanted: &mut Wanted) {
        let Append { stream, side, idempotency, basis, .. } = &*self.0;
        wants_stream(wanted, stream);
        basis.streams.iter().for_each(|stream| wants_stream(wanted, stream));
        wanted.names.extend(side.iter().filter_map(claimed_name).map(|(name, _)| name));
        wanted.replies.extend(idempotency.as_ref().map(Idempotency::reply_key));
    }

    fn decide(&self, batch: &mut Deciding<'_>) -> Result<(u64, u64), AppendError> {
        let append = &*self.0;
        check(append, batch.facts)?;
        let first = batch.draft.position() + 1;
        for (sequence, event) in (append.expected_sequence + 1..).zip(&append.events) {
            let emitted =
                Emitted { stream: append.stream.clone(), context: append.context.clone(), event: event.clone() };
            let position = batch.draft.record(batch.facts, emitted, sequence);
            if let Event::Resource(Resource::Budget(change)) = event {
                decide(batch.balances, &FoldBudget { change, position }, batch.now);
            }
        }
        for row in &append.side {
            batch.facts.take_in_row(row);
            batch.draft.side.push(row.clone());
        }
        let last = batch.draft.position();
        if let Some(idempotency) = &append.idempotency {
            let reply = RecordedReply { idempotency: idempotency.clone(), position: last };
            batch.facts.replies.insert(idempotency.reply_key(), Some(reply.stored()));
            batch.draft.replies.push(reply);
        }
        Ok((first, last))
    }

    fn answer(self, (first, last): (u64, u64), batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now(Ok(Appended { first, last, recorded_at: batch.recorded_at }))
    }
}

/// Whether it may be made, before anything of it is decided.
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
    append.side.iter().filter_map(claimed_name).try_for_each(|(name, owner)| match facts.owner(&name)? {
        Some(other) if other != owner => Err(AppendError::NameTaken { kind: name.kind, name: name.name.clone() }),
        _ => Ok(()),
    })
}

/// A name that a row claims, and for whom.
fn claimed_name(row: &SideRow) -> Option<(Name, &str)> {
    let SideRow::ClaimName { kind, scope, name, owner } = row else { return None };
    Some((Name { kind: *kind, scope: scope.clone(), name: name.clone() }, owner))
}

impl RecordedReply {
    fn stored(&self) -> StoredReply {
        let Idempotency { fingerprint, status, body, .. } = self.idempotency.clone();
        StoredReply { fingerprint, status, body, position: self.position }
    }
}
