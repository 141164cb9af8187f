//! The instructions that a request may cost, in `budget.csv`: a line per load, with its rooms.

use std::fs;
use std::io;

use crate::callgrind::{Instructions, Room};
use crate::load::Load;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/budget.csv");
const HEADER: &str = "load,request path,writer,views,other";
/// Counts differ a little from run to run.
const TOLERANCE_PERCENT: u64 = 3;
/// The same build was counted with once and with twice the instructions of the views, beside other work and without.
const BATCHES_TIMES_MAX: u64 = 2;

/// How a count compares with its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Within,
    Worse,
    Better,
    /// The file has no line for this load.
    New,
}

/// The counts of each load that the file has.
pub struct Budget(Vec<(String, Instructions)>);

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
        budget.map_or(Verdict::New, |(_, budget)| verdict(budget, counted))
    }
}

fn read_line(line: &str) -> Option<(String, Instructions)> {
    let (name, counts) = line.split_once(',')?;
    let counts: Vec<u64> = counts.split(',').map(|count| count.parse().ok()).collect::<Option<_>>()?;
    Some((name.to_owned(), Instructions::new(counts.try_into().ok()?)))
}

/// What each request costs for itself is compared closely. Work that is done in batches costs each request more when batches are small,
/// and that depends on what else the machine does.
fn verdict(budget: &Instructions, counted: &Instructions) -> Verdict {
    let (limit, cost) = (budget.by_request(), counted.by_request());
    if cost * 100 > limit * (100 + TOLERANCE_PERCENT) || counted.in_batches() > budget.in_batches() * BATCHES_TIMES_MAX
    {
        Verdict::Worse
    } else if cost * 100 < limit * (100 - TOLERANCE_PERCENT) {
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
