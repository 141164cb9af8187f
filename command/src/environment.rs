//! Providers from the gateway's environment, and models that appear by themselves: those that the catalogue has for such a
//! provider, and those that local servers have.
//!
//! All of it is recorded, as events of the actor `system:environment`, so that requests are routed, priced and explained from the
//! log alone, as with resources that commands created. What the environment no longer names is ended. Keys stay in memory,
//! and go only to the addresses that their own variables give.
//!
//! Reading the catalogue at each request, instead of recording it, was rejected: a request's price would then depend on the
//! binary that served it, and nobody could check it from the log.
//!
//! - `detection` finds the providers that variables name (`found_provider`); `detection/variables.rs` checks their values,
//!   `addresses` their addresses and `deployments` the list of Azure's deployments. `named_providers` keeps what was found,
//!   with the catalogue.
//! - `offer` is a model that a provider offers; `catalogued` finds those of the catalogue, and `availability` says why a
//!   model of it is not offered. `sources` has all that offers models, `discovery` asks local servers, `watch` bounds what
//!   they can change.
//! - `reconciliation` compares all that with the tables, `orphans` names the operator's prices and models of providers that
//!   have ended, and `admin/recording.rs` records the difference.
//! - `registered` is what the start shows, `model_to_try` the model that it proposes.
//! - `imports` takes another catalogue while the gateway runs, for `admin/import.rs`; `kept_imports` keeps those that are
//!   still to be recorded.
//! - `shared` has one of several nodes record all this: `succession` says which, `recording_state` whether it has something
//!   to record, and `check_times` when it looks.

mod addresses;
mod availability;
mod catalogued;
mod check_times;
mod deployments;
mod detection;
mod discovery;
mod found_provider;
mod imports;
mod kept_imports;
mod model_to_try;
mod named_providers;
mod offer;
mod orphans;
mod reconciliation;
mod recording_state;
mod registered;
mod shared;
mod sources;
mod succession;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::ids::IdMaker;
use events::time::Clock;
use events_log::Log;
use futures_util::future::BoxFuture;
use projections::tables::TablesHandle;
use provider_client::UpstreamClients;
use secrets::Vault;
use tokio::time::Instant;

use crate::admin::CommandError;
use crate::admin::import::ImportQueue;
use crate::admin::recording::{self, Author, Step};
use check_times::CheckTimes;
use reconciliation::{ModelSource, ReconciliationPlan, reconcile};
use recording_state::RecordingState;
use watch::Watch;

pub use availability::{Availability, availability};
pub(crate) use catalogued::at_address as catalogued_at;
pub use detection::{DEPLOYMENTS_VARIABLE, DetectionSettings, EnvironmentFault};
pub use kept_imports::KeptImports;
pub use named_providers::NamedProviders;
pub use registered::RegisteredProvider;
pub(crate) use shared::catalogue_in_force;

/// How often local servers are asked for their models.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// The pause before it is looked again whether this node knows where the log ends.
const CURRENT_CHECK: Duration = Duration::from_millis(100);
/// How long it may take until this node's tables have what was recorded.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);

/// The dependencies of the environment's resources.
#[derive(Clone)]
pub struct EnvironmentParts {
    pub log: Log,
    pub tables: TablesHandle,
    pub ids: IdMaker,
    pub clock: Arc<dyn Clock>,
    pub vault: Arc<Vault>,
    pub upstreams: Arc<UpstreamClients>,
    /// The data folder, which has another catalogue if one was taken; that of nodes that share a ledger is in the database.
    pub data: PathBuf,
}

/// The providers that the environment names, and their resources in the log.
pub struct Environment {
    parts: EnvironmentParts,
    /// `None` if nothing is to appear by itself.
    named: Option<Arc<NamedProviders>>,
    watch: Mutex<Watch>,
    recording: Mutex<RecordingState>,
    kept_imports: Arc<KeptImports>,
    /// The revision of the imported catalogue of a shared ledger that this node uses; 0 if none was imported.
    catalogue_revision: AtomicU64,
}

impl Environment {
    pub fn new(parts: EnvironmentParts, named: Option<Arc<NamedProviders>>) -> Self {
        let (watch, recording, kept_imports) = (Mutex::default(), Mutex::default(), Arc::default());
        Self { parts, named, watch, recording, kept_imports, catalogue_revision: AtomicU64::default() }
    }

