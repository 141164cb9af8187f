//! Facts: ids, money, time, event types, canonical JSON, and the log with its ledger; and what the other crates share, because
//! they do not know each other. This crate knows no HTTP and no provider.
//!
//! - `log`, `ledger`: the ordered, durable events, and the decisions about money. `verify` checks both offline.
//! - `explain`: one recorded request, decided again. `recorded_route`: its route as its events say it, and in words.
//! - `event`, `ids`, `money`, `time`, `usage`, `limit`, `refusal`: what events consist of.
//! - `routing`, `output_cap`: the order of a model's targets, and the caps on their output: pure functions, which the log can
//!   be compared with.
//! - `decision_time`: how near a date must be for a decision to record its time.
//! - `maintenance`: when providers and targets are not called.
//! - `role`: what one process at a time does for all, and how it reports.
//! - `backoff`: the pauses between attempts.
//! - `shown_text`: what other programs say, as people are shown it.
//! - `concurrency`: how many queries, commands and event streams a key and a tenant may have at a time.
//! - `content`: what the record keeps of prompts and answers.
//! - `secret`: a text that must not be shown.
//! - `private`: files and folders that only their owner may use.

pub mod backoff;
pub mod canonical;
mod compact_json;
pub mod concurrency;
pub mod content;
pub mod decision_time;
mod digits;
pub mod event;
pub mod explain;
pub mod fraction;
pub mod free_space;
pub mod hex;
pub mod ids;
pub mod ledger;
pub mod limit;
pub mod log;
pub mod maintenance;
pub mod money;
pub mod named;
pub mod nearest_name;
pub mod output_cap;
pub mod plain_json;
pub mod private;
pub mod recorded_route;
pub mod refusal;
pub mod role;
pub mod routing;
pub mod scope_index;
pub mod secret;
pub mod shown_text;
pub mod terms;
mod text_on_the_wire;
pub mod thread_priority;
pub mod time;
pub mod usage;
pub mod verify;
