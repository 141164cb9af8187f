//! The write side of administration: the twelve resources (partners, tenants, users, teams, keys, providers, their keys, models, prices,
//! budgets and rate limits, which decide inference requests, and saved searches of the audit), and the routes that change them.
//!
//! It guarantees four things. Every change is a command to an aggregate, and all that remains of it is events and side
//! rows, appended in one batch. The in-memory tables of this node contain the change before the reply is sent, so the
//! next request is decided by it. A retry with the same `Idempotency-Key` gets the resource as it was after the first
//! attempt, without its secret. A caller's rights are checked when its body is complete, and again by the append: if an
//! event has changed them meanwhile, the command is decided anew.
//!
//! It reads no view: a command is decided on the events of its stream and on the tables. Lists and reads are in `query`.
//! Separate handlers were rejected: each would repeat authority, idempotency and retries. So all twelve resources share
//! one path (`execution`), one life cycle (`lifecycle`) and one reader of bodies (`declaration`), and a resource's file in
//! `resources` holds only what is special to it.

pub mod body_format;
pub(crate) mod import;
pub(crate) mod import_error;
pub mod setup;

mod addressed_provider;
mod admin_context;
mod administered;
mod apply;
mod claimed_names;
mod declaration;
pub(crate) mod described;
mod error;
mod execution;
mod field_type;
mod field_values;
mod fields;
mod lifecycle;
mod log_key;
mod names;
pub(crate) mod recording;
mod rejected;
mod request;
mod resource_bounds;
mod resource_kind;
mod resources;
mod routes;
mod store;

use std::sync::Arc;

use access_control::auth::hashing::KeyHasher;
use events::event::StreamKind;
use events::event::admin::{Provider, StatedFacts};
use events::ids::IdMaker;
use events::time::Clock;
use events_log::Log;
use events_log::concurrency::ConcurrencyLimiter;
use openapi::{Api, Entrance};
use projections::tables::TablesHandle;
use secrets::{KeyCheck, Vault};

use crate::body::memory::BodyMemory;
pub(crate) use addressed_provider::{AddressedProvider, Purpose};
pub(crate) use admin_context::AdminContext;
pub use apply::CHANGES_MAX;
pub use claimed_names::ClaimedNames;
pub use error::CommandError;
pub(crate) use execution::{reply, wait_until_current, wait_until_in_force};
pub use fields::FieldError;
pub(crate) use fields::Fields;
pub use import::{ImportQueue, Importer};
pub use rejected::{ReachedResource, RejectedResource};
pub(crate) use request::AdminRequest;
pub(crate) use resources::base_url;
pub(crate) use resources::terms;
pub(crate) use routes::changes_of;
use routes::resource_routes;

/// Looks up the facts that the catalogue in force states of a provider's model; none if this node reads no catalogue.
pub type FactsLookup = Arc<dyn Fn(&Provider, &str) -> StatedFacts + Send + Sync>;

/// The dependencies of commands. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    pub log: Log,
    pub tables: TablesHandle,
    pub clock: Arc<dyn Clock>,
    pub ids: IdMaker,
    pub key_check: KeyCheck,
    /// Shared with authentication, so that the same bounds hold for both.
    pub hasher: KeyHasher,
    pub vault: Arc<Vault>,
    /// The memory that bodies of commands may take.
    pub bodies: Arc<BodyMemory>,
    /// Bounds the commands that a key and a tenant may run at the same time.
    pub concurrency: ConcurrencyLimiter,
    /// Takes imports of catalogues to the task that carries them out.
    pub imports: Importer,
    pub catalogued: FactsLookup,
    /// Whether this node has the settings of the published log.
    pub publishes_log: bool,
    /// Whether this node has a store for sealed content.
    pub keeps_content: bool,
}

/// `POST`, `PATCH` and `DELETE` under `/v1/admin`. A request must carry its [`events::ids::RequestId`], its
/// `Arc<`[`projections::caller::Caller`]`>` and its [`projections::caller::ClientOrigin`] as extensions. A reply carries
/// its [`projections::caller::AtPosition`], a refusal its [`events::refusal::Refusal`] and its
/// [`RejectedResource`].
pub fn routes(state: AdminState) -> Api {
    let rotation = Api::of(Entrance::Administration).post(
        "/v1/admin/keys/{id}/rotate",
        resources::rotate,
        resources::described_rotation,
    );
    let erasure = Api::of(Entrance::Administration).post(
        "/v1/admin/subjects/{id}/erase",
        resources::erase,
        resources::described_erasure,
    );
    let prices_import =
        Api::of(Entrance::Administration).post("/v1/admin/prices/import", import::import, import::described);
    let log_key_rotation =
        Api::of(Entrance::Administration).post("/v1/admin/log/key/rotate", log_key::rotate, log_key::described);
    let of_kinds = resource_kind::ALL.into_iter().map(resource_routes);
    of_kinds
        .fold(Api::of(Entrance::Administration), Api::merge)
        .post("/v1/admin/apply", apply::apply, apply::described)
        .merge(changes_of(StreamKind::User, erasure))
        .merge(changes_of(StreamKind::Key, rotation))
        .merge(changes_of(StreamKind::Import, prices_import))
        .merge(changes_of(StreamKind::LogKey, log_key_rotation))
        .with_state(state)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod tests;
