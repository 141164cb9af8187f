//! A provider's health, as the response of the route.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::event::admin::Provider;
use events::ids::ProviderId;
use events::named;
use events::time::rfc3339;
use openapi::Shape;
use openapi::schema::{self, described, nullable, object};
use projections::tables::{RecordedBreaker, Tables};
use serde::Serialize;

use crate::inference::health::{CallCounts, ErrorCount, LimitOf, MeasuredTarget, Percentiles, Quota, SeenAt, WINDOW};
use crate::inference::{BreakerState, Gateway};

/// So many models are shown: those that fail first.
const MODELS_MAX: usize = 200;
/// A model fails if it has been called at least so often, and none of the calls was served.
const FAILING_CALLS_MIN: u64 = 3;
/// A provider is degraded if at least so many of a thousand calls have failed.
const DEGRADED_PER_THOUSAND: u64 = 100;

named! {
    pub enum HealthVerdict {
        Healthy = "healthy",
        /// Some of its calls fail.
        Degraded = "degraded",
        /// Every model that was called lately fails.
        Down = "down",
        /// Not called lately.
        Unknown = "unknown",
    }
}

named! {
    pub enum BreakerWord {
        Closed = "closed",
        Open = "open",
        HalfOpen = "half_open",
        Probed = "probed",
    }
}

#[derive(Debug, Serialize)]
pub struct HealthReport {
    provider_id: String,
    name: String,
    state: &'static str,
    at: String,
    window_seconds: u64,
    maintenance_until: Option<String>,
    calls: u64,
    failed: u64,
    failed_per_thousand: Option<u64>,
    failing: Option<FailingSince>,
    models: Vec<ModelHealth>,
    models_left_out: usize,
}

#[derive(Debug, Serialize)]
struct FailingSince {
    since: String,
    calls: u64,
}

#[derive(Debug, Serialize)]
struct ModelHealth {
    model: String,
    breaker: BreakerHealth,
    calls: u64,
    failed: u64,
    failed_per_thousand: Option<u64>,
    first_byte_ms: Option<Percentiles>,
    latency_ms: Option<Percentiles>,
    errors: Vec<Errors>,
    limits: Vec<Limit>,
    retry_after: Option<RetryAfter>,
}

