//! The script on real servers, against a model that knows every count.

mod model;
mod nodes;
mod servers;
