//! The statement of a batch: the gate, and all that is written with it. The gate is the row by which the batch gets its positions.
//! The other parts take their rows through the gate's, so that nothing is written if the gate is closed.
//!
//! Rejected: a head row that every append updates, whose dead versions slow each append down while any session idles in a
//! transaction; and a transaction with a lock, which costs twice the time.

use std::collections::HashMap;

use uuid::Uuid;

use super::clock_limits::ClockLimits;
use super::contexts::{NewContexts, PostgresContexts, StoredContext};
use super::read::Tip;
use super::state;
use super::statement::Statement;
use super::turn;
use crate::LogError;
use crate::draft::{Draft, StateRows};
use crate::facts::{Claim, ClaimedKey};
use crate::side::ReplyKey;
use crate::stored::{signed, stored};

const GATE: &str = "
WITH gate AS (
    INSERT INTO ledger.batches (first, last, recorded_at, node, token, is_checkpoint)
    SELECT ours.* FROM (VALUES (?::bigint, ?::bigint, ?::bigint, ?::text, ?::uuid, ?::boolean))
                       AS ours (first, last, recorded_at, node, token, is_checkpoint)
    WHERE (? OR pg_try_advisory_xact_lock_shared(?, ?))
      AND ours.recorded_at - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint BETWEEN - ?::bigint AND ?
      AND EXISTS (SELECT FROM ledger.batches AS before
                  WHERE before.first = ? AND before.last = ours.first - 1 AND before.token = ?
                    AND before.recorded_at <= ours.recorded_at)
    ON CONFLICT (first) DO NOTHING
    RETURNING first, last, recorded_at)";
/// Open if no batch follows the tip. Only for the holder of a lock that keeps others from appending.
const GATE_WITHOUT_EVENTS: &str = "
WITH gate AS (
    SELECT tip.first, tip.last, ?::bigint AS recorded_at FROM ledger.batches AS tip
    WHERE tip.first = ? AND tip.token = ? AND NOT EXISTS (SELECT FROM ledger.batches AS later WHERE later.first > tip.first))";
/// Arrays are unnested where columns are selected, side by side: as tables of `FROM`, each is copied into a store of its own
/// first.
const EVENTS: &str = ", new_events AS (
    INSERT INTO ledger.events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version,
                               payload, metadata, context)
    SELECT generate_series(first, last), recorded_at, unnest(?::text[]), unnest(?::text[]), unnest(?::bigint[]),
           unnest(?::text[]), unnest(?::text[]), unnest(?::text[]), unnest(?::text[]), unnest(?::uuid[])
    FROM gate)";
const CONTEXTS: &str = ", new_contexts AS (
    INSERT INTO ledger.contexts (id, context)
    SELECT unnest(?::uuid[]), unnest(?::text[]) FROM gate
    ON CONFLICT (id) DO NOTHING)";
const CLAIMS: &str = ", new_claims AS (
    INSERT INTO ledger.inference_keys (tenant, key, fingerprint, request_id, recorded_at)
    SELECT unnest(?::text[]), unnest(?::text[]), unnest(?::bytea[]), unnest(?::text[]), recorded_at FROM gate
    ON CONFLICT (tenant, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, request_id = excluded.request_id, recorded_at = excluded.recorded_at)";
const REPLIES: &str = ", new_replies AS (
    INSERT INTO ledger.idempotency (scope, key, fingerprint, status, body, position, recorded_at)
    SELECT unnest(?::text[]), unnest(?::text[]), unnest(?::bytea[]), unnest(?::integer[]), unnest(?::text[]),
           unnest(?::bigint[]), recorded_at
    FROM gate)";
/// One row if the gate was open.
const OUTCOME: &str = " SELECT first FROM gate";
/// A batch that is about to be written, as often as it takes to know what became of it.
pub(super) struct Batch {
    pub(super) tip: Tip,
    pub(super) recorded_at: i64,
    pub(super) clock_limits: ClockLimits,
    pub(super) statement: Statement,
    pub(super) contexts: NewContexts,
}

/// The place of a batch in the log, and the token that tells it from others.
#[derive(Clone, Copy)]
pub(super) struct BatchPlace<'a> {
    /// The batch before it.
    pub(super) tip: Tip,
    pub(super) token: Uuid,
    /// The node that writes it.
    pub(super) node: &'a str,
}