#[derive(Debug, Serialize)]
struct BreakerHealth {
    state: &'static str,
    until: Option<String>,
    since: Option<String>,
    failures: Option<u32>,
    reason: Option<String>,
    status: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Errors {
    reason: &'static str,
    status: Option<u16>,
    count: u64,
    last_at: String,
}

#[derive(Debug, Serialize)]
struct Limit {
    of: LimitOf,
    #[serde(flatten)]
    quota: Quota,
    seen_at: String,
}

#[derive(Debug, Serialize)]
struct RetryAfter {
    seconds: u64,
    seen_at: String,
}

/// The health of a provider now.
pub fn report_of(gateway: &Gateway, tables: &Tables, provider: &Provider, now: DateTime<Utc>) -> HealthReport {
    let id = provider.provider_id;
    let measured = gateway.targets.health.measured(id);
    let recorded: BTreeMap<&str, &RecordedBreaker> =
        tables.open_breakers_of(id).map(|recorded| (&*recorded.fact.model, recorded)).collect();
    let mut targets: BTreeMap<String, MeasuredTarget> =
        measured.targets.into_iter().map(|target| (target.model.clone(), target)).collect();
    for model in recorded.keys() {
        let unmeasured = || MeasuredTarget { model: (*model).to_owned(), ..MeasuredTarget::default() };
        targets.entry((*model).to_owned()).or_insert_with(unmeasured);
    }
    let mut models: Vec<ModelHealth> = targets
        .into_values()
        .map(|target| {
            let breaker = gateway.targets.breakers.state(tables, id, &target.model);
            let recorded = recorded.get(&*target.model).copied();
            ModelHealth::new(target, BreakerHealth::new(breaker, recorded))
        })
        .collect();
    let figures: Vec<_> = models.iter().map(ModelHealth::figures).collect();
    let (calls, failed) = totals(&figures);
    models.sort_by(|one, other| other.urgency().cmp(&one.urgency()).then_with(|| one.model.cmp(&other.model)));
    let models_left_out = models.len().saturating_sub(MODELS_MAX);
    models.truncate(MODELS_MAX);
    HealthReport {
        provider_id: id.to_string(),
        name: provider.name.clone(),
        state: verdict(&figures).as_str(),
        at: rfc3339(now),
        window_seconds: WINDOW.as_secs(),
        maintenance_until: provider.maintenance.until(now).map(rfc3339),
        calls,
        failed,
        failed_per_thousand: per_thousand(failed, calls),
        failing: measured.failing.map(|failing| FailingSince { since: rfc3339(failing.since), calls: failing.calls }),
        models,
        models_left_out,
    }
}

/// The figures that the verdict follows from.
#[derive(Clone, Copy, Debug)]
struct Figures {
    is_closed: bool,
    calls: u64,
    failed: u64,
}

impl Figures {
    const fn fails(self) -> bool {
        !self.is_closed || (self.calls >= FAILING_CALLS_MIN && self.failed == self.calls)
    }
}

/// The rule is documented in docs/failover.md.
fn verdict(models: &[Figures]) -> HealthVerdict {
    let (calls, failed) = totals(models);
    if models.is_empty() {
        HealthVerdict::Unknown
    } else if models.iter().all(|model| model.fails()) {
        HealthVerdict::Down
    } else if models.iter().any(|model| model.fails())
        || per_thousand(failed, calls).is_some_and(|failed| failed >= DEGRADED_PER_THOUSAND)
    {
        HealthVerdict::Degraded
    } else {
        HealthVerdict::Healthy
    }
}

fn totals(models: &[Figures]) -> (u64, u64) {
    models
        .iter()
        .fold((0, 0), |(calls, failed), model| (model.calls.saturating_add(calls), model.failed.saturating_add(failed)))
}

/// Rounded up: what has failed once is never shown as nothing. `None` without a call.
fn per_thousand(failed: u64, calls: u64) -> Option<u64> {
    (calls > 0).then(|| failed.saturating_mul(1000).div_ceil(calls))
}

impl ModelHealth {
    fn new(target: MeasuredTarget, breaker: BreakerHealth) -> Self {
        let MeasuredTarget { model, calls: CallCounts { calls, failed, first_byte, whole }, errors, limits } = target;
        let limit = |(of, seen): (LimitOf, SeenAt<_>)| Limit { of, quota: seen.value, seen_at: rfc3339(seen.at) };
        let retry_after = limits.retry_after_seconds;
        Self {
            model,
            breaker,
            calls,
            failed,
            failed_per_thousand: per_thousand(failed, calls),
            first_byte_ms: first_byte.percentiles(),
            latency_ms: whole.percentiles(),
            errors: errors.into_iter().map(Errors::from).collect(),
            limits: limits.quotas().map(limit).collect(),
            retry_after: retry_after.map(|seen| RetryAfter { seconds: seen.value, seen_at: rfc3339(seen.at) }),
        }
    }

    fn figures(&self) -> Figures {
        let is_closed = self.breaker.state == BreakerWord::Closed.as_str();
        Figures { is_closed, calls: self.calls, failed: self.failed }
    }

