//! A copy of the views for analysts, in plain SQL types and with names beside ids, in the schema `views` of the database that has the
//! ledger. Its rows are those of a node's views; nothing is computed here. Beside a ledger in a data folder there is none: analysts read
//! the views' own file (`projections/src/views/sql_views.rs`).
//!
//! The process with the role `analysts` copies. It reads which rows of its own views changed after the position that the copy has
//! ([`projections::views::CopySource`]), writes them, and moves that position in the same transaction, only from where it read it and
//! only if no later lease has moved it: of two copiers at once, one fails and begins again. Where the changes are not known, it
//! copies whole views, also in one transaction, so that analysts never see a part.
//!
//! Nothing reads the copy but analysts and `verify --copy`. No decision and no query of a client waits for it, and no person's name
//! is in it. It can be deleted at any time, and does not wait for the disk: what a crash takes is copied again.

mod compare;
mod copied;
mod copier;
mod copy_writer;
mod error;
mod migrate;
mod reading;
mod table;
mod value;

pub use compare::{CompareCopyError, CopyComparison, compare};
pub use copier::Copier;
pub use error::CopyError;
pub use migrate::{MigrateError, migrate};

/// The version of the tables of the copy.
const LAYOUT: i64 = 1;
