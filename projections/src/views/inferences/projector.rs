//! `inferences` and `inference_incidents`: the life cycle of each request. Reads `inference.*` and the ends of holds.
//! Rebuild: from the log. A refusal that stands for several requests, or for one without an id, has no row here;
//! `other_usage` has a row for every refusal and every correction, so that usage can be counted for parts of an hour.
//!
//! Rows hold the log positions of a request's events, and readers fetch the events from the log, where they never change.
//! Copies of their text took most of the file and most of the time to write it.

use std::sync::Arc;

use events::event::inference::{Backend, InferenceEnded, InferenceRefused, Payer};
use events::event::{Event, Hold, Inference, Recorded};
use events::ids::{IdMap, RequestId};
use events::money::NanoUsd;
use events::named;
use events::refusal::ErrorCode;
use events::usage::TokenClasses;
use rusqlite::{CachedStatement, Connection, ToSql, params, params_from_iter};

use crate::views::View;
use crate::views::exact::Exact;
use crate::views::projector::{ProjectionError, Projector, must_exist};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0004_inferences.sql");
const INSERT: &str = include_str!("insert.sql");
const UPDATE: &str = include_str!("update.sql");
const SET_RARE: &str = include_str!("set_rare.sql");
const SET_PAYER: &str = include_str!("set_payer.sql");
const SET_SHADOW_OF: &str = include_str!("set_shadow_of.sql");
const INSERT_OTHER_USAGE: &str = include_str!("insert_other_usage.sql");
const INSERT_INCIDENT: &str = include_str!("insert_incident.sql");

pub struct Inferences;

/// The changes of one request in a batch.
#[derive(Default)]
struct RequestUpdate<'a> {
    /// Its first event, with the model that was asked for.
    begin: Option<(&'a Recorded, &'a str, Status)>,
    hold_position: Option<u64>,
    outcome: Option<(u64, &'a InferenceEnded, Status)>,
    hold_end_position: Option<u64>,
    /// Sum of the corrections of the outcome's cost, in nano-dollars.
    corrected: i128,
    incidents: Vec<u64>,
}

named! {
    /// The status of a request.
    pub enum Status {
        Admitted = "admitted",
        Refused = "refused",
        Completed = "completed",
        Failed = "failed",
        Aborted = "aborted",
    }
}

/// Usage outside of admitted requests: a refusal or a correction.
struct OtherUsage<'a> {
    recorded: &'a Recorded,
    model: &'a str,
    backend: Option<&'a Backend>,
    payer: Option<Payer>,
    refused: u64,
    corrected: NanoUsd,
}

/// The changes of a batch.
#[derive(Default)]
struct BatchUpdates<'a> {
    requests: IdMap<RequestId, RequestUpdate<'a>>,
    other_usage: Vec<OtherUsage<'a>>,
}

impl Projector for Inferences {
    fn view(&self) -> View {
        View::Inferences
    }

