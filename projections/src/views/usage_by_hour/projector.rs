//! `usage_by_hour` and `usage_latency`: requests, tokens, cost and latencies by hour and dimension; `failed_calls`: failed calls by
//! backend. Reads `inference.*` and `budget.adjusted`. Rebuild: from the log.
//!
//! A request counts in the hour of its admission: first under no backend, then its outcome moves it to the backend that
//! served it and adds its tokens, cost and latency. A late correction of a charge counts in the hour in which it was
//! made, under no model and no backend. Refusals of unknown models count under no model, so that a client cannot create
//! a row for every name that it makes up.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::inference::{Backend, InferenceEnded, Payer};
use events::event::{Chain, Event, Hold, Inference, Recorded};
use events::ids::IdMap;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, ToSql, params_from_iter};

use super::failed_calls::FailedCallCounts;
use super::latency::Histogram;
use super::range::SECONDS_PER_HOUR;
use super::sums::{Amounts, COMMON, FAILED, REFUSED, REQUESTS};
use crate::views::View;
use crate::views::exact::Exact;
use crate::views::inferences::projector::refused_model;
use crate::views::projector::{ProjectionError, Projector};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0003_usage_by_hour.sql");
const ADD: &str = include_str!("add.sql");
const ADD_RARE: &str = include_str!("add_rare.sql");
const READ_LATENCIES: &str = include_str!("read_latencies.sql");
const WRITE_LATENCIES: &str = include_str!("write_latencies.sql");
const DROP_EMPTY: &str = include_str!("drop_empty.sql");

pub struct UsageByHour;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Dimensions<'a> {
    /// Seconds since 1970 at which the hour begins.
    hour: i64,
    chain: Chain,
    model: &'a str,
    /// Provider and the provider's own model name.
    backend: Option<(&'a str, &'a str)>,
    /// The payer of the backend.
    payer: Option<Payer>,
}

/// The additions of a batch. The fast hasher, although keys have names: a model or a backend must exist before a request can
/// name it.
#[derive(Default)]
struct Additions<'a>(IdMap<Dimensions<'a>, Addition>);

/// The amounts that are added to a row.
#[derive(Default)]
struct Addition {
    amounts: Amounts,
    latencies: Option<Histogram>,
}

impl Projector for UsageByHour {
    fn view(&self) -> View {
        View::UsageByHour
    }

    fn version(&self) -> u32 {
        8
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        let (mut additions, mut failed_calls) = (Additions::default(), FailedCallCounts::default());
        for recorded in events {
            collect(&mut additions, recorded).ok_or(ProjectionError::Overflow)?;
            if let Event::Inference(Inference::AttemptFailed(failed)) = &recorded.event {
                failed_calls.count(recorded, failed);
            }
        }
        failed_calls.write(db)?;
        additions.write(db)
    }
}

/// `None` if a sum does not fit.
fn collect<'a>(additions: &mut Additions<'a>, recorded: &'a Recorded) -> Option<()> {
    match &recorded.event {
        Event::Inference(Inference::Admitted(admitted)) => {
            let dimensions = dimensions(recorded, recorded.recorded_at, &admitted.model);
            additions.to(dimensions).amounts.count(REQUESTS, 1)
        }
        Event::Inference(Inference::Completed(ended) | Inference::Aborted(ended)) => additions.end(recorded, ended, 0),
        Event::Inference(Inference::Failed(ended)) => additions.end(recorded, ended, 1),
        Event::Inference(Inference::Refused(refused)) => {
            let dimensions = dimensions(recorded, recorded.recorded_at, refused_model(refused));
            additions.to(dimensions).amounts.count(REFUSED, refused.count.into())
        }
        Event::Hold(Hold::Adjusted(correction)) => {
            let request = correction.request.as_deref();
            let unserved =
                dimensions(recorded, recorded.recorded_at, request.map_or("", |request| request.model.as_str()));
            let backend = request.and_then(|request| request.backend.as_ref()).map(names);
            let payer = request.and_then(|request| request.payer);
            let dimensions = Dimensions { backend, payer, ..unserved };
            additions.to(dimensions).amounts.add_correction(correction.delta_usd.nanos().into())
        }
        Event::Inference(_) | Event::Hold(_) | Event::Resource(_) | Event::Access(_) | Event::Alert(_) => Some(()),
    }
}

fn dimensions<'a>(recorded: &Recorded, at: DateTime<Utc>, model: &'a str) -> Dimensions<'a> {
    let seconds = at.timestamp();
    Dimensions {
        hour: seconds - seconds.rem_euclid(SECONDS_PER_HOUR),
        chain: recorded.context.chain(),
        model,
        backend: None,
        payer: None,
    }
}

