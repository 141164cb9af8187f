//! The writing side of the gateway: routes that change resources, and the inference pipeline, which routes, prices, bounds and
//! relays requests.

pub mod admin;
pub mod body;
pub mod doctor;
pub mod environment;
pub mod figures;
pub mod idempotency;
pub mod inference;
mod ledger_unavailable;
pub mod model_explain;
pub mod opened_keys;
mod provider_get;
pub mod provider_health;
pub mod revaluation;
mod service_account;
pub mod tokens;
pub mod trace;
