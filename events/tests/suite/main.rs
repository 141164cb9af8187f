//! Tests of the guarantees of events and of the ledger, from outside the crate.

mod affordable;
mod costs;
mod facts;
mod fuzz;
mod golden;
mod ledger_model;
mod past_windows;
mod refusals;
mod released;
mod restored_holds;
