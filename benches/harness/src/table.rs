//! Tables of Markdown, a row at a time.

use std::io::{self, Write};

pub fn header(out: &mut impl Write, columns: &[&str]) -> io::Result<()> {
    let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    row(out, &columns)?;
    row(out, &vec!["---".to_owned(); columns.len()])
}

/// Shown at once: the next may take minutes.
pub fn row(out: &mut impl Write, cells: &[String]) -> io::Result<()> {
    writeln!(out, "| {} |", cells.join(" | "))?;
    out.flush()
}
