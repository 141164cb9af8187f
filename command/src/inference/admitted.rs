//! The admission of a request: planned, and planned again while its plan is out of date, until the ledger has granted its hold.

mod admission;
pub mod ledger_failure;
pub mod planning;
