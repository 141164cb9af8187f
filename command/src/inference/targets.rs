//! The knowledge of this node about targets and their providers, and the bounds on the calls to them: one of each for the whole process.

pub mod breakers;
pub mod gateway_facts;
pub mod health;
pub mod observed_targets;
pub mod retry_budget;
pub mod target;
pub mod target_places;
pub mod upstream_calls;