/// The provider, and its own name of the model.
fn names(backend: &Backend) -> (&str, &str) {
    (&backend.provider, &backend.model)
}

impl<'a> Additions<'a> {
    /// The amounts that are added to the row with these dimensions.
    fn to(&mut self, dimensions: Dimensions<'a>) -> &mut Addition {
        self.0.entry(dimensions).or_default()
    }

    /// Moves a request from no backend to the one that served it.
    fn end(&mut self, recorded: &'a Recorded, ended: &'a InferenceEnded, failed: i128) -> Option<()> {
        let unserved = dimensions(recorded, ended.admitted_at, &ended.model);
        self.to(unserved).amounts.count(REQUESTS, -1)?;
        let backend = ended.backend.as_ref().map(names);
        let Addition { amounts, latencies } = self.to(Dimensions { backend, payer: ended.payer(), ..unserved });
        amounts.count(REQUESTS, 1)?;
        amounts.count(FAILED, failed)?;
        amounts.add_cost(ended.cost_usd.nanos().into())?;
        if let Some(usage) = &ended.usage {
            amounts.count_tokens(&usage.tokens)?;
        }
        if let Some(latency_ms) = ended.latency_ms {
            latencies.get_or_insert_default().count(latency_ms);
        }
        Some(())
    }

    fn write(&self, db: &Connection) -> Result<(), ProjectionError> {
        let mut add = db.prepare_cached(ADD)?;
        let mut drop_empty = db.prepare_cached(DROP_EMPTY)?;
        let sums = self.0.iter().map(|(dimensions, addition)| (dimensions, &addition.amounts));
        for (dimensions, sum) in sums.filter(|(_, sum)| **sum != Amounts::default()) {
            let (key, counts) = (dimensions.columns(), sum.counts.map(Exact));
            let (cost, adjusted) = (Exact(sum.cost_nanos), Exact(sum.adjusted_nanos));
            let (common, rare) = counts.split_at(COMMON);
            let with_key = || key.iter().map(|column| column as &dyn ToSql);
            let sums = common.iter().chain([&cost]).map(|sum| sum as &dyn ToSql);
            add.execute(params_from_iter(with_key().chain(sums)))?;
            if rare.iter().chain([&adjusted]).any(|sum| sum.0 != 0) {
                let rare = rare.iter().chain([&adjusted]).map(|sum| sum as &dyn ToSql);
                db.prepare_cached(ADD_RARE)?.execute(params_from_iter(with_key().chain(rare)))?;
            }
            // Only then the sums of the row may have become zero: a request has left it, or corrections cancel each other.
            let requests = sum.counts[REQUESTS];
            if requests < 0 || (requests == 0 && sum.cost_nanos != 0) {
                drop_empty.execute(params_from_iter(&key))?;
            }
        }
        self.write_latencies(db)
    }

    fn write_latencies(&self, db: &Connection) -> Result<(), ProjectionError> {
        let mut read = db.prepare_cached(READ_LATENCIES)?;
        let mut write = db.prepare_cached(WRITE_LATENCIES)?;
        let latencies =
            self.0.iter().filter_map(|(dimensions, addition)| Some((dimensions, addition.latencies.as_ref()?)));
        for (dimensions, counted) in latencies {
            let key = dimensions.columns();
            let before: Option<(String, String)> =
                read.query_row(params_from_iter(&key), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let mut histogram = counted.clone();
            if let Some((milliseconds, requests)) = before {
                let missing = || ProjectionError::Missing(format!("a valid histogram of the hour {}", dimensions.hour));
                histogram.add_json(&milliseconds, &requests).ok_or_else(missing)?;
            }
            write.execute(params_from_iter(key.into_iter().chain(histogram.to_json()?.map(Value::Text))))?;
        }
        Ok(())
    }
}

impl Dimensions<'_> {
    /// The columns of the key: hour, partner, tenant, user, key, model, provider, backend, payer.
    fn columns(&self) -> [Value; 9] {
        let text = |text: Option<String>| Value::Text(text.unwrap_or_default());
        let [partner, tenant, user, key] = self.chain.texts().map(text);
        let provider = text(self.backend.map(|(provider, _)| provider.to_owned()));
        let backend = text(self.backend.map(|(provider, model)| format!("{provider}/{model}")));
        let payer = text(self.payer.map(|payer| payer.as_str().to_owned()));
        [self.hour.into(), partner, tenant, user, key, self.model.to_owned().into(), provider, backend, payer]
    }
}
