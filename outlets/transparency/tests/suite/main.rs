//! The published log: what is published of a ledger, by which steps, and what is refused.

mod attacks;
mod damage;
mod ledger;
mod publishing;
mod reading;
mod rotation;
mod witnessing;
