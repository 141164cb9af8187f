//! Whether a caller may send its request, against the current tables.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::Permission;
use events::event::{Actor, Chain};
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use events::routing::Strategy;
use projections::caller::Caller;
use projections::tables::Tables;

use crate::inference::received::parsed_request::ParsedRequest;
use crate::ledger_unavailable::ledger_unavailable;

/// A request whose caller may send it, against these tables.
pub struct AuthorizedRequest {
    pub tables: Arc<Tables>,
    pub caller: Arc<Caller>,
    pub parsed: ParsedRequest,
}

/// The caller as it is now, if it may use models, and choose this strategy: it may have lost its right since it was authenticated.
pub fn authorize(
    tables: &Tables,
    caller: &Arc<Caller>,
    strategy: Option<Strategy>,
    now: DateTime<Utc>,
) -> Result<Arc<Caller>, Refusal> {
    let caller = caller.refreshed(tables, now)?;
    caller.require(Permission::ModelsUse)?;
    if !tables.owners_are_live(&caller.chain) && !is_platforms_copy(&caller) {
        return Err(tenant_deleted());
    }
    require_strategy_choice(&caller, strategy)?;
    Ok(caller)
}

/// Whether the caller sends copies of requests that the platform pays for: such a copy belongs to no tenant, and so to none that could
/// be deleted.
fn is_platforms_copy(caller: &Caller) -> bool {
    caller.chain == Chain::default() && caller.actor == Actor::SHADOW
}

/// Errors: `FORBIDDEN`, if the tenant whose conversation it is has ended.
pub fn require_live_tenant(tables: &Tables, tenant: Option<TenantId>) -> Result<(), Refusal> {
    let Some(tenant) = tenant else { return Ok(()) };
    let chain = tables.chain_of_tenant(tenant).filter(|chain| tables.owners_are_live(chain));
    chain.map(drop).ok_or_else(tenant_deleted)
}

pub fn tenant_deleted() -> Refusal {
    Refusal::new(ErrorCode::Forbidden, "the tenant of this request has been deleted")
}

/// Errors: `FORBIDDEN`, if a strategy is requested and the caller may not choose any.
pub fn require_strategy_choice(caller: &Caller, requested: Option<Strategy>) -> Result<(), Refusal> {
    requested.map_or(Ok(()), |_| caller.require(Permission::RoutingChoose))
}

/// The refusal of a request while this node is behind the ledger.
pub fn not_current() -> Refusal {
    ledger_unavailable("no", "this node is behind the ledger, so nothing was sent to a provider: try again")
}

#[cfg(test)]
mod tests;
