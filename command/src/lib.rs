//! The writing side of the gateway: routes that change resources, and the inference pipeline, which routes, prices, bounds and
//! relays requests.
//!
//! - `admin`: the twelve resources. `environment`: providers from the environment, and models that appear by themselves.
//! - `inference`: the request path, a file for each step. `model_explain`: the order for a request that is not sent.
//! - `revaluation`: follows changes of prices, and re-values the requests that they concern.
//! - `doctor`: checks of providers and targets that cost nothing. `provider_health`: the routes that show and reset what this
//!   node has measured of providers. `provider_get`: the bounded `GET` of both the doctor and the discovery of models.
//!   `provider_clock`: the time that an answer says, for the doctor and for the first answer of a target.
//! - `body`: request bodies, bounded in size, time and speed, and the memory that they and responses may take.
//! - `idempotency`: recognizes a request that is sent again; the log's inference keys decide what the gateway answers.
//! - `tokens`: counts a prompt's tokens if a budget is too short for the bound by bytes, and estimates for
//!   `/v1/messages/count_tokens`.
//! - `opened_keys`: drops opened keys from memory when they are no longer in force. `secret_headers`: the headers of providers that
//!   are sealed as keys are. `credential_like`: what looks like a credential where events would record it.
//! - `figures`: metrics of the request path. `trace`: a client's trace context, and the export of spans to a collector.

pub mod admin;
pub mod body;
mod credential_like;
pub mod doctor;
pub mod environment;
pub mod figures;
pub mod idempotency;
pub mod inference;
mod ledger_unavailable;
pub mod model_explain;
pub mod opened_keys;
mod provider_clock;
mod provider_get;
pub mod provider_health;
pub mod revaluation;
mod secret_headers;
mod service_account;
mod tokens;
pub mod trace;
