//! `usage_by_hour` and `usage_latency`: requests, tokens, cost and latencies by hour and dimension. Reads
//! `inference.*` and `budget.adjusted`. Rebuild: from the log.
//!
//! A request counts in the hour of its admission: first under no backend, then its outcome moves it to the backend that
//! served it and adds its tokens, cost and latency. A late correction of a charge counts in the hour in which it was
//! made, under no model and no backend. Refusals of unknown models count under no model, so that a client cannot create
//! a row for every name that it makes up.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::inference::InferenceEnded;
use events::event::{Chain, Event, Hold, Inference, Recorded};
use events::usage::TokenClasses;
use rusqlite::{Connection, OptionalExtension, params};

use super::latency::Histogram;
use crate::views::View;
use crate::views::exact::Exact;
use crate::views::inferences::projector::refused_model;
use crate::views::projector::{ProjectionError, Projector};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0003_usage_by_hour.sql");
const ADD: &str = include_str!("add.sql");
const READ_LATENCIES: &str = include_str!("read_latencies.sql");
const WRITE_LATENCIES: &str = include_str!("write_latencies.sql");
const DROP_EMPTY: &str = include_str!("drop_empty.sql");
const SECONDS_PER_HOUR: i64 = 3600;

pub struct UsageByHour;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Dimensions<'a> {
    /// Seconds since 1970 at which the hour begins.
    hour: i64,
    chain: Chain,
    model: &'a str,
    /// Provider and the provider's own model name.
    backend: Option<(&'a str, &'a str)>,
}

/// Sums of a group. Requests are fewer than positions, so they fit 64 bits; the other sums may not.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Amounts {
    requests: i64,
    failed: i64,
    refused: i128,
    input_uncached: i128,
    input_cache_read: i128,
    input_cache_write: i128,
    output_text: i128,
    output_reasoning: i128,
    cost_nanos: i128,
}

/// The additions of a batch.
#[derive(Default)]
struct Additions<'a> {
    amounts: HashMap<Dimensions<'a>, Amounts>,
    latencies: HashMap<Dimensions<'a>, Histogram>,
}

impl Projector for UsageByHour {
    fn view(&self) -> View {
        View::UsageByHour
    }

    fn version(&self) -> u32 {
        3
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        let mut additions = Additions::default();
        for recorded in events {
            collect(&mut additions, recorded)?;
        }
        additions.write(db)
    }
}

fn collect<'a>(additions: &mut Additions<'a>, recorded: &'a Recorded) -> Result<(), ProjectionError> {
    match &recorded.event {
        Event::Inference(Inference::Admitted(admitted)) => {
            let dimensions = dimensions(recorded, recorded.recorded_at, &admitted.model);
            additions.add(dimensions, Amounts { requests: 1, ..Amounts::default() })
        }
        Event::Inference(Inference::Completed(ended) | Inference::Aborted(ended)) => additions.end(recorded, ended, 0),
        Event::Inference(Inference::Failed(ended)) => additions.end(recorded, ended, 1),
        Event::Inference(Inference::Refused(refused)) => {
            let dimensions = dimensions(recorded, recorded.recorded_at, refused_model(refused));
            additions.add(dimensions, Amounts { refused: refused.count.into(), ..Amounts::default() })
        }
        Event::Hold(Hold::Adjusted(correction)) => {
            let dimensions = dimensions(recorded, recorded.recorded_at, "");
            additions.add(dimensions, Amounts { cost_nanos: correction.delta_usd.nanos().into(), ..Amounts::default() })
        }
        Event::Inference(_) | Event::Hold(_) | Event::Resource(_) | Event::Access(_) | Event::Alert(_) => Ok(()),
    }
}

fn dimensions<'a>(recorded: &Recorded, at: DateTime<Utc>, model: &'a str) -> Dimensions<'a> {
    let seconds = at.timestamp();
    Dimensions {
        hour: seconds - seconds.rem_euclid(SECONDS_PER_HOUR),
        chain: recorded.context.chain(),
        model,
        backend: None,
    }
}

impl<'a> Additions<'a> {
    fn add(&mut self, dimensions: Dimensions<'a>, amounts: Amounts) -> Result<(), ProjectionError> {
        let sum = self.amounts.entry(dimensions).or_default();
        *sum = sum.checked_add(&amounts).ok_or(ProjectionError::Overflow)?;
        Ok(())
    }

