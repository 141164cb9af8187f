//! `POST /v1/admin/doctor`: checks every provider and every target without spending money; `one_provider.rs` checks one. It runs inside the gateway, because
//! keys are sealed, and connects from where requests will.
//!
//! A key goes to the address of the same version of the provider's row, as in a request. No key is in the report, and what a
//! provider says is redacted. Nothing is recorded: nothing changes. All is bounded: the number of providers, how many are
//! checked at a time, each check, and the whole (`schedule.rs`). Tenants make providers and models of their own as they like:
//! what is found of these is shown, and decides nothing.
//!
//! `schedule` gives providers their turns, and `provider` checks one of them: `connection`, `clock`, `trial` for what it
//! answers to a key, `key` for what is known of the key before. `target` checks the targets of models, `message` finds the
//! provider's own words, and `report` is the result. The free request of each kind is in `provider_dialects`, and `provider_client` tells
//! which step of a connection fails.

mod clock;
mod connection;
mod key;
mod message;
mod one_provider;
mod provider;
mod report;
mod schedule;
mod target;
mod trial;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use access_control::limits::LocalSince;
use axum::extract::{FromRequest, Request, State};
use built_in_catalogue::Catalogue;
use events::event::admin::Provider;
use events::refusal::ErrorCode;
use events_log::Log;
use http::StatusCode;
use openapi::{Answer, Api, Entrance, Json, Operation, schema};
use tokio::sync::Semaphore;

use crate::admin::{AdminContext, AdminRequest, AdminState, CommandError, described};
use crate::environment::{self, NamedProviders};
use crate::inference::Gateway;
use one_provider::CheckedTenants;
use report::{CheckedProvider, Report};
use schedule::Schedule;
use target::{OfferedModels, Retirements};

/// The dependencies of the checks.
pub struct Doctor {
    admin: AdminState,
    gateway: Arc<Gateway>,
    /// `None` if nothing is to appear by itself.
    named: Option<Arc<NamedProviders>>,
    /// The data folder, which has another catalogue if one was taken without a database.
    data: PathBuf,
    /// One check of providers that all tenants share at a time, whoever asks.
    turn: Semaphore,
    tenants: CheckedTenants,
}

/// The name of the schema of a provider with its findings.
const CHECKED_PROVIDER: &str = "CheckedProvider";

impl Doctor {
    pub fn new(
        admin: AdminState,
        gateway: Arc<Gateway>,
        named: Option<Arc<NamedProviders>>,
        data: PathBuf,
    ) -> Arc<Self> {
        Arc::new(Self { admin, gateway, named, data, turn: Semaphore::new(1), tenants: CheckedTenants::default() })
    }
}

pub fn routes(doctor: Arc<Doctor>) -> Api {
    Api::of(Entrance::Administration)
        .post("/v1/admin/doctor", check, described)
        .post("/v1/admin/providers/{id}/test", one_provider::check, one_provider::described)
        .with_state(doctor)
}

fn described() -> Operation {
    let says = "Connects to every provider, compares its clock with the gateway's and tries its key with a request that is \
                free of charge. Looks up the price of every target, and what the catalogue knows of its retirement. Nothing is \
                spent or recorded. Providers that all tenants share come first; what is found of tenants' own providers and \
                models does not decide `ok`. One check runs at a time.";
    described::request("check_providers", "Checks providers, keys, prices and models")
        .says(says)
        .refuses(&[ErrorCode::Conflict])
        .answers(StatusCode::OK, Answer::json("What was found", schema::reference("DoctorReport")))
        .defines("DoctorReport", report::shape())
        .defines(CHECKED_PROVIDER, report::provider_shape())
}

/// Errors: 403 for a caller that does not reach the platform; 409 while another check runs.
async fn check(State(doctor): State<Arc<Doctor>>, request: Request) -> Result<Json<Report>, CommandError> {
    let request = AdminRequest::from_request(request, &doctor.admin).await?;
    let cx = AdminContext::new(&doctor.admin, &request.caller)?;
    cx.require_platform("only the platform may check providers, because their keys are used for that")?;
    request.fields()?.finish()?;
    let _turn = doctor.turn.try_acquire().map_err(|_| CommandError::CheckRunning)?;
    let catalogue = catalogue_in_force(doctor.named.as_deref(), &doctor.admin.log, &doctor.data).await?;
    let local = doctor.admin.log.read(|reader| LocalSince::of(reader)).await?;
    Ok(Json(run(&doctor, &catalogue).await.with_local_limits(local)))
}

/// The catalogue in force. It is read anew for each check if nothing else in the gateway needs it.
async fn catalogue_in_force(
    named: Option<&NamedProviders>,
    log: &Log,
    data: &Path,
) -> Result<Arc<Cow<'static, Catalogue>>, CommandError> {
    if let Some(named) = named {
        return Ok(named.catalogue());
    }
    let in_force = environment::catalogue_in_force(log, data.to_owned()).await?;
    if let Some(warning) = in_force.warning() {
        tracing::warn!("{warning}");
    }
    Ok(Arc::new(in_force.catalogue))
}

async fn run(doctor: &Doctor, catalogue: &Catalogue) -> Report {
    let tables = doctor.gateway.tables.load();
    let now = doctor.admin.clock.now();
    let is_live = |provider: &&Arc<Provider>| tables.live_provider(provider.provider_id).is_some();
    let providers: Vec<_> = tables.providers().map(|entry| &entry.value).filter(is_live).cloned().collect();
    let (schedule, left_out) = Schedule::of(providers);
    let known = OfferedModels { catalogue, named: doctor.named.as_deref() };
    let (targets, mut retirements) = target::check(&tables, &known, now, None);
    // Checks take up to a minute; the tables change meanwhile.
    drop(tables);
    let check = |provider: Arc<Provider>, until| {
        let gateway = Arc::clone(&doctor.gateway);
        async move { CheckedProvider::new(&provider, provider::check(&gateway, &provider, until).await) }
    };
    let left = |provider: &Provider| CheckedProvider::new(provider, vec![provider::out_of_time()]);
    let checked = schedule.run(check, left).await.into_iter().map(|(provider, mut checked)| {
        checked.add(retirements.remove(&provider.provider_id).map(Retirements::finding));
        checked
    });
    Report::new(now, checked.collect(), left_out, targets)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use events::time::SystemClock;
    use events_log::LogOptions;

    use super::*;

    #[tokio::test]
    async fn without_providers_from_the_environment_the_catalogue_of_the_folder_is_in_force() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::new()))).expect("a log");
        let shipped = Catalogue::shipped().version();
        let version = async || catalogue_in_force(None, &log, folder.path()).await.expect("a catalogue").version();
        assert_eq!(version().await, shipped);
        let newer = r#"{"schema":1,"version":"2999-01-01","sources":[],"providers":[],"models":[],"aliases":{}}"#;
        for (text, wanted) in [(newer, "2999-01-01"), ("{", &*shipped.to_string())] {
            std::fs::write(folder.path().join(built_in_catalogue::CATALOGUE_FILE), text).expect("a file");
            assert_eq!(version().await.to_string(), wanted, "{text}");
        }
    }
}
