//! gRPC: a tail of the log and reports of usage for programs, with health and reflection.
//!
//! The methods are routes behind the gateway's door, as the queries over HTTP are: it authenticates the caller, gives the
//! call its id, counts it, logs it, records who was refused, and refuses new calls while the gateway drains. A service
//! reads its parameters from a message instead of a query string, and asks `query` the same question; so permits, limits,
//! reach and the re-check of keys are the same.
//!
//! A refusal is a response with an empty body and a `Refusal` among its extensions, as over HTTP; the door has
//! [`write_refusal`] write it as a gRPC status.
//!
//! tonic's own server was rejected: it would have had an accept loop, limits, timeouts, log lines and metrics of its own
//! beside those that the gateway has.

mod call;
mod health;
mod message;
mod method;
mod open_calls;
pub mod proto;
mod reflection;
mod report;
mod status;
mod tail;
mod timed_body;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use events::refusal::{ErrorCode, Refusal};
use message::MessageBounds;
use openapi::Entrance;
use query::QueryState;

pub use call::is_call;
pub use health::Readiness;
pub use status::write_refusal;

/// The only method whose calls may have no end.
const TAIL: &str = "/ledgerway.v1.Events/Tail";
const REPORT: &str = "/ledgerway.v1.Usage/Report";
const HEALTH: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Several times what the parameters of any report take.
const KEY_MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// The most bytes of messages that arrive at a time, of all calls with a key.
const KEY_MESSAGES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// More than any service's name takes. These bytes are not counted, so that calls without a key cannot keep probes of health out.
const HEALTH_MESSAGE_BYTES_MAX: usize = message::UNCOUNTED_BYTES;

/// The paths of all methods, with their entrances. Health and reflection need no key, as over HTTP.
pub fn entrances() -> impl Iterator<Item = (&'static str, Entrance)> {
    let of_keys = [TAIL, REPORT].map(|path| (path, Entrance::Key));
    of_keys.into_iter().chain(HEALTH.into_iter().chain(REFLECTION).map(|path| (path, Entrance::Open)))
}

/// True for a method whose calls may never end by themselves.
pub fn may_be_endless(path: &str) -> bool {
    path == TAIL
}

/// Every method. Those behind [`Entrance::Key`] expect an `Arc<Caller>` among the request's extensions.
///
/// Errors: the descriptors of this build cannot be read.
pub fn routes(state: QueryState, readiness: Readiness) -> Result<Router, tonic_reflection::server::Error> {
    let concurrency = state.concurrency.clone();
    let of_keys = MessageBounds::new(KEY_MESSAGE_BYTES_MAX, KEY_MESSAGES_BYTES_MAX);
    let ours = Router::new()
        .route(TAIL, tail::route(state.clone()))
        .route(REPORT, report::route(state))
        .layer(from_fn_with_state(concurrency, query::count_unread_bytes))
        .layer(from_fn_with_state(of_keys, message::arrived_whole));
    let of_health = MessageBounds::new(HEALTH_MESSAGE_BYTES_MAX, 0);
    let health = health::routes(readiness).layer(from_fn_with_state(of_health, message::arrived_whole));
    let all = ours.merge(health).merge(reflection::routes()?);
    Ok(all.layer(map_response(status::with_refusal)).layer(from_fn(call::required)))
}

/// The refusal of a path that is no method.
pub fn no_such_method(path: &str) -> Refusal {
    let message = format!("this address serves gRPC, and there is no method {path:.200}");
    Refusal::new(ErrorCode::MethodNotAllowed, message)
}
