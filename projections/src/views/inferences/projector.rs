//! `inferences` and `inference_incidents`: one request's whole life. Reads `inference.*` and the ends of holds. Rebuild:
//! from the log. A refusal that stands for several requests, or for none that has an id, has no row here; `other_usage` has
//! one for every refusal and every correction, so that usage can be counted within an hour.
//!
//! Rows say where in the log a life's events stand, and who reads a life reads them there: they never change, and their
//! text was most of this file and most of the time that it took to write it.

use std::sync::Arc;

use events::event::inference::{InferenceEnded, InferenceRefused};
use events::event::{Event, Hold, Inference, Recorded};
use events::ids::{IdMap, RequestId};
use events::money::NanoUsd;
use events::refusal::ErrorCode;
use rusqlite::{CachedStatement, Connection, params};

use crate::views::View;
use crate::views::exact::Exact;
use crate::views::projector::{ProjectionError, Projector, must_exist};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0004_inferences.sql");
const INSERT: &str = include_str!("insert.sql");
const UPDATE: &str = include_str!("update.sql");
const INSERT_OTHER_USAGE: &str = include_str!("insert_other_usage.sql");
const INSERT_INCIDENT: &str = include_str!("insert_incident.sql");

pub struct Inferences;

/// What a batch says about one request.
#[derive(Default)]
struct RequestUpdate<'a> {
    /// Its first event, with the model that was asked for.
    begin: Option<(&'a Recorded, &'a str, Status)>,
    hold_position: Option<u64>,
    outcome: Option<(u64, &'a InferenceEnded, Status)>,
    hold_end_position: Option<u64>,
    /// What corrections add to the outcome's cost, in nano-dollars.
    corrected: i128,
    incidents: Vec<u64>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Admitted,
    Refused,
    Completed,
    Failed,
    Aborted,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Admitted, Self::Refused, Self::Completed, Self::Failed, Self::Aborted];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// Usage that is no admitted request's.
struct OtherUsage<'a> {
    recorded: &'a Recorded,
    model: &'a str,
    refused: u64,
    corrected: NanoUsd,
}

/// What a batch says.
#[derive(Default)]
struct Taken<'a> {
    lives: IdMap<RequestId, RequestUpdate<'a>>,
    others: Vec<OtherUsage<'a>>,
}

impl Projector for Inferences {
    fn view(&self) -> View {
        View::Inferences
    }

    fn version(&self) -> u32 {
        4
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        let mut taken = Taken::default();
        for recorded in events {
            taken.take(recorded)?;
        }
        // In the order of their positions: rows are then appended, not put between others.
        let mut lives: Vec<(RequestId, RequestUpdate<'_>)> = taken.lives.into_iter().collect();
        lives.sort_unstable_by_key(|(_, life)| life.begin.map(|(begin, _, _)| begin.position));
        let mut statements = Statements::prepare(db)?;
        lives.iter().try_for_each(|(request, life)| statements.write(*request, life))?;
        taken.others.iter().try_for_each(|other| other.write(db))
    }
}

impl<'a> Taken<'a> {
    fn take(&mut self, recorded: &'a Recorded) -> Result<(), ProjectionError> {
        let request = recorded.context.request_id;
        let mut life = |change: &mut dyn FnMut(&mut RequestUpdate<'a>)| {
            if let Some(request) = request {
                change(self.lives.entry(request).or_default());
            }
        };
        match &recorded.event {
            Event::Inference(fact) => match fact {
                Inference::Admitted(admitted) => {
                    life(&mut |life| life.begin = Some((recorded, &admitted.model, Status::Admitted)));
                }
                Inference::Refused(refused) => {
                    if stands_alone(refused) {
                        life(&mut |life| life.begin = Some((recorded, &refused.model, Status::Refused)));
                    }
                    let model = refused_model(refused);
                    self.others.push(OtherUsage { recorded, model, refused: refused.count, corrected: NanoUsd::ZERO });
                }
                Inference::Completed(ended) => {
                    life(&mut |life| life.outcome = Some((recorded.position, ended, Status::Completed)));
                }
                Inference::Failed(ended) => {
                    life(&mut |life| life.outcome = Some((recorded.position, ended, Status::Failed)));
                }
                Inference::Aborted(ended) => {
                    life(&mut |life| life.outcome = Some((recorded.position, ended, Status::Aborted)));
                }
                Inference::AttemptFailed(_) => life(&mut |life| life.incidents.push(recorded.position)),
            },
            Event::Hold(Hold::Reserved(_)) => life(&mut |life| life.hold_position = Some(recorded.position)),
            Event::Hold(Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_)) => {
                life(&mut |life| life.hold_end_position = Some(recorded.position));
            }
            Event::Hold(Hold::Adjusted(correction)) => {
                let life = self.lives.entry(correction.of).or_default();
                let delta = i128::from(correction.delta_usd.nanos());
                life.corrected = life.corrected.checked_add(delta).ok_or(ProjectionError::Overflow)?;
                life.incidents.push(recorded.position);
                self.others.push(OtherUsage { recorded, model: "", refused: 0, corrected: correction.delta_usd });
            }
            Event::Resource(_) | Event::Access(_) | Event::Alert(_) => {}
        }
        Ok(())
    }
}

