//! The instructions that a request may cost, in `budget.csv`: a line per load, with its rooms.

use std::fs;
use std::io;

use crate::callgrind::{Instructions, Room};
use crate::load::Load;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/budget.csv");
const HEADER: &str = "load,request path,writer,views,other";
/// Counts differ a little from run to run, with the sizes of batches.
const TOLERANCE_PERCENT: u64 = 3;

/// How a sum compares with its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Within,
    Worse,
    Better,
    /// The file has no line for this load.
    New,
}

/// The sum of each load that the file has.
pub struct Budget(Vec<(String, u64)>);

impl Budget {
    /// Errors: the file is there and cannot be read, or has a line that is not one.
    pub fn read() -> Result<Self, String> {
        let text = match fs::read_to_string(FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{FILE}: {error}")),
        };
        let lines = text.lines().skip(1).map(|line| read_line(line).ok_or_else(|| format!("{FILE}: {line:?}")));
        lines.collect::<Result<_, _>>().map(Self)
    }

    pub fn compare(&self, load: &Load, counted: &Instructions) -> Verdict {
        let budget = self.0.iter().find(|(name, _)| *name == load.name());
        budget.map_or(Verdict::New, |(_, budget)| verdict(*budget, counted.sum()))
    }
}

fn read_line(line: &str) -> Option<(String, u64)> {
    let (name, counts) = line.split_once(',')?;
    let counts: Vec<u64> = counts.split(',').map(|count| count.parse().ok()).collect::<Option<_>>()?;
    (counts.len() == Room::ALL.len()).then(|| (name.to_owned(), counts.iter().sum()))
}

fn verdict(budget: u64, sum: u64) -> Verdict {
    if sum * 100 > budget * (100 + TOLERANCE_PERCENT) {
        Verdict::Worse
    } else if sum * 100 < budget * (100 - TOLERANCE_PERCENT) {
        Verdict::Better
    } else {
        Verdict::Within
    }
}

/// Replaces the file.
pub fn write(counted: &[(Load, Instructions)]) -> io::Result<()> {
    let line = |(load, counted): &(Load, Instructions)| {
        let counts = Room::ALL.map(|room| counted.of(room).to_string());
        format!("{},{}\n", load.name(), counts.join(","))
    };
    fs::write(FILE, format!("{HEADER}\n{}", counted.iter().map(line).collect::<String>()))
}
