//! How routes are described. A route and its description are given together, so that none can be without one, and
//! `/openapi.json` is made of what the router is made of.

mod api;
mod deprecations;
mod document;
mod entrance;
pub mod headers;
mod operation;
pub mod refusals;
pub mod resource;
pub mod schema;

pub use api::{Api, Described, Route};
pub use deprecations::{DEPRECATIONS, Deprecation};
pub use entrance::Entrance;
pub use operation::{Answer, Operation};
pub use schema::Shape;
