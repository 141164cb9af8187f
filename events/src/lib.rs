//! Facts: ids, money, time, event types, canonical JSON, and the rules of the ledger; and what the other crates share, because
//! they do not know each other. This crate knows no database and no async runtime, no HTTP and no provider; the log, which
//! makes events durable, is a crate above it.
//!
//! - `ledger`: the decisions about money, and the balances that events add up to.
//! - `recorded_route`: the route of a request as its events say it, and in words.
//! - `event`, `ids`, `money`, `time`, `usage`, `limit`, `refusal`: what events consist of.
//! - `abilities`: what targets are stated to be able to do, and requests to need.
//! - `routing`, `output_cap`: the order of a model's targets, and the caps on their output: pure functions, which the log can
//!   be compared with.
//! - `decision_time`: how near a date must be for a decision to record its time.
//! - `maintenance`: when providers and targets are not called.
//! - `shown_text`: what other programs say, as people are shown it.
//! - `content`: what the record keeps of prompts and answers.
//! - `secret`: a text that must not be shown.
//! - `private`: files and folders that only their owner may use.

// So that `named!` names its parts alike in all crates, without a dependency of theirs.
extern crate self as events;
#[doc(hidden)]
pub use serde;

pub mod abilities;
pub mod canonical;
pub mod compact_json;
pub mod content;
pub mod decision_time;
mod digits;
pub mod event;
pub mod fraction;
pub mod hex;
pub mod ids;
pub mod ledger;
pub mod limit;
pub mod maintenance;
pub mod money;
pub mod named;
pub mod named_set;
pub mod nearest_name;
pub mod output_cap;
pub mod plain_json;
pub mod private;
pub mod recorded_route;
pub mod refusal;
pub mod refused_parameters;
pub mod routing;
pub mod scope_index;
pub mod secret;
pub mod shown_text;
pub mod terms;
mod text_on_the_wire;
pub mod time;
pub mod usage;
