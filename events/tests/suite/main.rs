//! What the log and the ledger promise, from outside the crate.

mod facts;
mod golden;
mod ledger_model;
mod log_contract;
