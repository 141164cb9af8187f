//! The plan of a request: its targets in their order, their prices, and the bound that is held for it. From one snapshot of the tables.

pub mod bound;
mod model_mode;
pub mod plan;
pub mod request_features;
pub mod too_much;
