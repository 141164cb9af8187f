//! Markdown tables, printed row by row.

use std::borrow::Borrow;
use std::io::{self, Write};

/// Prints the titles of the columns.
pub fn header(out: &mut impl Write, columns: &[&str]) -> io::Result<()> {
    row(out, columns)?;
    row(out, &vec!["---"; columns.len()])
}

/// Prints a row and flushes: the next one may take minutes.
pub fn row<S: Borrow<str>>(out: &mut impl Write, cells: &[S]) -> io::Result<()> {
    writeln!(out, "| {} |", cells.join(" | "))?;
    out.flush()
}
