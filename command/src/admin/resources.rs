//! The nine resources, a file each: the declaration of its fields, the rules about its state, whom its body may name, and
//! who may ask for it.

pub mod base_url;
pub mod handles;
pub mod names;
pub mod person;

mod budget;
mod issue;
mod key;
mod model;
mod partner;
mod price;
mod provider;
mod rate_limit;
mod scope;
mod tenant;
mod user;

pub use issue::issue;
pub use key::{described_rotation, rotate};

/// Characters of a resource's name.
const NAME_LEN_MAX: usize = 200;
