//! The tables that analysts read: the copy in PostgreSQL, and the SQL views of the views' own file.

mod copies;
mod questions;
mod rights;
mod same_rows;
mod world;
