//! The look-ups of facts.

use chrono::{DateTime, Utc};
use events::event::Stream;
use events::ids::RequestId;
use rusqlite::{Connection, params};

use super::read::{one, text};
use super::{read, state};
use crate::facts::{Claim, ClaimedKey, Facts, KindOfTenant, StreamEnd, WantedFacts};
use crate::hold_history::HoldHistory;
use crate::inference_keys::IDEMPOTENCY_KEPT;
use crate::stored::{parsed, signed};
use crate::{LogError, Name};

const STREAM_END: &str = "SELECT sequence, position FROM events WHERE aggregate_type = ?1 AND aggregate_id = ?2
                          ORDER BY sequence DESC LIMIT 1";
const NAME_OWNER: &str = "SELECT owner FROM names WHERE kind = ?1 AND scope = ?2 AND name = ?3";
const CLAIM: &str =
    "SELECT fingerprint, request_id FROM inference_keys WHERE tenant = ?1 AND key = ?2 AND recorded_at > ?3";
/// The newest stream of a kind of administration, about one tenant or about none, that began after a position.
const BEGUN: &str = "SELECT position FROM events WHERE position > ?1 AND aggregate_type = ?2 AND sequence = 1
                       AND aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
                       AND aggregate_type <> 'alert' AND coalesce(metadata ->> '$.tenant_id', '') = ?3
                     ORDER BY position DESC LIMIT 1";

pub(super) fn find(connection: &Connection, wanted: &WantedFacts, now: DateTime<Utc>) -> Result<Facts, LogError> {
    let mut facts = Facts::default();
    for stream in &wanted.streams {
        facts.streams.insert(stream.clone(), end(connection, stream)?);
    }
    for name in &wanted.names {
        facts.names.insert(name.clone(), owner(connection, name)?);
    }
    for key in &wanted.replies {
        facts.replies.insert(key.clone(), read::idempotent_reply(connection, &key.scope, &key.key)?);
    }
    for key in &wanted.claims {
        let claim = claim(connection, key, now)?;
        if let Some(claim) = &claim {
            find_hold(connection, claim.request_id, &mut facts)?;
        }
        facts.claims.insert(key.clone(), claim);
    }
    for request in wanted.holds.union(&wanted.charges) {
        find_hold(connection, *request, &mut facts)?;
    }
    // A data folder has its catalogue in a file.
    facts.catalogue = wanted.catalogue.then_some(0);
    for (kind, after) in &wanted.begun {
        let KindOfTenant { kind: of_kind, tenant } = kind;
        let tenant = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        let begun = one(connection, BEGUN, params![signed(*after), of_kind.as_str(), tenant], |row| Ok(row.get(0)?))?;
        facts.begun.insert(*kind, begun.unwrap_or(0));
    }
    facts.windows = state::windows(connection, &facts.movable_windows(wanted))?;
    Ok(facts)
}

/// The last event of a stream.
pub(super) fn end(connection: &Connection, stream: &Stream) -> Result<StreamEnd, LogError> {
    let end = one(connection, STREAM_END, params![stream.kind.as_str(), stream.id], |row| {
        Ok(StreamEnd { sequence: row.get(0)?, position: row.get(1)? })
    });
    Ok(end?.unwrap_or_default())
}

fn owner(connection: &Connection, Name { kind, scope, name }: &Name) -> Result<Option<String>, LogError> {
    one(connection, NAME_OWNER, params![kind.as_str(), scope, name], |row| Ok(row.get(0)?))
}

fn claim(connection: &Connection, key: &ClaimedKey, now: DateTime<Utc>) -> Result<Option<Claim>, LogError> {
    let values = params![key.tenant.to_string(), key.key, (now - IDEMPOTENCY_KEPT).timestamp_micros()];
    one(connection, CLAIM, values, |row| Ok(Claim { fingerprint: row.get(0)?, request_id: parsed(text(row, 1)?)? }))
}

/// Adds the history of a hold, unless it is open or never existed.
fn find_hold(connection: &Connection, request: RequestId, facts: &mut Facts) -> Result<(), LogError> {
    let events = read::stream(connection, &Stream::hold(request))?;
    if !events.iter().any(|recorded| HoldHistory::is_end(&recorded.event)) {
        return Ok(());
    }
    let mut history = HoldHistory::default();
    events.iter().for_each(|recorded| history.apply(recorded));
    facts.holds.insert(request, history);
    Ok(())
}
