//! The copy for analysts, in PostgreSQL and in a file, made of the views of a log.

mod copies;
mod questions;
mod rights;
mod world;
