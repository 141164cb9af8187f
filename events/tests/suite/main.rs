//! Tests of the guarantees of the log and the ledger, from outside the crate.

mod affordable;
mod alerts;
mod costs;
mod damage;
mod facts;
mod following;
mod fuzz;
mod golden;
mod ground;
mod inference_keys;
mod large_sums;
mod ledger_model;
mod log_contract;
mod one_batch;
mod outages;
mod owned_parts;
mod parts;
mod past_windows;
mod refusals;
mod released;
mod revaluation;
mod several_nodes;
mod shared_reader;
mod skip_hunt;
mod stale;
mod unrecordable;