/// The model that a refusal counts under: none where no model has the name, of which a client could think up any number.
pub fn refused_model(refused: &InferenceRefused) -> &str {
    if refused.code == ErrorCode::ModelNotFound { "" } else { &refused.model }
}

const fn stands_alone(refused: &InferenceRefused) -> bool {
    refused.count == 1
}

impl OtherUsage<'_> {
    fn write(&self, db: &Connection) -> Result<(), ProjectionError> {
        let context = &self.recorded.context;
        db.prepare_cached(INSERT_OTHER_USAGE)?.execute(params![
            self.recorded.position,
            self.recorded.recorded_at.timestamp_micros(),
            context.partner_id.map(|id| id.to_string()),
            context.tenant_id.map(|id| id.to_string()),
            context.user_id.map(|id| id.to_string()),
            context.key_id.map(|id| id.to_string()),
            self.model,
            Exact(self.refused.into()),
            self.corrected.nanos(),
        ])?;
        Ok(())
    }
}

/// The statements of a batch, looked up once.
struct Statements<'c> {
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
    insert_incident: CachedStatement<'c>,
}

/// The columns that an outcome fills; all empty while there is none.
struct OutcomeColumns<'a> {
    status: Option<&'static str>,
    provider: Option<&'a str>,
    backend: Option<String>,
    cost_nanos: Exact,
    corrected_nanos: Exact,
    /// Of each class.
    tokens: [Option<Exact>; 5],
    latency_ms: Option<Exact>,
    position: Option<u64>,
}

impl RequestUpdate<'_> {
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
            tokens: usage.map(|usage| usage.tokens.each().map(|tokens| Some(Exact(tokens.into())))).unwrap_or_default(),
            latency_ms: latency_ms.map(|latency_ms| Exact(latency_ms.into())),
            position: self.outcome.map(|(position, _, _)| position),
        })
    }
}

impl<'c> Statements<'c> {
    fn prepare(db: &'c Connection) -> Result<Self, ProjectionError> {
        Ok(Self {
            insert: db.prepare_cached(INSERT)?,
            update: db.prepare_cached(UPDATE)?,
            insert_incident: db.prepare_cached(INSERT_INCIDENT)?,
        })
    }

    fn write(&mut self, request: RequestId, life: &RequestUpdate<'_>) -> Result<(), ProjectionError> {
        let id = request.to_string();
        match life.begin {
            Some((begin, model, status)) => self.insert(&id, life, begin, model, status)?,
            None => self.update(&id, life)?,
        }
        for position in &life.incidents {
            self.insert_incident.execute(params![id, position])?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        request: &str,
        life: &RequestUpdate<'_>,
        begin: &Recorded,
        model: &str,
        status: Status,
    ) -> Result<(), ProjectionError> {
        let (context, outcome) = (&begin.context, life.outcome_columns()?);
        let [uncached, cache_read, cache_write, text, reasoning] = outcome.tokens;
        self.insert.execute(params![
            begin.position,
            request,
            begin.recorded_at.timestamp_micros(),
            outcome.status.unwrap_or(status.as_str()),
            context.partner_id.map(|id| id.to_string()),
            context.tenant_id.map(|id| id.to_string()),
            context.user_id.map(|id| id.to_string()),
            context.key_id.map(|id| id.to_string()),
            model,
            outcome.provider,
            outcome.backend,
            outcome.cost_nanos,
            outcome.corrected_nanos,
            uncached,
            cache_read,
            cache_write,
            text,
            reasoning,
            outcome.latency_ms,
            life.hold_position,
            outcome.position,
            life.hold_end_position,
        ])?;
        Ok(())
    }

    fn update(&mut self, request: &str, life: &RequestUpdate<'_>) -> Result<(), ProjectionError> {
        let outcome = life.outcome_columns()?;
        let [uncached, cache_read, cache_write, text, reasoning] = outcome.tokens;
        let rows = self.update.execute(params![
            request,
            outcome.status,
            outcome.provider,
            outcome.backend,
            outcome.cost_nanos,
            outcome.corrected_nanos,
            uncached,
            cache_read,
            cache_write,
            text,
            reasoning,
            outcome.latency_ms,
            life.hold_position,
            outcome.position,
            life.hold_end_position,
        ])?;
        must_exist(rows, request)
    }
}
