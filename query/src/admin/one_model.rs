//! The common parts of routes below a model: the model, as far as the caller may know of it, and the hours that are counted.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::admin::Model;
use events::refusal::Refusal;
use events::time::{from_micros, rfc3339};
use projections::views::usage_by_hour::Span;
use projections::visible::Visible;

use crate::parameters::Parameters;
use crate::query_context::PermittedQuery;

const SECONDS_PER_HOUR: i64 = 3600;

/// The model, also an ended one, if the caller may know of it: everybody may use those that all tenants share.
pub fn visible_model(query: &PermittedQuery, id: &str) -> Option<Arc<Model>> {
    let tables = query.state.tables.load();
    let model = &tables.model(id.parse().ok()?)?.value;
    let is_visible = match model.tenant_id {
        None => true,
        Some(owner) => Visible::within_reach(&query.caller).includes(&tables.chain_of_tenant(owner)?),
    };
    is_visible.then(|| Arc::clone(model))
}

/// The whole hours between `from` and `to`; without `from`, as long before `to` as `default` says.
pub fn hours(parameters: &mut Parameters, now: DateTime<Utc>, default: TimeDelta) -> Result<Span, Refusal> {
    let to = parameters.time("to")?.unwrap_or(now);
    let from = parameters.time("from")?.unwrap_or_else(|| to.checked_sub_signed(default).unwrap_or(to));
    if from >= to {
        return Err(Refusal::invalid("from", "must be before to"));
    }
    let from = from.timestamp().div_euclid(SECONDS_PER_HOUR);
    let whole = to.timestamp_micros().div_euclid(SECONDS_PER_HOUR * 1_000_000);
    let ends_on_the_hour = to.timestamp_micros().rem_euclid(SECONDS_PER_HOUR * 1_000_000) == 0;
    let to = whole + i64::from(!ends_on_the_hour);
    Ok(Span { from: from * SECONDS_PER_HOUR, to: to * SECONDS_PER_HOUR })
}

/// A time in seconds since 1970, as it is shown.
pub fn shown(seconds: i64) -> String {
    rfc3339(from_micros(seconds.saturating_mul(1_000_000)))
}

/// A sum of a view that is a count.
pub fn count(sum: i128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}