    /// Moves a request from no backend to the one that served it.
    fn end(&mut self, recorded: &'a Recorded, ended: &'a InferenceEnded, failed: i64) -> Result<(), ProjectionError> {
        let unserved = dimensions(recorded, ended.admitted_at, &ended.model);
        self.add(unserved, Amounts { requests: -1, ..Amounts::default() })?;
        let backend = ended.backend.as_ref().map(|backend| (&*backend.provider, &*backend.model));
        let served = Dimensions { backend, ..unserved };
        let tokens = ended.usage.as_ref().map(|usage| &usage.tokens);
        let outcome =
            Amounts { requests: 1, failed, cost_nanos: ended.cost_usd.nanos().into(), ..token_amounts(tokens) };
        self.add(served, outcome)?;
        if let Some(latency_ms) = ended.latency_ms {
            self.latencies.entry(served).or_default().count(latency_ms);
        }
        Ok(())
    }

    fn write(&self, db: &Connection) -> Result<(), ProjectionError> {
        let mut add = db.prepare_cached(ADD)?;
        let mut drop_empty = db.prepare_cached(DROP_EMPTY)?;
        for (dimensions, sum) in self.amounts.iter().filter(|(_, sum)| **sum != Amounts::default()) {
            let names = dimensions.names();
            let [partner, tenant, user, key, model, provider, backend] = &names;
            let hour = dimensions.hour;
            add.execute(params![
                hour,
                partner,
                tenant,
                user,
                key,
                model,
                provider,
                backend,
                sum.requests,
                Exact(sum.refused),
                sum.failed,
                Exact(sum.input_uncached),
                Exact(sum.input_cache_read),
                Exact(sum.input_cache_write),
                Exact(sum.output_text),
                Exact(sum.output_reasoning),
                Exact(sum.cost_nanos),
            ])?;
            if sum.can_empty_a_row() {
                drop_empty.execute(params![hour, partner, tenant, user, key, model, provider, backend])?;
            }
        }
        self.write_latencies(db)
    }

    fn write_latencies(&self, db: &Connection) -> Result<(), ProjectionError> {
        let mut read = db.prepare_cached(READ_LATENCIES)?;
        let mut write = db.prepare_cached(WRITE_LATENCIES)?;
        for (dimensions, counted) in &self.latencies {
            let names = dimensions.names();
            let [partner, tenant, user, key, model, provider, backend] = &names;
            let key_columns = params![dimensions.hour, partner, tenant, user, key, model, provider, backend];
            let before: Option<Vec<u8>> = read.query_row(key_columns, |row| row.get(0)).optional()?;
            let mut histogram = counted.clone();
            let added = histogram.add_encoded(before.as_deref().unwrap_or_default());
            added.ok_or_else(|| {
                ProjectionError::Missing(format!("a valid histogram of the hour {}", dimensions.hour))
            })?;
            let (hour, encoded) = (dimensions.hour, histogram.encode());
            write.execute(params![hour, partner, tenant, user, key, model, provider, backend, encoded])?;
        }
        Ok(())
    }
}

impl Dimensions<'_> {
    /// The values of the columns: partner, tenant, user, key, model, provider, backend.
    fn names(&self) -> [String; 7] {
        let Chain { partner, tenant, user, key } = self.chain;
        [
            partner.map(|id| id.to_string()).unwrap_or_default(),
            tenant.map(|id| id.to_string()).unwrap_or_default(),
            user.map(|id| id.to_string()).unwrap_or_default(),
            key.map(|id| id.to_string()).unwrap_or_default(),
            self.model.to_owned(),
            self.backend.map(|(provider, _)| provider.to_owned()).unwrap_or_default(),
            self.backend.map(|(provider, model)| format!("{provider}/{model}")).unwrap_or_default(),
        ]
    }
}

fn token_amounts(tokens: Option<&TokenClasses>) -> Amounts {
    let Some(tokens) = tokens else { return Amounts::default() };
    Amounts {
        input_uncached: tokens.input_uncached_tokens.into(),
        input_cache_read: tokens.input_cache_read_tokens.into(),
        input_cache_write: tokens.input_cache_write_tokens.into(),
        output_text: tokens.output_text_tokens.into(),
        output_reasoning: tokens.output_reasoning_tokens.into(),
        ..Amounts::default()
    }
}

impl Amounts {
    fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_add(other.requests)?,
            refused: self.refused.checked_add(other.refused)?,
            failed: self.failed.checked_add(other.failed)?,
            input_uncached: self.input_uncached.checked_add(other.input_uncached)?,
            input_cache_read: self.input_cache_read.checked_add(other.input_cache_read)?,
            input_cache_write: self.input_cache_write.checked_add(other.input_cache_write)?,
            output_text: self.output_text.checked_add(other.output_text)?,
            output_reasoning: self.output_reasoning.checked_add(other.output_reasoning)?,
            cost_nanos: self.cost_nanos.checked_add(other.cost_nanos)?,
        })
    }

    /// Whether the sums of a row may have become zero.
    const fn can_empty_a_row(&self) -> bool {
        self.requests < 0 || self.cost_nanos < 0
    }
}
