//! The look-ups of facts: one statement for all of them, put together from the parts that are wanted.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use chrono::{DateTime, Utc};
use events::event::{Recorded, Stream};
use events::ids::{IdMap, RequestId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresEngine;
use super::read::{SELECT_EVENTS, recorded, unsigned};
use super::running_nodes::was_seen_lately;
use super::statement::Statement;
use crate::facts::{Claim, ClaimedKey, Facts, KindOfTenant, StreamEnd, WantedFacts};
use crate::hold_history::HoldHistory;
use crate::inference_keys::IDEMPOTENCY_KEPT;
use crate::side::ReplyKey;
use crate::stored::{parsed, signed, stored};
use crate::{LogError, Name, StoredReply};

/// The log's last position. All parts have its columns: those of an event, of which each part uses what it needs; what was
/// found; and which of the wanted it answers, from 1 on.
const HEAD: &str = "
    SELECT last AS position, NULL::bigint, NULL::text, NULL::text AS id, NULL::bigint AS sequence, NULL::text, NULL::text,
           NULL::text AS text, NULL::text, NULL::text, 'head' AS part, 0::bigint AS nth, NULL::bytea AS fingerprint
    FROM (SELECT last FROM ledger.batches ORDER BY first DESC LIMIT 1) AS tip";
const STREAM_ENDS: &str = "
    UNION ALL
    SELECT e.position, NULL, NULL, NULL, e.sequence, NULL, NULL, NULL, NULL, NULL, 'stream', w.nth, NULL
    FROM UNNEST(?::text[], ?::text[]) WITH ORDINALITY AS w (kind, id, nth) CROSS JOIN LATERAL (
        SELECT position, sequence FROM ledger.events
        WHERE aggregate_type = w.kind AND aggregate_id = w.id ORDER BY sequence DESC LIMIT 1) AS e";
const NAME_OWNERS: &str = "
    UNION ALL
    SELECT NULL, NULL, NULL, n.owner, NULL, NULL, NULL, NULL, NULL, NULL, 'name', w.nth, NULL
    FROM UNNEST(?::text[], ?::text[], ?::text[]) WITH ORDINALITY AS w (kind, scope, name, nth) CROSS JOIN LATERAL (
        SELECT owner FROM ledger.names WHERE kind = w.kind AND scope = w.scope AND name = w.name LIMIT 1) AS n";
const REPLIES: &str = "
    UNION ALL
    SELECT r.position, NULL, NULL, NULL, r.status, NULL, NULL, r.body, NULL, NULL, 'reply', w.nth, r.fingerprint
    FROM UNNEST(?::text[], ?::text[]) WITH ORDINALITY AS w (scope, key, nth) CROSS JOIN LATERAL (
        SELECT position, status, body, fingerprint FROM ledger.idempotency
        WHERE scope = w.scope AND key = w.key LIMIT 1) AS r";
const CATALOGUE: &str = "
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, revision, NULL, NULL, NULL, NULL, NULL, 'catalogue', 0, NULL FROM ledger.catalogue";
/// For each kind of administration, the newest stream about one tenant, or about none, that began after a position.
const BEGUN: &str = "
    UNION ALL
    SELECT b.position, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'begun', w.nth, NULL
    FROM UNNEST(?::text[], ?::text[], ?::bigint[]) WITH ORDINALITY AS w (kind, tenant, after, nth) CROSS JOIN LATERAL (
        SELECT position FROM ledger.events
        WHERE position > w.after AND aggregate_type = w.kind AND sequence = 1
          AND aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
          AND aggregate_type <> 'alert' AND coalesce(metadata::json ->> 'tenant_id', '') = w.tenant
        ORDER BY position DESC LIMIT 1) AS b";
/// The claims, each with 1 if the process that admitted its request is gone; and the events on the streams of holds: those of
/// the claims, and others.
const CLAIMS_AND_HOLDS: [&str; 2] = [
    concat!(
        "
    UNION ALL (
    WITH claimed AS MATERIALIZED (
        SELECT w.nth, k.fingerprint, k.request_id
        FROM UNNEST(?::text[], ?::text[]) WITH ORDINALITY AS w (tenant, key, nth) CROSS JOIN LATERAL (
            SELECT fingerprint, request_id FROM ledger.inference_keys
            WHERE tenant = w.tenant AND key = w.key AND recorded_at > ? LIMIT 1) AS k)
    SELECT NULL, NULL, NULL, request_id, (
        SELECT (NOT EXISTS (SELECT FROM ledger.running_nodes AS running WHERE running.node = admitted.node AND ",
        was_seen_lately!(),
        "))::integer::bigint
        FROM ledger.events AS hold CROSS JOIN LATERAL (
            SELECT node FROM ledger.batches WHERE first <= hold.position ORDER BY first DESC LIMIT 1) AS admitted
        WHERE hold.aggregate_type = 'hold' AND hold.aggregate_id = request_id AND hold.sequence = 1),
        NULL, NULL, NULL, NULL, NULL, 'claim', nth, fingerprint FROM claimed
    UNION ALL
    SELECT e.*, 'hold', 0, NULL
    FROM (SELECT UNNEST(?::text[]) UNION SELECT request_id FROM claimed) AS w (id) CROSS JOIN LATERAL ("
    ),
    " WHERE aggregate_type = 'hold' AND aggregate_id = w.id) AS e)",
];

impl PostgresEngine {
    /// All wanted facts as of the last position, unless this is another one. Windows that a hold has moved need a second
    /// look-up, which is rare: the statement cannot know them without knowing the JSON of events.
    pub(super) fn find_facts(
        &mut self,
        position: u64,
        wanted: &WantedFacts,
        now: DateTime<Utc>,
    ) -> Result<Option<Facts>, LogError> {
        let query = FactQuery::of(wanted);
        let statement = query.statement(now)?;
        let rows = self.session.run(async |connection| statement.rows(connection).await)?;
        let Some(mut facts) = query.read(&rows, position)? else { return Ok(None) };
        let windows = facts.movable_windows(wanted);
        if !windows.is_empty() {
            let Some(stored) = self.windows_as_before(position + 1, &windows)? else { return Ok(None) };
            facts.windows = stored;
        }
        Ok(Some(facts))
    }

    /// The last sequence of each stream.
    pub(super) fn find_last_sequences(&mut self, streams: HashSet<Stream>) -> Result<HashMap<Stream, u64>, LogError> {
        let wanted = WantedFacts { streams, ..WantedFacts::default() };
        let query = FactQuery::of(&wanted);
        let mut statement = Statement::default();
        statement.add(HEAD);
        query.add_streams(&mut statement)?;
        let rows = self.session.run(async |connection| statement.rows(connection).await)?;
        let mut last: HashMap<Stream, u64> = wanted.streams.iter().map(|stream| (stream.clone(), 0)).collect();
        for row in &rows {
            if row.try_get::<&str, _>(10)? != "stream" {
                continue;
            }
            last.insert(nth(&query.streams, row)?.clone(), unsigned(row.try_get(4)?));
        }
        Ok(last)
    }
}

/// The statement of the wanted facts, and their order in it.
struct FactQuery<'a> {
    streams: Vec<&'a Stream>,
    names: Vec<&'a Name>,
    replies: Vec<&'a ReplyKey>,
    claims: Vec<&'a ClaimedKey>,
    holds: Vec<String>,
    catalogue: bool,
    begun: Vec<&'a KindOfTenant>,
    /// The position of each of these kinds.
    begun_after: Vec<i64>,
}

impl<'a> FactQuery<'a> {
    fn of(wanted: &'a WantedFacts) -> Self {
        Self {
            streams: wanted.streams.iter().collect(),
            names: wanted.names.iter().collect(),
            replies: wanted.replies.iter().collect(),
            claims: wanted.claims.iter().collect(),
            holds: wanted.holds.union(&wanted.charges).map(RequestId::to_string).collect(),
            catalogue: wanted.catalogue,
            begun: wanted.begun.keys().collect(),
            begun_after: wanted.begun.values().map(|after| signed(*after)).collect(),
        }
    }

    fn statement(&self, now: DateTime<Utc>) -> Result<Statement, LogError> {
        let mut statement = Statement::default();
        statement.add(HEAD);
        if !self.streams.is_empty() {
            self.add_streams(&mut statement)?;
        }
        if !self.names.is_empty() {
            statement.add(NAME_OWNERS);
            statement.bind(texts(&self.names, |name| name.kind.as_str()))?;
            statement.bind(texts(&self.names, |name| &name.scope))?;
            statement.bind(texts(&self.names, |name| &name.name))?;
        }
        if !self.replies.is_empty() {
            statement.add(REPLIES);
            statement.bind(texts(&self.replies, |reply| &reply.scope))?;
            statement.bind(texts(&self.replies, |reply| &reply.key))?;
        }
        if self.catalogue {
            statement.add(CATALOGUE);
        }
        if !self.begun.is_empty() {
            statement.add(BEGUN);
            statement.bind(texts(&self.begun, |of| of.kind.as_str()))?;
            let tenant = |of: &&KindOfTenant| of.tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
            statement.bind(self.begun.iter().map(tenant).collect::<Vec<_>>())?;
            statement.bind(self.begun_after.as_slice())?;
        }
        if !(self.claims.is_empty() && self.holds.is_empty()) {
            let [before, after] = CLAIMS_AND_HOLDS;
            statement.add(before);
            statement.add(SELECT_EVENTS);
            statement.add(after);
            statement.bind(self.claims.iter().map(|key| key.tenant.to_string()).collect::<Vec<_>>())?;
            statement.bind(texts(&self.claims, |key| &key.key))?;
            statement.bind((now - IDEMPOTENCY_KEPT).timestamp_micros())?;
            statement.bind(self.holds.as_slice())?;
        }
        Ok(statement)
    }

    fn add_streams(&self, statement: &mut Statement) -> Result<(), LogError> {
        statement.add(STREAM_ENDS);
        statement.bind(texts(&self.streams, |stream| stream.kind.as_str()))?;
        statement.bind(texts(&self.streams, |stream| &stream.id))
    }

    /// The facts in the rows of the statement; what has no row is absent. `None` if the log does not end at `position`.
    fn read(&self, rows: &[PgRow], position: u64) -> Result<Option<Facts>, LogError> {
        let mut facts = Facts {
            streams: absent(&self.streams),
            replies: absent(&self.replies),
            claims: absent(&self.claims),
            catalogue: self.catalogue.then_some(0),
            begun: absent(&self.begun),
            ..Facts::default()
        };
        facts.names.owners = absent(&self.names);
        let mut holds: IdMap<RequestId, Vec<Recorded>> = IdMap::default();
        for row in rows {
            match row.try_get(10)? {
                "head" if row.try_get::<i64, _>(0)? != signed(position) => return Ok(None),
                "head" => {}
                "stream" => {
                    let end = StreamEnd { sequence: unsigned(row.try_get(4)?), position: unsigned(row.try_get(0)?) };
                    facts.streams.insert(nth(&self.streams, row)?.clone(), end);
                }
                "name" => {
                    facts.names.insert(nth(&self.names, row)?.clone(), Some(row.try_get(3)?));
                }
                "reply" => {
                    facts.replies.insert(nth(&self.replies, row)?.clone(), Some(reply(row)?));
                }
                "catalogue" => facts.catalogue = Some(unsigned(row.try_get(4)?)),
                "begun" => {
                    facts.begun.insert(*nth(&self.begun, row)?, unsigned(row.try_get(0)?));
                }
                "claim" => {
                    let claim = Claim { fingerprint: fingerprint(row)?, request_id: parsed(row.try_get(3)?)? };
                    if row.try_get::<Option<i64>, _>(4)? == Some(1) {
                        facts.orphaned.insert(claim.request_id);
                    }
                    facts.claims.insert(nth(&self.claims, row)?.clone(), Some(claim));
                }
                "hold" => {
                    let recorded = recorded(row)?;
                    holds.entry(parsed(&recorded.stream.id)?).or_default().push(recorded);
                }
                other => return Err(stored(format!("a row of {other} among facts"))),
            }
        }
        for (request, mut events) in holds {
            events.sort_by_key(|recorded| recorded.sequence);
            // A hold that is open has no history.
            if events.iter().any(|recorded| HoldHistory::is_end(&recorded.event)) {
                let history = facts.holds.entry(request).or_default();
                events.iter().for_each(|recorded| history.apply(recorded));
            }
        }
        Ok(Some(facts))
    }
}

fn texts<'a, T>(wanted: &[&'a T], text: impl Fn(&'a T) -> &'a str) -> Vec<&'a str> {
    wanted.iter().map(|wanted| text(wanted)).collect()
}

fn absent<K: Clone + Eq + Hash, V: Default>(wanted: &[&K]) -> HashMap<K, V> {
    wanted.iter().map(|key| ((*key).clone(), V::default())).collect()
}

/// The wanted fact that a row answers.
fn nth<'a, T>(wanted: &[&'a T], row: &PgRow) -> Result<&'a T, LogError> {
    let nth = usize::try_from(row.try_get::<i64, _>(11)?).ok().and_then(|nth| nth.checked_sub(1));
    nth.and_then(|nth| wanted.get(nth).copied()).ok_or_else(|| stored("a fact that was not wanted"))
}

fn reply(row: &PgRow) -> Result<StoredReply, LogError> {
    Ok(StoredReply {
        fingerprint: fingerprint(row)?,
        status: u16::try_from(row.try_get::<i64, _>(4)?).map_err(stored)?,
        body: row.try_get(7)?,
        position: unsigned(row.try_get(0)?),
    })
}

fn fingerprint(row: &PgRow) -> Result<[u8; 32], LogError> {
    row.try_get::<&[u8], _>(12)?.try_into().map_err(stored)
}
