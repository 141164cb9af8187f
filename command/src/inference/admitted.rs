//! The admission of a request: planned, and planned again while its plan is out of date, until the ledger has granted its hold.

mod admission;
pub mod admitted_request;
pub mod ledger_failure;
mod planning;
