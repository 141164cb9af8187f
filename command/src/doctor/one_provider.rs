//! `POST /v1/admin/providers/{id}/test`: the checks of one provider, also for the tenant that owns it.
//!
//! One check of shared providers runs at a time, as that of all of them. Tenants' own providers have places of their own, of which
//! each tenant takes one: a tenant whose provider is slow keeps nobody else waiting, and calls no server faster than that.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{FromRequest, Path, Request, State};
use events::event::admin::Provider;
use events::ids::{ProviderId, TenantId};
use events::refusal::ErrorCode;
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Json, Operation};
use tokio::time::Instant;

use super::report::CheckedProvider;
use super::target::{self, OfferedModels, Retirements};
use super::{CHECKED_PROVIDER, Doctor, catalogue_in_force, provider, report, schedule};
use crate::admin::{AddressedProvider, AdminRequest, CommandError, Purpose, described};

/// The most tenants whose providers are checked at the same time.
const TENANTS_AT_A_TIME_MAX: usize = 8;

/// The tenants of whose own providers one is being checked.
#[derive(Default)]
pub struct CheckedTenants(Mutex<BTreeSet<TenantId>>);

/// Lets a provider of a tenant's be checked, until it is dropped.
struct TenantCheckPermit<'a> {
    tenants: &'a CheckedTenants,
    tenant: TenantId,
}

impl CheckedTenants {
    fn begin(&self, tenant: TenantId) -> Option<TenantCheckPermit<'_>> {
        let has_place = {
            let mut checked = self.locked();
            checked.len() < TENANTS_AT_A_TIME_MAX && checked.insert(tenant)
        };
        // Made only with a place: dropped, it gives one back.
        has_place.then(|| TenantCheckPermit { tenants: self, tenant })
    }

    fn locked(&self) -> MutexGuard<'_, BTreeSet<TenantId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TenantCheckPermit<'_> {
    fn drop(&mut self) {
        self.tenants.locked().remove(&self.tenant);
    }
}

pub fn described() -> Operation {
    let says = "Connects to it, compares its clock with the gateway's and tries each of its keys with a request that is free of charge, \
                as `POST /v1/admin/doctor` does with all providers. Nothing is spent or recorded. It takes twenty seconds at most, ten \
                for a tenant's own provider. One check of a provider that all tenants share runs at a time, and one of each tenant.";
    described::request("test_provider", "Checks one provider and its keys")
        .says(says)
        .path("id", schema::id(ProviderId::PREFIX), "Id of the provider")
        .may_take(object().closed())
        .refuses(&[ErrorCode::NotFound, ErrorCode::Conflict, ErrorCode::ViewBehind])
        .answers(StatusCode::OK, Answer::json("What was found", schema::reference(CHECKED_PROVIDER)))
        .defines(CHECKED_PROVIDER, report::provider_shape())
}

/// Errors: 404 and 403 as for a change of the provider; 409 if it has ended, or while another check runs.
pub async fn check(
    State(doctor): State<Arc<Doctor>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<CheckedProvider>, CommandError> {
    let request = AdminRequest::from_request(request, &doctor.admin).await?;
    request.fields()?.finish()?;
    let checked = AddressedProvider::find(&doctor.admin, &request, &id, Purpose::Use).await?.provider;
    let running = || CommandError::CheckRunning;
    // Held until the check has ended: a permit of the tenant, or of the platform.
    let _of_tenant = checked.tenant_id.map(|tenant| doctor.tenants.begin(tenant).ok_or_else(running)).transpose()?;
    let of_platform = checked.tenant_id.is_none().then(|| doctor.turn.try_acquire());
    let _of_platform = of_platform.transpose().map_err(|_| running())?;
    let until = Instant::now() + schedule::longest_check(&checked);
    let findings = provider::check(&doctor.gateway, &checked, until).await;
    let mut report = CheckedProvider::new(&checked, findings);
    report.add(retirements(&doctor, &checked).await?.map(Retirements::finding));
    Ok(Json(report))
}

/// The provider's models that appeared by themselves, and will be retired.
async fn retirements(doctor: &Doctor, provider: &Provider) -> Result<Option<Retirements>, CommandError> {
    let catalogue = catalogue_in_force(doctor.named.as_deref(), &doctor.admin.log, &doctor.data).await?;
    let known = OfferedModels { catalogue: &catalogue, named: doctor.named.as_deref() };
    let tables = doctor.gateway.tables.load();
    let now = doctor.admin.clock.now();
    Ok(target::check(&tables, &known, now, Some(provider.provider_id)).1.remove(&provider.provider_id))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_tenant_has_one_place_and_gives_it_back() {
        let tenants = CheckedTenants::default();
        let tenant = |number: usize| TenantId::from(Uuid::from_u128(number as u128));
        let first = tenants.begin(tenant(0));
        assert!(first.is_some() && tenants.begin(tenant(0)).is_none());
        let others: Vec<_> = (1..TENANTS_AT_A_TIME_MAX).map(|number| tenants.begin(tenant(number))).collect();
        assert!(others.iter().all(Option::is_some) && tenants.begin(tenant(100)).is_none());
        drop(first);
        assert!(tenants.begin(tenant(100)).is_some());
        assert!(tenants.begin(tenant(0)).is_some());
    }
}