    fn version(&self) -> u32 {
        9
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        let mut updates = BatchUpdates::default();
        for recorded in events {
            updates.collect(recorded)?;
        }
        // In the order of positions, so that rows are appended and not inserted between others.
        let mut requests: Vec<(RequestId, RequestUpdate<'_>)> = updates.requests.into_iter().collect();
        requests.sort_unstable_by_key(|(_, update)| update.begin.map(|(begin, _, _)| begin.position));
        let mut statements = BatchStatements::prepare(db)?;
        requests.iter().try_for_each(|(request, update)| statements.write(*request, update))?;
        updates.other_usage.iter().try_for_each(|other| other.write(db))
    }
}

impl<'a> BatchUpdates<'a> {
    fn collect(&mut self, recorded: &'a Recorded) -> Result<(), ProjectionError> {
        let request = recorded.context.request_id;
        let mut update = |change: &mut dyn FnMut(&mut RequestUpdate<'a>)| {
            if let Some(request) = request {
                change(self.requests.entry(request).or_default());
            }
        };
        match &recorded.event {
            Event::Inference(fact) => match fact {
                Inference::Admitted(admitted) => {
                    update(&mut |update| update.begin = Some((recorded, &admitted.model, Status::Admitted)));
                }
                Inference::Refused(refused) => {
                    if is_single(refused) {
                        update(&mut |update| update.begin = Some((recorded, &refused.model, Status::Refused)));
                    }
                    let model = refused_model(refused);
                    self.other_usage.push(OtherUsage {
                        recorded,
                        model,
                        backend: None,
                        payer: None,
                        refused: refused.count,
                        corrected: NanoUsd::ZERO,
                    });
                }
                Inference::Completed(ended) => {
                    update(&mut |update| update.outcome = Some((recorded.position, ended, Status::Completed)));
                }
                Inference::Failed(ended) => {
                    update(&mut |update| update.outcome = Some((recorded.position, ended, Status::Failed)));
                }
                Inference::Aborted(ended) => {
                    update(&mut |update| update.outcome = Some((recorded.position, ended, Status::Aborted)));
                }
                Inference::AttemptFailed(_) => update(&mut |update| update.incidents.push(recorded.position)),
            },
            Event::Hold(Hold::Reserved(_)) => update(&mut |update| update.hold_position = Some(recorded.position)),
            Event::Hold(Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_)) => {
                update(&mut |update| update.hold_end_position = Some(recorded.position));
            }
            Event::Hold(Hold::Adjusted(correction)) => {
                let update = self.requests.entry(correction.of).or_default();
                let delta = i128::from(correction.delta_usd.nanos());
                update.corrected = update.corrected.checked_add(delta).ok_or(ProjectionError::Overflow)?;
                update.incidents.push(recorded.position);
                let request = correction.request.as_deref();
                self.other_usage.push(OtherUsage {
                    recorded,
                    model: request.map_or("", |request| &request.model),
                    backend: request.and_then(|request| request.backend.as_ref()),
                    payer: request.and_then(|request| request.payer),
                    refused: 0,
                    corrected: correction.delta_usd,
                });
            }
            Event::Resource(_) | Event::Access(_) | Event::Alert(_) => {}
        }
        Ok(())
    }
}

/// The model that a refusal counts under. Empty if no model has the name: a client could make up any number of names. One that was
/// retired has it.
pub fn refused_model(refused: &InferenceRefused) -> &str {
    let is_retired = || refused.details.contains_key("retired_at");
    if refused.code == ErrorCode::ModelNotFound && !is_retired() { "" } else { &refused.model }
}

const fn is_single(refused: &InferenceRefused) -> bool {
    refused.count == 1
}

impl OtherUsage<'_> {
    fn write(&self, db: &Connection) -> Result<(), ProjectionError> {
        let [partner, tenant, user, key] = self.recorded.context.chain().texts();
        let (position, at) = (self.recorded.position, self.recorded.recorded_at.timestamp_micros());
        let provider = self.backend.map_or("", |backend| &backend.provider);
        let backend = self.backend.map(|backend| [provider, "/", &backend.model].concat()).unwrap_or_default();
        let payer = self.payer.map_or("", Payer::as_str);
        let (refused, corrected) = (Exact(self.refused.into()), self.corrected.nanos());
        db.prepare_cached(INSERT_OTHER_USAGE)?.execute(params![
            position, at, partner, tenant, user, key, self.model, provider, backend, payer, refused, corrected,
        ])?;
        Ok(())
    }
}

/// The prepared statements of a batch.
struct BatchStatements<'c> {
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
    set_rare: CachedStatement<'c>,
    set_payer: CachedStatement<'c>,
    set_shadow_of: CachedStatement<'c>,
    insert_incident: CachedStatement<'c>,
}

/// The columns that an outcome fills; empty without one.
struct OutcomeColumns<'a> {
    status: Option<&'static str>,
    provider: Option<&'a str>,
    backend: Option<String>,
    cost_nanos: Exact,
    corrected_nanos: Exact,
    /// Tokens of the classes that most providers bill.
    tokens: [Option<Exact>; TokenClasses::COMMON],
    latency_ms: Option<Exact>,
    position: Option<u64>,
}

impl RequestUpdate<'_> {
    /// The request that it is a copy of.
    fn original(&self) -> Option<RequestId> {
        self.begin?.0.event.admission()?.shadow_of
    }

    fn outcome_columns(&self) -> Result<OutcomeColumns<'_>, ProjectionError> {
        let cost = self.outcome.map_or(NanoUsd::ZERO, |(_, ended, _)| ended.cost_usd);
        let backend = self.outcome.and_then(|(_, ended, _)| ended.backend.as_ref());
        let usage = self.outcome.and_then(|(_, ended, _)| ended.usage.as_ref());
        let latency_ms = self.outcome.and_then(|(_, ended, _)| ended.latency_ms);
        Ok(OutcomeColumns {
            status: self.outcome.map(|(_, _, status)| status.as_str()),
            provider: backend.map(|backend| backend.provider.as_str()),
            backend: backend.map(|backend| format!("{}/{}", backend.provider, backend.model)),
            cost_nanos: self.corrected.checked_add(cost.nanos().into()).map(Exact).ok_or(ProjectionError::Overflow)?,
            corrected_nanos: Exact(self.corrected),
            tokens: usage
                .map(|usage| usage.tokens.common().map(|tokens| Some(Exact(tokens.into()))))
                .unwrap_or_default(),
            latency_ms: latency_ms.map(|latency_ms| Exact(latency_ms.into())),
            position: self.outcome.map(|(position, _, _)| position),
        })
    }
}

