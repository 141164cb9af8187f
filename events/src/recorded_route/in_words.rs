//! The route in words, for readers who know the gateway from outside alone.

use std::fmt;

use super::failures;
use super::order::recorded_order;
use super::{End, RecordedRoute};
use crate::event::admin::{Model, Strategy, Target};
use crate::event::inference::{Backend, HEDGED, InferenceEnded, Route};
use crate::ids::ProviderId;
use crate::refusal::ErrorCode;
use crate::routing::{ChosenBy, PassedOverFor, RecordedLeftOut};

/// How much of a route is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteDetail {
    Full,
    /// The facts that the client could know, and the calls: not how the targets were ordered, nor those that were not called.
    CallsOnly,
}

impl RecordedRoute<'_> {
    /// One sentence after the other: how the targets were ordered and by whose choice, what was left out, each call, what was passed over,
    /// and which target answered. A provider is named as it was when it was called, otherwise as `provider_name` says, or by its id.
    pub fn in_words(&self, told: RouteDetail, provider_name: impl Fn(ProviderId) -> Option<String>) -> String {
        let name = |provider: ProviderId, model: &str| {
            let called = self.called().find(|backend| backend.provider_id == provider);
            let name = called.map(|backend| backend.provider.clone()).or_else(|| provider_name(provider));
            format!("{}/{model}", name.unwrap_or_else(|| provider.to_string()))
        };
        let mut sentences: Vec<String> = self.alias().into_iter().collect();
        match told {
            RouteDetail::Full => sentences.push(self.order(&name)),
            RouteDetail::CallsOnly => sentences.extend(self.strategy_asked_for()),
        }
        sentences.extend(self.hedge());
        sentences.extend(self.failed_calls(&name));
        sentences.extend(self.passed_over(told, &name));
        sentences.push(self.ending(told, &name));
        sentences.join(" ")
    }

    fn route(&self) -> Option<&Route> {
        self.admitted.route.as_deref()
    }

    fn alias(&self) -> Option<String> {
        let model = self.route()?.stands_for.as_deref()?;
        Some(alias_in_words(&self.admitted.model, model))
    }

    fn order(&self, name: &impl Fn(ProviderId, &str) -> String) -> String {
        let Some(model) = &self.model else {
            return "The log does not have the version of the model that the request went by.".to_owned();
        };
        let route = self.route();
        let order = recorded_order(model, route, self.request);
        let strategy = route.map_or(order.strategy, |route| route.strategy);
        let target = |at: usize, f: &mut fmt::Formatter<'_>| {
            model.targets.get(at).map_or(Ok(()), |target| f.write_str(&name(target.provider_id, &target.model)))
        };
        // Which targets could serve is in the versions of prices; why the others could not, is not always recorded.
        let prices = &self.admitted.versions.prices;
        let is_able = |at: usize| model.targets.get(at).is_some_and(|target| prices.contains_key(&target.key()));
        let unable: Vec<usize> = order.tried().filter(|at| !is_able(*at)).collect();
        let why = |at: usize, f: &mut fmt::Formatter<'_>| match self.recorded_reason(model, at) {
            Some(reason) => write!(f, "{reason}"),
            None => f.write_str("could not serve the request"),
        };
        let listed = order.without(&unable).listed(target, |at, _, f| why(at, f)).to_string();
        let session = route.and_then(|route| route.session.as_ref()).filter(|_| !model.affinity.is_none());
        let session = session.map_or("", |_| ", and of equals the one of its session first");
        format!(
            "{} tries its targets by {strategy} ({}), {}{session}{listed}.",
            model.name,
            strategy_in_words(strategy),
            self.chosen_by(model)
        )
    }

    /// The strategy that the request itself chose.
    fn strategy_asked_for(&self) -> Option<String> {
        let route = self.route().filter(|route| route.chosen_by == ChosenBy::Request)?;
        Some(format!("Its targets were ordered by {}, as the request asked.", route.strategy))
    }

    fn recorded_reason(&self, model: &Model, at: usize) -> Option<&RecordedLeftOut> {
        let backend = model.targets.get(at).map(Target::key)?;
        self.route()?.left_out.get(&backend)
    }

    fn chosen_by(&self, model: &Model) -> String {
        let route = self.route();
        match (route.map_or(ChosenBy::Model, |route| route.chosen_by), route.and_then(|route| route.rule)) {
            (ChosenBy::Request, Some(rule)) => {
                format!("as the request asked, among the targets of rules[{rule}] of the model, which held for it")
            }
            (ChosenBy::Request, None) => "as the request asked".to_owned(),
            (ChosenBy::Tenant, _) => {
                "by its tenant's default, because the model leaves the choice to the tenant".to_owned()
            }
            (ChosenBy::Model, Some(rule)) => format!("as rules[{rule}] of the model says, which held for the request"),
            (ChosenBy::Model, None) if model.strategy == Strategy::Rules => {
                "because none of the model's rules held".to_owned()
            }
            (ChosenBy::Model, None) if model.strategy == Strategy::TenantDefault => {
                "because the model leaves it to the tenant, which has chosen none".to_owned()
            }
            (ChosenBy::Model, None) => "as the model says".to_owned(),
        }
    }

    /// That a second call was made beside the first one.
    fn hedge(&self) -> Option<String> {
        self.end.as_ref()?.fact().hedge?;
        let after = self.admitted.hedge_after_ms?;
        Some(format!("Call 1 had sent no content for {after} ms, so call 2 was made beside it."))
    }

    /// Each call that failed, why, and what was called next.
    fn failed_calls(&self, name: &impl Fn(ProviderId, &str) -> String) -> Vec<String> {
        let shown = |backend: &Backend| name(backend.provider_id, &backend.model);
        let is_same = |a: &Backend, b: &Backend| a.provider_id == b.provider_id && a.model == b.model;
        // Calls 1 and 2 were under way at the same time: neither was made because the other one had failed.
        let has_hedge = self.end.as_ref().is_some_and(|end| end.fact().hedge.is_some());
        let told = self.failed.iter().enumerate().map(|(at, call)| {
            if call.reason == HEDGED {
                let why = failures::of_call(call);
                return format!("Call {} to {} was cancelled: {why}.", call.attempt, shown(&call.backend));
            }
            let next = match self.called().nth(at + 1).filter(|_| !(has_hedge && at == 0)) {
                Some(next) if is_same(next, &call.backend) && next.provider_key_id != call.backend.provider_key_id => {
                    "; it was called again with another key".to_owned()
                }
                Some(next) if is_same(next, &call.backend) => "; it was called again".to_owned(),
                Some(next) => format!("; {} was called next", shown(next)),
                None => String::new(),
            };
            format!("Call {} to {} failed: {}{next}.", call.attempt, shown(&call.backend), failures::of_call(call))
        });
        told.collect()
    }

    /// Why no other target was called after the last failed call. Empty where that is not recorded, or not for the reader.
    fn why_no_other(&self, ended: &InferenceEnded, told: RouteDetail) -> &'static str {
        let Some(last) = self.failed.last() else { return "" };
        if matches!(last.reason.as_str(), "no_memory" | "not_read" | "not_written") {
            return " (the gateway itself had failed)";
        }
        // The client was told so, and whether other targets were left makes no difference.
        if ended.code.as_deref() == Some(ErrorCode::UpstreamRejected.as_str()) {
            return " (the provider had rejected the request itself, as other providers would)";
        }
        match self.is_any_target_left() {
            Some(false) if told == RouteDetail::Full => " (none was left)",
            Some(_) | None => "",
        }
    }

    /// Whether a target that could serve was neither called nor passed over; `None` if the log does not have the model.
    fn is_any_target_left(&self) -> Option<bool> {
        let passed_over = self.end.as_ref().map(|end| &end.fact().passed_over);
        let was_its_turn = |backend: &String| {
            self.called().any(|called| called.key() == *backend)
                || passed_over.is_some_and(|passed_over| passed_over.contains_key(backend))
        };
        let mut targets = self.model.as_ref()?.targets.iter().map(Target::key);
        let prices = &self.admitted.versions.prices;
        Some(targets.any(|backend| prices.contains_key(&backend) && !was_its_turn(&backend)))
    }

    fn passed_over(&self, told: RouteDetail, name: &impl Fn(ProviderId, &str) -> String) -> Vec<String> {
        let Some(end) = &self.end else { return Vec::new() };
        let was_called = |backend: &str| self.called().any(|called| called.key() == backend);
        let passed_over = end.fact().passed_over.iter();
        let visible = passed_over.filter(|(backend, _)| told == RouteDetail::Full || was_called(backend));
        let waited = end.fact().queued_ms;
        let sentences = visible.map(|(backend, reasons)| {
            let target =
                backend.split_once('/').and_then(|(provider, model)| Some(name(provider.parse().ok()?, model)));
            let why: Vec<&str> = reasons.iter().map(|why| PassedOverFor::in_words(*why)).collect();
            let target = target.unwrap_or_else(|| backend.clone());
            if let (Some(waited), [PassedOverFor::NoRoom]) = (waited.filter(|_| was_called(backend)), &reasons[..]) {
                let why = PassedOverFor::NoRoom.in_words();
                let waited = if waited == 0 { "less than 1".to_owned() } else { waited.to_string() };
                return format!("{target} was called after the request had waited {waited} ms for room: {why}.");
            }
            if was_called(backend) && !reasons.contains(&PassedOverFor::NoRoom) {
                return format!("{target} was not called again: {}.", why.join("; later, "));
            }
            format!("{target} was passed over: {}.", why.join("; later, "))
        });
        sentences.collect()
    }

    fn ending(&self, told: RouteDetail, name: &impl Fn(ProviderId, &str) -> String) -> String {
        let last = self.last_call().map(|backend| name(backend.provider_id, &backend.model));
        let why = |reason: Option<&String>| {
            reason.map_or_else(String::new, |reason| format!(": {}", failures::in_words(reason)))
        };
        match (&self.end, last) {
            (None, _) => "The request has not ended yet.".to_owned(),
            (Some(End::Completed(_)), Some(last)) => format!("{last} answered."),
            // Of an end whose calls are not recorded.
            (Some(End::Completed(ended)), None) => match &ended.backend {
                Some(backend) => format!("{} answered.", name(backend.provider_id, &backend.model)),
                None => "The request was answered.".to_owned(),
            },
            (Some(End::Failed(ended)), Some(last)) if ended.first_token_ms.is_some() => format!(
                "{last} was called, and the request failed{}. A part of the answer had been sent, after which no other target is called.",
                why(ended.reason.as_ref())
            ),
            (Some(End::Failed(ended)), Some(last)) => {
                format!("{last} was called, and the request failed{}.", why(ended.reason.as_ref()))
            }
            (Some(End::Failed(ended)), None) if self.failed.is_empty() => {
                format!("No target was called, and the request failed{}.", why(ended.reason.as_ref()))
            }
            (Some(End::Failed(ended)), None) => {
                format!("No other target was called{}, and the request failed.", self.why_no_other(ended, told))
            }
            (Some(End::Aborted(ended)), Some(last)) => {
                format!("{last} was called, and the request was given up{}.", why(ended.reason.as_ref()))
            }
            (Some(End::Aborted(ended)), None) => {
                format!("The request was given up{}.", why(ended.reason.as_ref()))
            }
        }
    }
}

pub(super) fn alias_in_words(alias: &str, model: &str) -> String {
    format!("The alias {alias} stood for the model {model}.")
}

const fn strategy_in_words(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Priority | Strategy::TenantDefault => "the lowest number first",
        Strategy::Weighted => "drawn by their weights",
        Strategy::Cost => "the cheapest one for this request first",
        Strategy::Latency => "the faster of two drawn at random, then the others, fastest first",
        Strategy::Balanced => {
            "the better of two drawn at random, then the others by the sum of their relative cost and relative time, lowest first"
        }
        Strategy::Quality => "the highest score first",
        Strategy::Rules => "in the order in which the rule names them",
    }
}
