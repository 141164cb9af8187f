//! `GET /v1/admin/models/{id}/canary`: how the canary of a model does beside its other targets. Reads the view `usage_by_hour`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::Path;
use chrono::TimeDelta;
use events::event::admin::{CanaryBy, Model, Permission};
use events::event::inference::Payer;
use events::ids::{ModelId, ProviderId, TenantId};
use events::money::NanoUsdSum;
use events::refusal::Refusal;
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::tables::Tables;
use projections::views::usage_by_hour::{
    COUNTS, CalledBackend, Dimension, FAILED, FailedCalls, GroupKey, GroupSums, REQUESTS, Range, Selection, Span, Sums,
    Totals, Usage,
};
use projections::views::{RequestFilter, View};
use projections::visible::Visible;
use serde_json::{Value, json};

use super::TAG;
use super::one_model::{count, hours, shown, visible_model};
use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::query_context::QueryContext;

/// The hours that are counted if no `from` is given.
const HOURS: i64 = 24;
/// More than a model's targets: it may have had others before.
const BACKENDS_MAX: usize = 1000;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Administration).get("/v1/admin/models/{id}/canary", canary, described_canary)
}

fn described_canary() -> Operation {
    let operation =
        described::permitted("compare_model_canary", TAG, "How the canary of a model does", Permission::AdminAccess)
            .says(
                "By the backend that answered or failed at last, the requests for the model's name in the last 24 hours, or between `from` \
                 and `to`, which are extended to whole hours. Of a model that all tenants share, the requests of tenants with a model of \
                 their own of that name are left out. Each administrator sees the requests within reach.",
            )
            .path("id", schema::id(ModelId::PREFIX), "Id of the model");
    described::between(operation)
        .answers(StatusCode::OK, Answer::json("The backends", schema::reference("CanaryComparison")))
        .defines("CanaryComparison", shape())
}

fn shape() -> Shape {
    let canary = object()
        .required("provider_id", schema::id(ProviderId::PREFIX))
        .required("model", schema::string())
        .required("share_percent", schema::count())
        .required("by", schema::one_of(CanaryBy::words()))
        .open();
    let item = object()
        .required_as(
            "backend",
            schema::nullable(schema::string()),
            "As in usage; null for requests that no backend has served yet",
        )
        .required_as(
            "payer",
            schema::nullable(schema::one_of(Payer::words())),
            "As in usage: tells a tenant's own provider from a shared one of its name",
        )
        .required_as(
            "is_canary",
            schema::nullable(schema::boolean()),
            "Whether it is the canary of now; null if you do not see the model",
        )
        .required_each(["requests", "failed"], schema::count())
        .required_as(
            "failed_calls",
            schema::nullable(schema::count()),
            "The calls to this target that failed, also those of requests that another target answered, whatever model was asked \
             for; null for what is no target now, or if you do not see the model",
        )
        .required("cost_usd", schema::money())
        .required_each(["input_tokens", "output_tokens"], schema::count())
        .required_each(["latency_ms_p50", "latency_ms_p95"], schema::nullable(schema::count()))
        .open();
    object()
        .required_as("as_of_position", schema::count(), "The log position that the answer reflects")
        .required_as("from", schema::time(), "The first hour that is counted")
        .required_as("to", schema::time(), "The end of the last one")
        .required_as("is_visible", schema::boolean(), "Whether you see the model")
        .required_as(
            "canary",
            schema::nullable(canary),
            "The canary of now; null if the model has none, or you do not see it",
        )
        .required("items", schema::list(item, None))
        .open()
}

/// Errors: 404 for a model that the caller does not see; 400 for a range that ends before it begins, or in which too many backends served.
async fn canary(mut context: QueryContext, Path(id): Path<String>) -> Result<Json<Value>, QueryError> {
    let (mut parameters, min_position) = context.begin(Permission::AdminAccess)?;
    let hours = hours(&mut parameters, context.state.clock.now(), TimeDelta::hours(HOURS))?;
    parameters.finish()?;
    context.wait_for(View::UsageByHour, min_position).await?;
    let query = context.admit().await?;
    let model = visible_model(&query, &id).ok_or(QueryError::NotFound("model"))?;
    let visible = Visible::for_caller(&query.caller);
    // Of a model that all tenants share, the targets are the platform's to see.
    let is_visible = model.tenant_id.is_some() || visible == Visible::Platform;
    let own = tenants_with_their_own(&model, &query.state.tables.load());
    let answer = query.ask(Usage { visible, selection: Arc::new(selection(&model, hours, own)) }).await?;
    if answer.value.rows.len() > BACKENDS_MAX {
        let reason = format!("must be later: more than {BACKENDS_MAX} backends have served the model's name since");
        return Err(Refusal::invalid("from", reason).into());
    }
    let targets = if is_visible { targets(&model, &query.state.tables.load()) } else { Vec::new() };
    let backends = targets.iter().map(|target| target.called.clone()).collect();
    let failed = query.ask(FailedCalls { visible, tenant: model.tenant_id, hours, backends }).await?;
    let mut rows = by_backend(answer.value.rows);
    let of_targets = figures_of(&targets, &failed.value);
    for (key, figures) in &of_targets {
        // One that fails each time answers no request: to leave it out would look as if all were well.
        if figures.is_canary || figures.failed_calls > 0 {
            rows.entry((*key).clone()).or_default();
        }
    }
    let items: Vec<Value> = rows.iter().map(|(key, sums)| item(key, sums, of_targets.get(key), is_visible)).collect();
    Ok(Json(json!({
        "as_of_position": answer.position,
        "from": shown(hours.from),
        "to": shown(hours.to),
        "is_visible": is_visible,
        "canary": model.canary.as_ref().filter(|_| is_visible),
        "items": items,
    })))
}

