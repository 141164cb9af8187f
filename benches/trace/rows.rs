//! A trace: the arrival times and sizes of requests.

use std::fs;
use std::path::Path;
use std::time::Duration;

pub struct Trace {
    pub name: String,
    pub rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The time since the first request.
    pub at: Duration,
    pub input_tokens: u64,
    /// The cached part of the input.
    pub cached_tokens: u64,
    pub output_tokens: u64,
}

impl Trace {
    /// Reads the first `rows_max` rows of a file with the columns `t_ms`, `input_tokens`, `output_tokens` and optionally
    /// `prefix_hit_tokens`.
    pub fn read(file: &Path, rows_max: usize) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("read {}: {error}", file.display()))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let rows = rows(&text, rows_max).map_err(|why| format!("{}: {why}", file.display()))?;
        Ok(Self { name, rows })
    }

    /// The recorded time from the first request to the last.
    pub fn length(&self) -> Duration {
        self.rows.last().map(|row| row.at).unwrap_or_default()
    }
}

fn rows(text: &str, rows_max: usize) -> Result<Vec<Row>, String> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    let find = |name: &str| names.iter().position(|other| *other == name);
    let need = |name: &str| find(name).ok_or_else(|| format!("has no column {name}"));
    let (at, input, output) = (need("t_ms")?, need("input_tokens")?, need("output_tokens")?);
    let cached = find("prefix_hit_tokens");
    let mut rows = Vec::new();
    for (number, line) in lines.take(rows_max).enumerate() {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let cell = |column: usize| {
            let cell = cells.get(column).and_then(|cell| cell.parse().ok());
            cell.ok_or_else(|| format!("line {} has a cell that is not a number", number + 2))
        };
        rows.push(Row {
            at: Duration::from_millis(cell(at)?),
            input_tokens: cell(input)?,
            cached_tokens: cached.map_or(Ok(0), cell)?,
            output_tokens: cell(output)?,
        });
    }
    if rows.is_empty() { Err("has no rows".to_owned()) } else { Ok(rows) }
}
