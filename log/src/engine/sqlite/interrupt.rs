//! Interruptible statements. SQLite's interrupt handle would not suffice: it stops only the statement that is running at that
//! moment, and has no effect between two statements.

use std::ffi::c_int;

use rusqlite::Connection;

use crate::interrupt::Interrupt;

/// Instructions of SQLite's virtual machine between two checks: tens of microseconds.
const CHECK_EVERY: c_int = 1_000;

/// Runs `work`, whose statements fail as interrupted once `interrupt` is due.
pub fn interruptible<T>(connection: &Connection, interrupt: &Interrupt, work: impl FnOnce() -> T) -> T {
    let interrupt = interrupt.clone();
    connection.progress_handler(CHECK_EVERY, Some(move || interrupt.is_due()));
    let result = work();
    connection.progress_handler(0, None::<fn() -> bool>);
    result
}