impl<'c> BatchStatements<'c> {
    fn prepare(db: &'c Connection) -> Result<Self, ProjectionError> {
        Ok(Self {
            insert: db.prepare_cached(INSERT)?,
            update: db.prepare_cached(UPDATE)?,
            set_rare: db.prepare_cached(SET_RARE)?,
            set_payer: db.prepare_cached(SET_PAYER)?,
            set_shadow_of: db.prepare_cached(SET_SHADOW_OF)?,
            insert_incident: db.prepare_cached(INSERT_INCIDENT)?,
        })
    }

    fn write(&mut self, request: RequestId, update: &RequestUpdate<'_>) -> Result<(), ProjectionError> {
        let id = request.to_string();
        match update.begin {
            Some((begin, model, status)) => self.insert(&id, update, begin, model, status)?,
            None => self.update(&id, update)?,
        }
        let usage = update.outcome.and_then(|(_, ended, _)| ended.usage.as_ref());
        if let Some(rare) = usage.map(|usage| usage.tokens.rare()).filter(|rare| *rare != [0; TokenClasses::RARE]) {
            let counts = rare.map(|count| Exact(count.into()));
            let counts = counts.iter().map(|count| count as &dyn ToSql);
            self.set_rare.execute(params_from_iter([&id as &dyn ToSql].into_iter().chain(counts)))?;
        }
        let payer = update.outcome.and_then(|(_, ended, _)| ended.payer());
        if let Some(payer) = payer.filter(|payer| *payer != Payer::Brokered) {
            self.set_payer.execute(params![id, payer.as_str()])?;
        }
        if let Some(original) = update.original() {
            self.set_shadow_of.execute(params![id, original.to_string()])?;
        }
        for position in &update.incidents {
            self.insert_incident.execute(params![id, position])?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        request: &str,
        update: &RequestUpdate<'_>,
        begin: &Recorded,
        model: &str,
        status: Status,
    ) -> Result<(), ProjectionError> {
        let ([partner, tenant, user, key], outcome) = (begin.context.chain().texts(), update.outcome_columns()?);
        let [uncached, cache_read, cache_write, text, reasoning] = outcome.tokens;
        let (at, status) = (begin.recorded_at.timestamp_micros(), outcome.status.unwrap_or(status.as_str()));
        self.insert.execute(params![
            begin.position, request, at, status, partner, tenant, user, key, model, outcome.provider, outcome.backend,
            outcome.cost_nanos, outcome.corrected_nanos, uncached, cache_read, cache_write, text, reasoning,
            outcome.latency_ms, update.hold_position, outcome.position, update.hold_end_position,
        ])?;
        Ok(())
    }

    fn update(&mut self, request: &str, update: &RequestUpdate<'_>) -> Result<(), ProjectionError> {
        let outcome = update.outcome_columns()?;
        let [uncached, cache_read, cache_write, text, reasoning] = outcome.tokens;
        let rows = self.update.execute(params![
            request, outcome.status, outcome.provider, outcome.backend, outcome.cost_nanos, outcome.corrected_nanos,
            uncached, cache_read, cache_write, text, reasoning, outcome.latency_ms, update.hold_position,
            outcome.position, update.hold_end_position,
        ])?;
        must_exist(rows, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::tests::plan;

    #[test]
    fn no_statement_makes_a_table_for_each_row() {
        for statement in [INSERT, UPDATE, SET_RARE, SET_PAYER, SET_SHADOW_OF, INSERT_OTHER_USAGE, INSERT_INCIDENT] {
            let operations = plan::operations(SCHEMA, statement);
            assert!(operations.iter().any(|operation| operation == "OpenWrite"), "{operations:?}");
            let tables = operations.iter().filter(|operation| operation.starts_with("OpenEphemeral"));
            assert_eq!(tables.count(), 0, "{statement}");
        }
    }
}
