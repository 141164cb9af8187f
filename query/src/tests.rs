//! The routes over a real log, views and tables.

mod answers;
mod bounds;
mod listening;
pub mod plan;
pub mod world;
