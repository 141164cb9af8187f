//! The twelve resources, a file each: the declaration of its fields, the rules for its state, the references that its body may
//! have, and the callers that may change it.
//!
//! What several of them need is next to these files: `prelude.rs` (what they all import), `handles.rs` (`slug` and
//! `external_id`), `bounds.rs` (how much an owner may have), `scope.rs`, `base_url.rs`, `person.rs`, `key_secret.rs`,
//! `key_state.rs` (a key at its provider), and
//! `made_by_gateway.rs`, which refuses changes of what the gateway made itself. `docs/adding-a-field.md` says how to add a
//! field.

mod abilities;
pub mod base_url;
mod handles;
pub mod person;

mod audit_search;
mod bounds;
mod budget;
mod erasure;
mod key;
mod key_secret;
mod key_state;
mod labels;
mod made_by_gateway;
mod maintenance;
mod model;
mod model_patterns;
mod partner;
mod prelude;
mod price;
mod provider;
mod provider_key;
mod rate_limit;
mod scope;
mod team;
mod tenant;
pub mod terms;
mod user;

pub use erasure::{described_erasure, erase};
pub use key::{described_rotation, rotate};
pub use key_secret::issue_secret;

/// The longest name of a resource, in characters.
const NAME_LEN_MAX: usize = 200;