/// A backend as usage names it, and who pays for it: that tells a tenant's own provider from a shared one of the same name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct BackendKey {
    /// Empty for requests that no backend has served yet.
    name: String,
    payer: String,
}

/// A target of now.
struct CurrentTarget {
    key: BackendKey,
    called: CalledBackend,
    is_canary: bool,
}

/// The figures that only a target of now has.
#[derive(Debug, Default, PartialEq, Eq)]
struct TargetFigures {
    is_canary: bool,
    failed_calls: u64,
}

/// The tenants whose requests for the name of a shared model are for a model of their own.
fn tenants_with_their_own(model: &Model, tables: &Tables) -> BTreeSet<TenantId> {
    let of_name = tables.created_models().filter(|other| model.tenant_id.is_none() && other.value.name == model.name);
    // A tenant with an allow list of models has the name, but not the model.
    let has_own = |tenant: &TenantId| {
        tables.route(Some(*tenant), &model.name).is_some_and(|routed| routed.value.tenant_id == Some(*tenant))
    };
    of_name.filter_map(|other| other.value.tenant_id).filter(has_own).collect()
}

fn targets(model: &Model, tables: &Tables) -> Vec<CurrentTarget> {
    let canary = model.canary_index();
    let current = model.targets.iter().enumerate().filter_map(|(at, target)| {
        let provider = &tables.provider(target.provider_id)?.value;
        let name = format!("{}/{}", provider.name, target.model);
        Some(CurrentTarget {
            key: BackendKey { name, payer: Payer::of(provider).as_str().to_owned() },
            called: CalledBackend { provider: target.provider_id, model: target.model.clone() },
            is_canary: canary == Some(at),
        })
    });
    current.collect()
}

/// The figures of the targets, with the failed calls of each. Targets that usage cannot tell apart have them together.
fn figures_of<'a>(targets: &'a [CurrentTarget], failed: &[u64]) -> BTreeMap<&'a BackendKey, TargetFigures> {
    let mut figures: BTreeMap<&BackendKey, TargetFigures> = BTreeMap::new();
    for (target, failed_calls) in targets.iter().zip(failed) {
        let of_key = figures.entry(&target.key).or_default();
        of_key.is_canary |= target.is_canary;
        of_key.failed_calls = of_key.failed_calls.saturating_add(*failed_calls);
    }
    figures
}

fn by_backend(rows: Vec<GroupSums>) -> BTreeMap<BackendKey, Sums> {
    let key = |key: &GroupKey| {
        let [name, payer] = [Dimension::Backend, Dimension::Payer].map(|of| value_of(key, of).to_owned());
        BackendKey { name, payer }
    };
    rows.into_iter().map(|row| (key(&row.key), row.sums)).collect()
}

/// The requests for the model's name, by backend, without those of tenants whose requests were for a model of their own.
fn selection(model: &Model, hours: Span, own: BTreeSet<TenantId>) -> Selection {
    let micros = |seconds: i64| Some(seconds.saturating_mul(1_000_000));
    Selection {
        group_by: vec![Dimension::Backend, Dimension::Payer],
        range: Range { from: micros(hours.from), to: micros(hours.to) },
        requests: RequestFilter {
            model: Some(model.name.clone()),
            tenant: model.tenant_id,
            ..RequestFilter::default()
        },
        without_tenants: own,
        after: None,
        limit: BACKENDS_MAX,
        totals: Totals::Never,
    }
}

/// Empty if the requests are not grouped by it.
fn value_of(key: &GroupKey, dimension: Dimension) -> &str {
    let at = Dimension::ALL.iter().position(|other| *other == dimension);
    at.and_then(|at| key.dimensions.get(at)).map(String::as_str).unwrap_or_default()
}

fn item(
    BackendKey { name, payer }: &BackendKey,
    sums: &Sums,
    target: Option<&TargetFigures>,
    is_visible: bool,
) -> Value {
    let counts = sums.amounts.counts;
    let number = |index: usize| counts.get(index).map_or(0, |sum| count(*sum));
    let tokens = |is_it: fn(&str) -> bool| {
        let of_kind = COUNTS.iter().zip(counts).filter(|(name, _)| name.ends_with("_tokens") && is_it(name));
        count(of_kind.map(|(_, sum)| sum).fold(0, i128::saturating_add))
    };
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "backend": known(name),
        "payer": known(payer),
        "is_canary": is_visible.then(|| target.is_some_and(|target| target.is_canary)),
        "requests": number(REQUESTS),
        "failed": number(FAILED),
        "failed_calls": target.map(|target| target.failed_calls),
        "cost_usd": NanoUsdSum::new(sums.amounts.cost_nanos).to_string(),
        "input_tokens": tokens(|class| class.starts_with("input_") || class.starts_with("citation_")),
        "output_tokens": tokens(|class| class.starts_with("output_")),
        "latency_ms_p50": sums.latencies.percentile(50),
        "latency_ms_p95": sums.latencies.percentile(95),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn targets_that_usage_cannot_tell_apart_have_their_failed_calls_together() {
        let target = |provider: u128, name: &str, is_canary| CurrentTarget {
            key: BackendKey { name: name.to_owned(), payer: "brokered".to_owned() },
            called: CalledBackend { provider: Uuid::from_u128(provider).into(), model: "ok".to_owned() },
            is_canary,
        };
        let targets = [target(1, "first/ok", true), target(2, "first/ok", false), target(3, "other/ok", false)];
        let figures: Vec<TargetFigures> = figures_of(&targets, &[5, 2, 1]).into_values().collect();
        let expected =
            [(true, 7), (false, 1)].map(|(is_canary, failed_calls)| TargetFigures { is_canary, failed_calls });
        assert_eq!(figures, expected);
    }
}
