//! The routes over a real log, views and tables.

mod answers;
mod as_of;
mod bounds;
mod content;
mod described;
mod forms;
mod listening;
mod maximum;
mod models;
mod names;
mod ranges;
mod reads;
mod rights;
mod tails;
pub mod world;
