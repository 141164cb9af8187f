//! The instructions that a request may cost: the table `[instructions]` of `benches/budgets.toml`, a line for each load with its
//! rooms. The file has many budgets, and this reads the lines of that one table.

use std::fs;

use crate::callgrind::Instructions;
use crate::load::Load;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/budgets.toml");
const TABLE: &str = "[instructions]";
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
    /// Errors: the file cannot be read, or has a line in that table that is not one.
    pub fn read() -> Result<Self, String> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        let lines = text.lines().skip_while(|line| *line != TABLE).skip(1).take_while(|line| !line.starts_with('['));
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| read_line(line).ok_or_else(|| format!("{FILE}: {line:?}"))).collect::<Result<_, _>>().map(Self)
    }

    pub fn compare(&self, load: &Load, counted: &Instructions) -> Verdict {
        let budget = self.0.iter().find(|(name, _)| *name == load.name());
        budget.map_or(Verdict::New, |(_, budget)| verdict(budget, counted))
    }
}

/// `"whole governed 1" = [170053, 152053, 75313, 10996]`.
fn read_line(line: &str) -> Option<(String, Instructions)> {
    let (name, counts) = line.split_once(" = ")?;
    let counts = counts.strip_prefix('[')?.strip_suffix(']')?.split(", ");
    let counts: Vec<u64> = counts.map(|count| count.parse().ok()).collect::<Option<_>>()?;
    Some((name.trim_matches('"').to_owned(), Instructions::new(counts.try_into().ok()?)))
}

/// Compares closely what each request costs for itself. Work that is done in batches costs each request more when batches are small, and
/// that depends on what else the machine does.
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
