//! Routes with their descriptions. A route is declared together with its entrance and its description ([`Api`]), and
//! `/openapi.json` is generated from the routes that the router has. So no route lacks a description, none is described that
//! does not exist, and the security that the document states is the one that the door enforces.
//!
//! It does not check that a handler does what its description says: the tests compare parameters, fields and refusals with
//! the running gateway. Schemas are written with a small vocabulary (`schema.rs`), not derived from Rust types: what clients
//! see must not change when a type does.
//!
//! Descriptions are functions, called when the document is first requested: most processes never need it. Administration goes
//! one step further (`command/src/admin/declaration.rs`): a field is declared once, and the bodies, the reply and their schemas
//! follow.

mod answer;
mod api;
mod deprecations;
mod document;
mod entrance;
pub mod headers;
mod json;
mod operation;
pub mod refusals;
pub mod schema;

pub use answer::Answer;
pub use api::{Api, Described, Route};
pub use deprecations::{DEPRECATIONS, Deprecation, deprecation_headers};
pub use entrance::Entrance;
pub use json::Json;
pub use operation::Operation;
pub use schema::Shape;
