//! The families that are made of events, and what each event adds to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use events::event::inference::{AttemptFailed, Backend, InferenceAdmitted, InferenceEnded, InferenceRefused};
use events::event::{Event, Hold, Inference, Recorded};
use events::ids::{IdMap, ProviderId, RequestId};
use events::money::NanoUsd;
use events::refusal::ErrorCode;
use prometheus::{Histogram, IntCounter, Registry};

use super::families::Families;
use super::money::{Amount, Money, Sum};
use super::names::{Names, OTHER, TENANT_OWNED};
use crate::tables::Tables;

/// Models that have a label of their own.
pub const MODELS_MAX: usize = 100;
/// Providers that have a label of their own.
pub const PROVIDERS_MAX: usize = 50;
/// Words for what went wrong; there are some twenty.
const REASONS_MAX: usize = 64;
/// Requests whose model is known until they end. Who comes then counts as `other`: more are never open at a time.
const OPEN_MAX: usize = 65_536;
/// Pairs of a model and a provider whose amount is at hand; beyond it they are looked up anew.
const COSTS_MAX: usize = 4096;

/// What is counted, and what has to be remembered for it.
pub struct Series {
    families: Families,
    money: Arc<Money>,
    models: Names,
    providers: Names,
    reasons: Names,
    /// By the model's label, then by surface.
    slots: HashMap<String, Vec<(String, Arc<Slot>)>>,
    open: IdMap<RequestId, Arc<Slot>>,
    /// What requests of a model cost at a provider, which may be renamed.
    costs: HashMap<(usize, ProviderId), (String, Sum)>,
}

/// All that one request adds to, so that nothing has to be looked up for it but this.
struct Slot {
    number: usize,
    model: String,
    completed: IntCounter,
    failed: IntCounter,
    aborted: IntCounter,
    tokens: [IntCounter; 5],
    seconds: Histogram,
    first_token: Histogram,
    held: Sum,
    settled: Sum,
}

impl Slot {
    fn new(number: usize, surface: &str, model: &str, families: &Families, money: &Money) -> Self {
        let outcome = |outcome| families.requests.with_label_values(&[surface, model, outcome]);
        let tokens = |class| families.tokens.with_label_values(&[model, class]);
        Self {
            number,
            model: model.to_owned(),
            completed: outcome("completed"),
            failed: outcome("failed"),
            aborted: outcome("aborted"),
            tokens: [
                tokens("input_uncached"),
                tokens("input_cache_read"),
                tokens("input_cache_write"),
                tokens("output_text"),
                tokens("output_reasoning"),
            ],
            seconds: families.seconds.with_label_values(&[model]),
            first_token: families.first_token.with_label_values(&[model]),
            held: money.sum(Amount::Held, &[("model", model)]),
            settled: money.sum(Amount::Settled, &[("model", model)]),
        }
    }

    fn consumed(&self, ended: &InferenceEnded) {
        if let Some(usage) = &ended.usage {
            self.tokens.iter().zip(usage.tokens.each()).for_each(|(counter, count)| counter.inc_by(count));
        }
        for (family, millis) in [(&self.seconds, ended.latency_ms), (&self.first_token, ended.first_token_ms)] {
            if let Some(millis) = millis {
                family.observe(Duration::from_millis(millis).as_secs_f64());
            }
        }
    }
}

