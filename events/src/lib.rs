//! Facts: ids, money, time, event types, canonical JSON, and the log with its ledger. This crate knows no HTTP and no
//! provider.

pub mod canonical;
pub mod concurrency;
pub mod event;
pub mod fraction;
pub mod ids;
pub mod ledger;
pub mod limit;
pub mod log;
pub mod money;
pub mod named;
pub mod nearest_name;
pub mod output_cap;
pub mod private;
pub mod refusal;
pub mod routing;
pub mod time;
pub mod usage;
pub mod verify;
