//! Targets: as a plan has them, and the knowledge of this node about them and their providers, with the bounds on the calls to them.

pub mod breakers;
pub mod gateway_facts;
pub mod health;
pub mod observed_targets;
pub mod retry_budget;
pub mod target;
pub mod target_places;
pub mod upstream_calls;