impl Series {
    pub fn register(registry: &Registry, money: Arc<Money>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            families: Families::register(registry)?,
            money,
            models: Names::at_most(MODELS_MAX),
            providers: Names::at_most(PROVIDERS_MAX),
            reasons: Names::at_most(REASONS_MAX),
            slots: HashMap::new(),
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
            Event::Hold(Hold::Reserved(reserved)) => self.slot_of(recorded).held.add(reserved.held_usd),
            Event::Inference(Inference::Refused(refused)) => self.refused(recorded, refused, tables),
            Event::Inference(Inference::AttemptFailed(failed)) => self.attempt_failed(failed, tables),
            Event::Inference(Inference::Completed(ended)) => {
                self.ended(recorded, ended, tables, |slot| &slot.completed)
            }
            Event::Inference(Inference::Failed(ended)) => {
                self.broke_off(ended, tables);
                self.ended(recorded, ended, tables, |slot| &slot.failed);
            }
            Event::Inference(Inference::Aborted(ended)) => self.ended(recorded, ended, tables, |slot| &slot.aborted),
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

    fn admitted(&mut self, recorded: &Recorded, admitted: &InferenceAdmitted, tables: &Tables) {
        let model = self.model(recorded, &admitted.model, tables);
        let slot = self.slot(&admitted.dialect, model);
        if let Some(id) = recorded.context.request_id.filter(|_| self.open.len() < OPEN_MAX) {
            self.open.insert(id, slot);
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
        outcome: fn(&Slot) -> &IntCounter,
    ) {
        let known = recorded.context.request_id.and_then(|id| self.open.get(&id)).cloned();
        // Else it was admitted by a process that came before this one; its charge comes next.
        let slot = known.unwrap_or_else(|| {
            let model = self.model(recorded, &ended.model, tables);
            let slot = self.slot(OTHER, model);
            if let Some(id) = recorded.context.request_id {
                self.open.insert(id, Arc::clone(&slot));
            }
            slot
        });
        outcome(&slot).inc();
        slot.consumed(ended);
        match &ended.backend {
            Some(backend) => self.cost(&slot, backend, tables).add(ended.cost_usd),
            None => {
                let labels = [("model", slot.model.as_str()), ("provider", OTHER)];
                self.money.sum(Amount::Cost, &labels).add(ended.cost_usd);
            }
        }
    }

    fn cost(&mut self, slot: &Slot, backend: &Backend, tables: &Tables) -> Sum {
        let key = (slot.number, backend.provider_id);
        if let Some((name, sum)) = self.costs.get(&key)
            && *name == backend.provider
        {
            return sum.clone();
        }
        let provider = self.provider(backend, tables);
        let sum = self.money.sum(Amount::Cost, &[("model", &slot.model), ("provider", provider)]);
        if self.costs.len() >= COSTS_MAX {
            self.costs.clear();
        }
        self.costs.insert(key, (backend.provider.clone(), sum.clone()));
        sum
    }

    fn attempt_failed(&mut self, failed: &AttemptFailed, tables: &Tables) {
        let status = match failed.status {
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(500..=599) => "5xx",
            Some(_) => OTHER,
            None => "",
        };
        self.upstream_failed(&failed.backend, &failed.reason, status, tables);
    }

    /// An answer that broke after it had begun is no failed attempt, and a failure of its provider all the same. One that
    /// was whole and could not be recorded in time is the ledger's.
    fn broke_off(&mut self, ended: &InferenceEnded, tables: &Tables) {
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
        self.slot_of(recorded).settled.add(charged);
        if let Some(id) = recorded.context.request_id {
            self.open.remove(&id);
        }
    }

    fn adjusted(&self, delta: NanoUsd) {
        let (direction, amount) = match delta.nanos() {
            0.. => ("up", delta),
            down => ("down", NanoUsd::new(down.saturating_neg())),
        };
        self.money.sum(Amount::Adjusted, &[("direction", direction)]).add(amount);
    }

    /// Of the request that an event is about.
    fn slot_of(&mut self, recorded: &Recorded) -> Arc<Slot> {
        let known = recorded.context.request_id.and_then(|id| self.open.get(&id)).cloned();
        known.unwrap_or_else(|| self.slot(OTHER, OTHER))
    }

    fn slot(&mut self, surface: &str, model: &str) -> Arc<Slot> {
        let of_model = self.slots.get(model).map(Vec::as_slice).unwrap_or_default();
        if let Some((_, slot)) = of_model.iter().find(|(of, _)| of == surface) {
            return Arc::clone(slot);
        }
        let number = self.slots.values().map(Vec::len).sum();
        let slot = Arc::new(Slot::new(number, surface, model, &self.families, &self.money));
        self.slots.entry(model.to_owned()).or_default().push((surface.to_owned(), Arc::clone(&slot)));
        slot
    }

    /// The model's label: what a client made up, or what a tenant alone knows, is none.
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
