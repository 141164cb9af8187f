//! One node's parts for all requests: the [`Gateway`](gateway::Gateway) with its parts, and the bounds on work without a client.

pub mod abandoned;
pub mod content;
pub mod copies;
pub mod gateway;