impl Batch {
    /// The batch of a draft with events.
    pub(super) fn new(
        draft: &Draft,
        rows: Option<&StateRows<'_>>,
        BatchPlace { tip, token, node }: BatchPlace<'_>,
        respects_turns: bool,
        contexts: &PostgresContexts,
        clock_limits: ClockLimits,
    ) -> Result<Self, LogError> {
        let recorded_at = draft.recorded_at.timestamp_micros();
        let ours = Tip { first: tip.last + 1, last: signed(draft.position()), token };
        let mut statement = Statement::default();
        statement.add(GATE);
        statement.bind(ours.first)?;
        statement.bind(ours.last)?;
        statement.bind(recorded_at)?;
        statement.bind(node)?;
        statement.bind(token)?;
        statement.bind(rows.is_some())?;
        statement.bind(!respects_turns)?;
        statement.bind(turn::LOCK.0)?;
        statement.bind(turn::LOCK.1)?;
        statement.bind(clock_limits.behind_max)?;
        statement.bind(clock_limits.ahead_max)?;
        statement.bind(tip.first)?;
        statement.bind(tip.token)?;
        let contexts = add_events(&mut statement, draft, contexts)?;
        if !contexts.texts.is_empty() {
            statement.add(CONTEXTS);
            let (ids, texts): (Vec<_>, Vec<_>) = contexts.texts.iter().map(|(id, text)| (*id, text.as_str())).unzip();
            statement.bind(ids)?;
            statement.bind(texts)?;
        }
        add_keys(&mut statement, draft)?;
        if let Some(rows) = rows {
            state::add_rows(&mut statement, draft, rows)?;
        }
        statement.add(OUTCOME);
        Ok(Self { tip: ours, recorded_at, clock_limits, statement, contexts })
    }
}

/// The statement of a draft that has no event.
pub(super) fn without_events(draft: &Draft, tip: Tip) -> Result<Statement, LogError> {
    let mut statement = Statement::default();
    statement.add(GATE_WITHOUT_EVENTS);
    statement.bind(draft.recorded_at.timestamp_micros())?;
    statement.bind(tip.first)?;
    statement.bind(tip.token)?;
    add_keys(&mut statement, draft)?;
    statement.add(OUTCOME);
    Ok(statement)
}

/// Adds the events, and returns the contexts that must be stored with them.
fn add_events(statement: &mut Statement, draft: &Draft, known: &PostgresContexts) -> Result<NewContexts, LogError> {
    let mut new = NewContexts::default();
    let (mut payloads, mut metadata, mut contexts) = (Vec::new(), Vec::new(), Vec::new());
    for recorded in &draft.events {
        let mut payload = Vec::new();
        recorded.event.write_payload(&mut payload).map_err(stored)?;
        payloads.push(String::from_utf8(payload).map_err(stored)?);
        let (whole, name) = match known.of(recorded, &mut new)? {
            StoredContext::Whole(json) => (Some(json), None),
            StoredContext::Named(name) => (None, Some(name)),
        };
        metadata.push(whole);
        contexts.push(name);
    }
    statement.add(EVENTS);
    let events = || draft.events.iter();
    statement.bind(events().map(|recorded| recorded.stream.kind.as_str()).collect::<Vec<_>>())?;
    statement.bind(events().map(|recorded| recorded.stream.id.as_str()).collect::<Vec<_>>())?;
    statement.bind(events().map(|recorded| signed(recorded.sequence)).collect::<Vec<_>>())?;
    statement.bind(events().map(|recorded| recorded.event.name()).collect::<Vec<_>>())?;
    statement.bind(events().map(|recorded| recorded.event.version().to_string()).collect::<Vec<_>>())?;
    statement.bind(payloads)?;
    statement.bind(metadata)?;
    statement.bind(contexts)?;
    Ok(new)
}

/// Adds the idempotency keys that the draft binds.
fn add_keys(statement: &mut Statement, draft: &Draft) -> Result<(), LogError> {
    if !draft.claims.is_empty() {
        // A key that is bound twice in a batch keeps the last request: one statement changes a row once.
        let last: HashMap<&ClaimedKey, &Claim> = draft.claims.iter().map(|(key, claim)| (key, claim)).collect();
        let claims = || last.iter();
        statement.add(CLAIMS);
        statement.bind(claims().map(|(key, _)| key.tenant.to_string()).collect::<Vec<_>>())?;
        statement.bind(claims().map(|(key, _)| key.key.as_str()).collect::<Vec<_>>())?;
        statement.bind(claims().map(|(_, claim)| claim.fingerprint.as_slice()).collect::<Vec<_>>())?;
        statement.bind(claims().map(|(_, claim)| claim.request_id.to_string()).collect::<Vec<_>>())?;
    }
    if !draft.replies.is_empty() {
        let replies = || draft.replies.iter();
        statement.add(REPLIES);
        statement.bind(replies().map(|(ReplyKey { scope, .. }, _)| scope.as_str()).collect::<Vec<_>>())?;
        statement.bind(replies().map(|(ReplyKey { key, .. }, _)| key.as_str()).collect::<Vec<_>>())?;
        statement.bind(replies().map(|(_, reply)| reply.fingerprint.as_slice()).collect::<Vec<_>>())?;
        statement.bind(replies().map(|(_, reply)| i32::from(reply.status)).collect::<Vec<_>>())?;
        statement.bind(replies().map(|(_, reply)| reply.body.as_str()).collect::<Vec<_>>())?;
        statement.bind(replies().map(|(_, reply)| signed(reply.position)).collect::<Vec<_>>())?;
    }
    Ok(())
}
