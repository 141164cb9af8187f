//! Ends what runs on a connection. An interrupt handle of SQLite would not do: it ends the statement that runs at that
//! moment, and where it comes between two, nothing.

use std::ffi::c_int;

use rusqlite::Connection;

use crate::log::interrupt::Interrupt;

/// Instructions of SQLite's virtual machine between two looks: tens of microseconds.
const LOOKS_EVERY: c_int = 1_000;

/// Statements that run meanwhile fail as interrupted once it is due.
pub fn watch<T>(connection: &Connection, interrupt: &Interrupt, work: impl FnOnce() -> T) -> T {
    let interrupt = interrupt.clone();
    connection.progress_handler(LOOKS_EVERY, Some(move || interrupt.is_due()));
    let worked = work();
    connection.progress_handler(0, None::<fn() -> bool>);
    worked
}