    /// Asks local servers for their models, and records what has changed since it was last recorded. Of nodes that share a ledger,
    /// one does this.
    ///
    /// Errors: something could not be recorded. What is missing is recorded by the next call.
    pub fn bring_up_to_date(&self) -> BoxFuture<'_, Result<(), CommandError>> {
        Box::pin(self.look_and_record())
    }

    async fn look_and_record(&self) -> Result<(), CommandError> {
        self.take_imported_catalogue().await?;
        if self.check_succession().await? == Some(true) { self.record_all().await } else { Ok(()) }
    }

    async fn record_all(&self) -> Result<(), CommandError> {
        let sources = if let Some(named) = &self.named { self.sources(named).await } else { Vec::new() };
        let recorded = self.record_offers(&sources).await;
        match recorded {
            Ok(()) => self.recording().note_recorded(),
            Err(_) => self.recording().note_unfinished(),
        }
        recorded
    }

    /// Records what these sources change.
    async fn record_offers(&self, sources: &[ModelSource]) -> Result<(), CommandError> {
        // Another node may have recorded what these tables do not have yet.
        self.catch_up().await?;
        let tables = self.parts.tables.load();
        let plan = reconcile(sources, &tables, &self.parts.ids, self.parts.clock.now());
        if plan.is_empty() {
            return Ok(());
        }
        let recorded = plan.len();
        let position = self.record(plan, &Author::gateway()).await?;
        tracing::info!(recorded, position, "recorded what the environment, the catalogue and local servers offer");
        match self.parts.tables.wait_for(position, IN_FORCE_WITHIN).await {
            true => Ok(()),
            false => Err(CommandError::NotYetInForce { position }),
        }
    }

    /// Waits until this node's tables have all that is recorded.
    ///
    /// Errors: `NotCurrent`; nothing was recorded.
    async fn catch_up(&self) -> Result<(), CommandError> {
        let until = Instant::now() + IN_FORCE_WITHIN;
        while !self.parts.log.is_current() && Instant::now() < until {
            tokio::time::sleep(CURRENT_CHECK).await;
        }
        match self.parts.log.is_current() && self.parts.tables.catch_up(IN_FORCE_WITHIN).await {
            true => Ok(()),
            false => Err(CommandError::NotCurrent),
        }
    }

    /// Keeps the models of local servers up to date, and takes the catalogues that are imported, until it is dropped. One
    /// after the other: two that record what they find at the same time would record it twice.
    pub fn follow(self, imports: ImportQueue) -> BoxFuture<'static, ()> {
        Box::pin(self.follow_until_dropped(imports))
    }

    async fn follow_until_dropped(self, mut imports: ImportQueue) {
        let mut looks = CheckTimes::since_now();
        // A node that records nothing now may be the one that has run longest later: it then ends what others recorded.
        let looks_again = self.is_on() || self.parts.log.is_shared();
        loop {
            let looks_again = looks_again || !self.kept_imports.is_empty();
            tokio::select! {
                Some(import) = imports.next() => self.answer(import).await,
                () = tokio::time::sleep_until(self.next_check(&looks)), if looks_again => {
                    let checked = self.look_if_due(&mut looks).await;
                    if let Some(error) = looks.new_outage(checked) {
                        tracing::warn!(%error, "cannot record what the environment and local servers offer: trying again later");
                    }
                }
                else => return,
            }
        }
    }

    /// The imports that are still to be recorded, for the end of the process: this is dropped before.
    pub fn kept_imports(&self) -> Arc<KeptImports> {
        Arc::clone(&self.kept_imports)
    }

    /// False if nothing is to appear by itself.
    pub const fn is_on(&self) -> bool {
        self.named.is_some()
    }

    /// Records a plan; returns the position of its last event.
    async fn record(&self, plan: ReconciliationPlan, author: &Author) -> Result<u64, CommandError> {
        let ended = plan.ended_providers();
        let ReconciliationPlan { providers, prices, models } = plan;
        let (ending_prices, prices): (Vec<_>, Vec<_>) = prices.into_iter().partition(Step::is_end);
        let (ending_models, models): (Vec<_>, Vec<_>) = models.into_iter().partition(Step::is_end);
        let log = &self.parts.log;
        let mut position = recording::record(log, author, ending_models).await?;
        position = position.max(recording::record(log, author, ending_prices).await?);
        position = position.max(recording::record(log, author, providers).await?);
        if !ended.names.is_empty() {
            tracing::warn!(
                providers = ended.names.join(", "),
                prices_ended = ended.prices,
                models_ended = ended.models,
                "ended providers that this node's environment does not name, with their prices and models"
            );
        }
        position = position.max(recording::record(log, author, prices).await?);
        Ok(position.max(recording::record(log, author, models).await?))
    }
}

#[cfg(test)]
mod fuzz;