    /// The higher, the more it has to be seen.
    fn urgency(&self) -> (bool, u64, u64) {
        (self.figures().fails(), self.failed, self.calls)
    }
}

impl From<ErrorCount> for Errors {
    fn from(ErrorCount { error, count, last_at }: ErrorCount) -> Self {
        Self { reason: error.reason, status: error.status, count, last_at: rfc3339(last_at) }
    }
}

impl BreakerHealth {
    /// `recorded` is `None` also for one that has opened here just now, and is not recorded yet.
    fn new(state: BreakerState, recorded: Option<&RecordedBreaker>) -> Self {
        let word = match state {
            BreakerState::Closed => BreakerWord::Closed,
            BreakerState::Open { .. } => BreakerWord::Open,
            BreakerState::Probed => BreakerWord::Probed,
            BreakerState::HalfOpen => BreakerWord::HalfOpen,
        };
        let recorded = recorded.filter(|_| word != BreakerWord::Closed);
        let until = state.until().or(recorded.map(|recorded| recorded.fact.until));
        Self {
            state: word.as_str(),
            until: until.map(rfc3339),
            since: recorded.map(|recorded| rfc3339(recorded.since)),
            failures: recorded.map(|recorded| recorded.fact.failures),
            reason: recorded.map(|recorded| recorded.fact.reason.clone()),
            status: recorded.and_then(|recorded| recorded.fact.status),
        }
    }
}

/// The schema of a report.
pub fn shape() -> Shape {
    let rate = || nullable(schema::whole(0, 1000));
    let time = |says| described(nullable(schema::time()), says);
    let status = || described(nullable(schema::count()), "The HTTP status of the provider; null if there was none");
    let breaker = object()
        .required_as(
            "state",
            schema::one_of(BreakerWord::words()),
            "`open`: requests go to others. `half_open`: the next request tries it. `probed`: a request is trying it",
        )
        .required("until", time("Until when it is open; null if it is closed"))
        .required("since", time("When it was opened; null if it is closed, or if that is being recorded"))
        .required_as("failures", nullable(schema::count()), "The failed calls that opened it last")
        .required_as("reason", nullable(schema::string()), "Why the last one of them failed")
        .required("status", status())
        .open();
    let times = |says| {
        let percentiles = ["p50", "p95", "p99"];
        let times = percentiles.iter().fold(object(), |times, name| times.required(name, schema::count())).open();
        described(nullable(times), says)
    };
    let errors = object()
        .required_as("reason", schema::string(), "As in `inference.attempt_failed`")
        .required("status", status())
        .required_as("count", schema::count(), "How often, since the node has started or was reset")
        .required_as("last_at", schema::time(), "When it happened last")
        .open();
    let limit = object()
        .required_as("of", schema::one_of(LimitOf::words()), "What is limited")
        .required("limit", nullable(schema::count()))
        .required("remaining", nullable(schema::count()))
        .required_as("seen_at", schema::time(), "When the provider said so last")
        .open();
    let retry_after = object()
        .required("seconds", schema::count())
        .required_as("seen_at", schema::time(), "When the provider said so last")
        .open();
    let model = object()
        .required_as("model", schema::string(), "The provider's name of the model")
        .required("breaker", breaker)
        .required_as("calls", schema::count(), "Calls of the last five minutes")
        .required_as("failed", schema::count(), "Those of them that failed")
        .required_as("failed_per_thousand", rate(), "Of a thousand calls; null without a call")
        .required(
            "first_byte_ms",
            times("From a call to the head of its response, of calls that were served; null if none was"),
        )
        .required("latency_ms", times("From a call to the end of its response"))
        .required_as("errors", schema::list(errors, None), "The last kinds of failures, the last one first")
        .required_as("limits", schema::list(limit, None), "What the provider's responses say of its limits")
        .required_as("retry_after", nullable(retry_after), "The last `retry-after` that was a number")
        .open();
    let failing = object()
        .required_as("since", schema::time(), "When the first of them failed")
        .required_as("calls", schema::count(), "The failed calls since then")
        .open();
    object()
        .required_as("provider_id", schema::id(ProviderId::PREFIX), "The provider")
        .required_as("name", schema::string(), "Its name")
        .required_as("state", schema::one_of(HealthVerdict::words()), "What follows from the rest")
        .required_as("at", schema::time(), "Now")
        .required_as("window_seconds", schema::count(), "How long calls count, up to a minute less")
        .required("maintenance_until", time("Until when the provider is under maintenance; null if it is not"))
        .required_as("calls", schema::count(), "Calls of all its models in that time, on this node")
        .required_as("failed", schema::count(), "Those of them that failed")
        .required_as("failed_per_thousand", rate(), "Of a thousand calls; null without a call")
        .required_as(
            "failing",
            nullable(failing),
            "Since when all calls have failed, if those are five or more in a row",
        )
        .required_as(
            "models",
            schema::list(model, Some(MODELS_MAX)),
            "The models that were called in that time or whose breakers are open; those that fail first",
        )
        .required_as("models_left_out", schema::count(), "How many more there are")
        .open()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(models: &[(bool, u64, u64)]) -> &'static str {
        let figures =
            models.iter().map(|&(is_closed, calls, failed)| Figures { is_closed, calls, failed }).collect::<Vec<_>>();
        verdict(&figures).as_str()
    }

    #[test]
    fn the_verdict_follows_from_breakers_and_failures() {
        assert_eq!(of(&[]), "unknown");
        assert_eq!(of(&[(true, 1, 0)]), "healthy");
        assert_eq!(of(&[(true, 100, 9)]), "healthy");
        assert_eq!(of(&[(true, 100, 10)]), "degraded");
        assert_eq!(of(&[(true, 2, 2)]), "degraded", "too few to say more");
        assert_eq!(of(&[(true, 3, 3)]), "down");
        assert_eq!(of(&[(false, 0, 0)]), "down");
        assert_eq!(of(&[(false, 9, 1), (true, 3, 3)]), "down");
        assert_eq!(of(&[(false, 0, 0), (true, 1, 0)]), "degraded");
        assert_eq!(of(&[(true, 3, 3), (true, 1000, 0)]), "degraded");
    }

    #[test]
    fn a_failure_is_never_rounded_away() {
        assert_eq!(per_thousand(0, 0), None);
        assert_eq!((per_thousand(0, 9), per_thousand(1, 1_000_000)), (Some(0), Some(1)));
        assert_eq!((per_thousand(1, 3), per_thousand(3, 3)), (Some(334), Some(1000)));
    }
}
