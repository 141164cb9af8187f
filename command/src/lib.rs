//! The writing side of the gateway: routes that change resources, and the inference pipeline, which routes, prices, bounds and
//! relays requests.
//!
//! - `admin`: the twelve resources. `environment`: providers from the environment, and models that appear by themselves.
//! - `inference`: the request path, a file for each step. `model_explain`: the order for a request that is not sent.
//! - `revaluation`: follows changes of prices, and re-values the requests that they concern.
//! - `doctor`: checks of providers and targets that cost nothing. `provider_health`: the routes that show and reset what this
//!   node has measured of providers. `provider_get`: the bounded `GET` of both the doctor and the discovery of models.
//! - `body`: request bodies, bounded in size, time and speed, and the memory that they and responses may take.
//! - `idempotency`: recognizes a request that is sent again; the log's inference keys decide what the gateway answers.
//! - `tokens`: counts a prompt's tokens if a budget is too short for the bound by bytes, and estimates for
//!   `/v1/messages/count_tokens`.
//! - `opened_keys`: drops opened keys from memory when they are no longer in force.
//! - `figures`: metrics of the request path. `trace`: a client's trace context, and the export of spans to a collector.

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
