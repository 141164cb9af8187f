//! Maintenance near the time of a plan, and the refusal where nothing else can serve.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::event::admin::Model;
use events::ids::ProviderId;
use events::refusal::{ErrorCode, Refusal};
use events::routing::left_out::Maintenance;
use events::routing::{LeftOut, Order};
use events::time::rfc3339;
use projections::tables::{KnownTarget, Tables};

/// The data from which the log shows the targets under maintenance.
#[derive(Debug, Default)]
pub struct NearMaintenance {
    /// The time that was decided by; `None` if no window is near.
    pub decided_at: Option<DateTime<Utc>>,
    /// The versions of the providers that have a window near.
    pub providers: BTreeMap<ProviderId, u64>,
}

impl NearMaintenance {
    pub fn of(targets: &[KnownTarget<'_>], tables: &Tables, now: DateTime<Utc>) -> Self {
        let mut near = Self::default();
        for KnownTarget { offer, inputs } in targets {
            if inputs.target.maintenance.is_near(now) {
                near.decided_at = Some(now);
            }
            let Some(provider) = offer.map(|offer| offer.provider) else { continue };
            if provider.maintenance.is_near(now) {
                near.decided_at = Some(now);
                let entry = tables.provider(provider.provider_id);
                near.providers.extend(entry.map(|entry| (provider.provider_id, entry.version)));
            }
        }
        near
    }
}

/// The refusal of a request that only targets under maintenance could serve; `None` if there are none.
pub fn refusal(model: &str, order: &Order<'_>, now: DateTime<Utc>) -> Option<Refusal> {
    let until = |why| if let LeftOut::Maintenance(Maintenance { until }) = why { Some(until) } else { None };
    let first_back = order.left_out().filter_map(|(_, why)| until(why)).min()?;
    Some(refusal_until(model, first_back, now))
}

/// The refusal of a request that nothing can serve before this time.
pub fn refusal_until(model: &str, first_back: DateTime<Utc>, now: DateTime<Utc>) -> Refusal {
    let shown = Model::bounded_name(model);
    let until = rfc3339(first_back);
    let message = format!("what could serve this request of the model {shown} is under maintenance until {until}");
    let refusal = Refusal::new(ErrorCode::AllProvidersUnavailable, message).with("model", shown);
    let wait = (first_back - now).to_std().unwrap_or(Refusal::TRY_AGAIN_AFTER);
    refusal.with("maintenance_until", until).retry_after(wait)
}
