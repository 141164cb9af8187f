//! From a request's body to a command, a file a resource: which fields there are, whose references they are, and who
//! may ask for it. No rule about what a resource can be stands here: those are the aggregates'.

pub mod handles;
pub mod key;
pub mod model;
pub mod names;
pub mod partner;
pub mod provider;
pub mod tenant;
pub mod user;

mod budget;
mod price;
mod rate_limit;
mod scope;

/// Characters of a resource's name.
const NAME_LEN_MAX: usize = 200;
