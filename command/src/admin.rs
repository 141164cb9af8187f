//! Administration: the nine resources that requests are decided by, as commands, facts and rules, and the routes that
//! carry commands to them. Every change is a command to an aggregate; what it leaves are events, and the in-memory
//! tables have them before the reply leaves.

pub mod setup;

mod admin_context;
mod declaration;
mod described;
mod error;
mod field_type;
mod fields;
mod given;
mod lifecycle;
mod request;
mod resources;
mod routes;
mod store;

use std::sync::Arc;

use access::auth::hashing::KeyHasher;
use events::concurrency::ConcurrencyLimiter;
use events::event::admin::{Budget, Key, Model, Partner, Price, Provider, RateLimit, Tenant, User};
use events::ids::IdMaker;
use events::log::Log;
use events::time::Clock;
use openapi::{Api, Entrance};
use projections::tables::TablesHandle;
use secrets::{KeyCheck, Vault};

use crate::body::memory::BodyMemory;
use routes::of_resource;

/// What commands need. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    pub log: Log,
    pub tables: TablesHandle,
    pub clock: Arc<dyn Clock>,
    pub ids: IdMaker,
    pub key_check: KeyCheck,
    /// Shared with the door, so that one bound holds for both.
    pub hasher: KeyHasher,
    pub vault: Arc<Vault>,
    /// What bodies of commands may take.
    pub bodies: Arc<BodyMemory>,
    /// How many commands a key and a tenant may have carried out at a time.
    pub concurrency: ConcurrencyLimiter,
}

/// The write side of `/v1/admin`: `POST`, `PATCH`, `DELETE`. A request has to carry its [`events::ids::RequestId`], its
/// `Arc<`[`projections::caller::Caller`]`>` and its [`projections::caller::ClientOrigin`] as extensions; a reply has its
/// [`projections::caller::AtPosition`], a refusal its [`events::refusal::Refusal`].
pub fn routes(state: AdminState) -> Api {
    Api::of(Entrance::Administration)
        .merge(of_resource::<Partner>())
        .merge(of_resource::<Tenant>())
        .merge(of_resource::<User>())
        .merge(of_resource::<Key>())
        .post("/v1/admin/keys/{id}/rotate", resources::rotate, resources::described_rotation)
        .merge(of_resource::<Provider>())
        .merge(of_resource::<Model>())
        .merge(of_resource::<Price>())
        .merge(of_resource::<Budget>())
        .merge(of_resource::<RateLimit>())
        .with_state(state)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod tests;
