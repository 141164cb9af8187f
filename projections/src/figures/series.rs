//! The series of the families, and what each event adds to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use events::event::inference::{
    AttemptFailed, Backend, CLIENT_CLOSED, HEDGED, InferenceAdmitted, InferenceEnded, InferenceRefused,
};
use events::event::{Event, Hold, Inference, Recorded};
use events::ids::{IdMap, ProviderId, RequestId};
use events::money::NanoUsd;
use events::refusal::ErrorCode;
use events::usage::TokenClasses;
use prometheus::{Histogram, IntCounter, Registry};

use super::families::Families;
use super::money::{Label, MoneyCounter, MoneyCounters, MoneyFamily};
use super::names::{BoundedLabels, OTHER, TENANT_OWNED};
use crate::tables::Tables;

/// The end of a class's name, which its label does not have.
const TOKENS: &str = "_tokens";

fn class_of(name: &'static str) -> &'static str {
    name.strip_suffix(TOKENS).unwrap_or(name)
}

/// Models with their own label.
pub const MODELS_MAX: usize = 100;
/// Providers with their own label.
pub const PROVIDERS_MAX: usize = 50;
/// Reasons of upstream failures with their own label; there are about twenty.
const REASONS_MAX: usize = 64;
/// Open requests whose series are remembered. Further ones count as `other`; there are never more open at a time.
const OPEN_MAX: usize = 65_536;
/// Cached pairs of model and provider. When the cache is full it is cleared.
const COSTS_MAX: usize = 4096;

/// All series, and the state that counting needs.
pub struct Series {
    families: Families,
    money: Arc<MoneyCounters>,
    models: BoundedLabels,
    providers: BoundedLabels,
    reasons: BoundedLabels,
    /// Series by the model's label, then by surface.
    series_by_model: HashMap<String, Vec<(String, Arc<RequestSeries>)>>,
    open: IdMap<RequestId, Arc<RequestSeries>>,
    /// The cost counters by model and provider, with the provider's name, which may change.
    costs: HashMap<(usize, ProviderId), (String, MoneyCounter)>,
}

/// The series that a request adds to: they are looked up once per request.
struct RequestSeries {
    number: usize,
    model: String,
    completed: IntCounter,
    failed: IntCounter,
    aborted: IntCounter,
    /// Those of the classes that most providers bill.
    tokens: [IntCounter; TokenClasses::COMMON],
    seconds: Histogram,
    first_token: Histogram,
    held: MoneyCounter,
    settled: MoneyCounter,
}

impl RequestSeries {
    fn new(number: usize, surface: &str, model: &str, families: &Families, money: &MoneyCounters) -> Self {
        let outcome = |outcome| families.requests.with_label_values(&[surface, model, outcome]);
        let tokens = |class| families.tokens.with_label_values(&[model, class]);
        Self {
            number,
            model: model.to_owned(),
            completed: outcome("completed"),
            failed: outcome("failed"),
            aborted: outcome("aborted"),
            tokens: std::array::from_fn(|at| tokens(class_of(TokenClasses::NAMES[at]))),
            seconds: families.seconds.with_label_values(&[model]),
            first_token: families.first_token.with_label_values(&[model]),
            held: money.counter(MoneyFamily::Held, &[Label { name: "model", value: model }]),
            settled: money.counter(MoneyFamily::Settled, &[Label { name: "model", value: model }]),
        }
    }

    fn observe_usage(&self, ended: &InferenceEnded, families: &Families) {
        if let Some(usage) = &ended.usage {
            let used = usage.tokens.each();
            self.tokens.iter().zip(used).for_each(|(counter, count)| counter.inc_by(count));
            // The others have no counter before there are any. Units are not tokens.
            let others = TokenClasses::NAMES.into_iter().zip(used).skip(TokenClasses::COMMON);
            for (name, count) in others.filter(|(name, count)| *count > 0 && name.ends_with(TOKENS)) {
                families.tokens.with_label_values(&[&self.model, class_of(name)]).inc_by(count);
            }
        }
        for (family, millis) in [(&self.seconds, ended.latency_ms), (&self.first_token, ended.first_token_ms)] {
            if let Some(millis) = millis {
                family.observe(Duration::from_millis(millis).as_secs_f64());
            }
        }
    }
}

impl Series {
    pub fn register(registry: &Registry, money: Arc<MoneyCounters>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            families: Families::register(registry)?,
            money,
            models: BoundedLabels::at_most(MODELS_MAX),
            providers: BoundedLabels::at_most(PROVIDERS_MAX),
            reasons: BoundedLabels::at_most(REASONS_MAX),
            series_by_model: HashMap::new(),
            open: IdMap::default(),
            costs: HashMap::new(),
        })
    }

    pub fn count_batch(&self, events: usize) {
        self.families.batch_events.observe(f64::from(u32::try_from(events).unwrap_or(u32::MAX)));
    }

    pub fn count(&mut self, recorded: &Recorded, tables: &Tables) {
        match &recorded.event {
            Event::Inference(Inference::Admitted(admitted)) => self.admitted(recorded, admitted, tables),
            Event::Hold(Hold::Reserved(reserved)) => self.series_of_request(recorded).held.add(reserved.held_usd),
            Event::Inference(Inference::Refused(refused)) => self.refused(recorded, refused, tables),
            Event::Inference(Inference::AttemptFailed(failed)) => self.attempt_failed(failed, tables),
            Event::Inference(Inference::Completed(ended)) => {
                self.ended(recorded, ended, tables, |series| &series.completed)
            }
            Event::Inference(Inference::Failed(ended)) => {
                self.count_broken_answer(ended, tables);
                self.ended(recorded, ended, tables, |series| &series.failed);
            }
            Event::Inference(Inference::Aborted(ended)) => {
                self.ended(recorded, ended, tables, |series| &series.aborted)
            }
            Event::Hold(Hold::Settled(settled)) => self.hold_ended(recorded, settled.charged_usd),
            Event::Hold(Hold::Released(_)) => self.hold_ended(recorded, NanoUsd::ZERO),
            Event::Hold(Hold::Expired(expired)) => {
                self.families.holds_expired.inc();
                self.hold_ended(recorded, expired.charged_usd);
            }
            Event::Hold(Hold::Adjusted(adjusted)) => self.adjusted(adjusted.delta_usd),
            _ => {}
        }
    }

    /// An event that another process appended: it counts it itself. If it ended a request of this one, that is not open any more.
    pub fn count_of_others(&mut self, recorded: &Recorded) {
        if let Event::Hold(Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_)) = &recorded.event
            && let Some(id) = recorded.context.request_id
        {
            self.open.remove(&id);
        }
    }

    fn admitted(&mut self, recorded: &Recorded, admitted: &InferenceAdmitted, tables: &Tables) {
        let model = self.model(recorded, &admitted.model, tables);
        let series = self.series(&admitted.dialect, model);
        if let Some(id) = recorded.context.request_id.filter(|_| self.open.len() < OPEN_MAX) {
            self.open.insert(id, series);
        }
    }

    fn refused(&mut self, recorded: &Recorded, refused: &InferenceRefused, tables: &Tables) {
        let model = self.model(recorded, &refused.model, tables);
        self.families.refused.with_label_values(&[model, refused.code.as_str()]).inc_by(refused.count);
    }

    fn ended(
        &mut self,
        recorded: &Recorded,
        ended: &InferenceEnded,
        tables: &Tables,
        outcome: fn(&RequestSeries) -> &IntCounter,
    ) {
        let known = recorded.context.request_id.and_then(|id| self.open.get(&id)).cloned();
        // Otherwise an earlier process admitted it. It is remembered, since its charge comes next.
        let series = known.unwrap_or_else(|| {
            let model = self.model(recorded, &ended.model, tables);
            let series = self.series(OTHER, model);
            if let Some(id) = recorded.context.request_id {
                self.open.insert(id, Arc::clone(&series));
            }
            series
        });
        outcome(&series).inc();
        series.observe_usage(ended, &self.families);
        match &ended.backend {
            Some(backend) => self.cost(&series, backend, tables).add(ended.cost_usd),
            None => {
                let labels = [Label { name: "model", value: &series.model }, Label { name: "provider", value: OTHER }];
                self.money.counter(MoneyFamily::Cost, &labels).add(ended.cost_usd);
            }
        }
    }

    fn cost(&mut self, series: &RequestSeries, backend: &Backend, tables: &Tables) -> MoneyCounter {
        let key = (series.number, backend.provider_id);
        if let Some((name, sum)) = self.costs.get(&key)
            && *name == backend.provider
        {
            return sum.clone();
        }
        let provider = self.provider(backend, tables);
        let labels = [Label { name: "model", value: &series.model }, Label { name: "provider", value: provider }];
        let sum = self.money.counter(MoneyFamily::Cost, &labels);
        if self.costs.len() >= COSTS_MAX {
            self.costs.clear();
        }
        self.costs.insert(key, (backend.provider.clone(), sum.clone()));
        sum
    }

    fn attempt_failed(&mut self, failed: &AttemptFailed, tables: &Tables) {
        // It was cancelled for another call or with its request, and its provider did not fail.
        if [HEDGED, CLIENT_CLOSED].contains(&&*failed.reason) {
            return;
        }
        let status = match failed.status {
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(500..=599) => "5xx",
            Some(_) => OTHER,
            None => "",
        };
        self.upstream_failed(&failed.backend, &failed.reason, status, tables);
    }

    /// Counts an answer that broke off after it had begun: not a failed attempt, but a failure of its provider. One that was
    /// complete but could not be recorded in time is the ledger's failure.
    fn count_broken_answer(&mut self, ended: &InferenceEnded, tables: &Tables) {
        if ended.code.as_deref() == Some(ErrorCode::LedgerUnavailable.as_str()) {
            return;
        }
        if let (Some(backend), Some(reason), Some(_)) = (&ended.backend, &ended.reason, &ended.usage) {
            self.upstream_failed(backend, reason, "", tables);
        }
    }

    fn upstream_failed(&mut self, backend: &Backend, reason: &str, status: &str, tables: &Tables) {
        let (provider, reason) = (self.provider(backend, tables), self.reasons.label(reason));
        self.families.upstream_failures.with_label_values(&[provider, reason, status]).inc();
    }

    fn hold_ended(&mut self, recorded: &Recorded, charged: NanoUsd) {
        self.series_of_request(recorded).settled.add(charged);
        if let Some(id) = recorded.context.request_id {
            self.open.remove(&id);
        }
    }

    fn adjusted(&self, delta: NanoUsd) {
        let (direction, amount) = match delta.nanos() {
            0.. => ("up", delta),
            down => ("down", NanoUsd::new(down.saturating_neg())),
        };
        self.money.counter(MoneyFamily::Adjusted, &[Label { name: "direction", value: direction }]).add(amount);
    }

    /// The series of the request that an event concerns.
    fn series_of_request(&mut self, recorded: &Recorded) -> Arc<RequestSeries> {
        let known = recorded.context.request_id.and_then(|id| self.open.get(&id)).cloned();
        known.unwrap_or_else(|| self.series(OTHER, OTHER))
    }

    fn series(&mut self, surface: &str, model: &str) -> Arc<RequestSeries> {
        let of_model = self.series_by_model.get(model).map(Vec::as_slice).unwrap_or_default();
        if let Some((_, series)) = of_model.iter().find(|(of, _)| of == surface) {
            return Arc::clone(series);
        }
        let number = self.series_by_model.values().map(Vec::len).sum();
        let series = Arc::new(RequestSeries::new(number, surface, model, &self.families, &self.money));
        self.series_by_model.entry(model.to_owned()).or_default().push((surface.to_owned(), Arc::clone(&series)));
        series
    }

    /// The model's label. Names that a client made up, or that one tenant owns, are not used as labels.
    fn model<'a>(&mut self, recorded: &Recorded, name: &'a str, tables: &Tables) -> &'a str {
        match tables.route(recorded.context.tenant_id, name) {
            None => OTHER,
            Some(model) if model.value.tenant_id.is_some() => TENANT_OWNED,
            Some(_) => self.models.label(name),
        }
    }

    fn provider<'a>(&mut self, backend: &'a Backend, tables: &Tables) -> &'a str {
        match tables.provider(backend.provider_id) {
            Some(provider) if provider.value.tenant_id.is_some() => TENANT_OWNED,
            _ => self.providers.label(&backend.provider),
        }
    }
}
