//! The results as tables, next to their bounds.

use std::io::{self, Write};
use std::time::Duration;

use harness::figures::{Spread, hundredths, mebibytes, millis};
use harness::load::Tally;
use harness::table;
use testing::hostile_tenants::{Act, Answers};

use super::alerts::AlertLag;
use super::commands::CommandResults;

/// The most that the 99th percentile of honest requests may be, times what it is alone.
const GROWTH_MAX: u32 = 3;
const COMMAND_MAX: Duration = Duration::from_secs(1);
const MEMORY_MAX: u64 = 400 * 1024 * 1024;
/// The longest that an honest tenant's alert, or an event on NATS, may take.
pub const LAG_MAX: Duration = Duration::from_secs(10);

pub struct Phase {
    pub results: Tally,
    pub commands: CommandResults,
    pub alerts: AlertLag,
    /// `None` without NATS.
    pub relay: Option<Duration>,
    /// The peak memory of the gateway since its start, in bytes.
    pub peak: u64,
}

pub struct Report {
    pub alone: Phase,
    pub beside: Phase,
    pub answers: Answers,
    /// Alerts of all tenants that were received.
    pub alerts: usize,
    /// Whether the gateway ended well and `ledgerway verify` found no fault.
    pub is_sound: bool,
}

/// A line of the table.
struct Line {
    figure: &'static str,
    alone: String,
    beside: String,
    bound: String,
    is_within: bool,
}

impl Report {
    /// Writes the tables. Returns whether all figures are within their bounds.
    pub fn write(mut self, out: &mut impl Write) -> io::Result<bool> {
        let lines = self.lines();
        table::header(out, &["figure", "alone", "beside the hostile tenants", "bound", ""])?;
        for Line { figure, alone, beside, bound, is_within } in &lines {
            let mark = if *is_within { "" } else { "exceeded" };
            table::row(out, &[*figure, alone, beside, bound, mark])?;
        }
        for (name, phase) in [("alone", &self.alone), ("beside", &self.beside)] {
            for error in [&phase.results.first_error, &phase.commands.tally.first_error].into_iter().flatten() {
                writeln!(out, "\nfirst error {name}: {error}")?;
            }
        }
        writeln!(
            out,
            "\nThe hostile tenants, of whose alerts and those of honest ones {} were received:\n",
            self.alerts
        )?;
        table::header(out, &["act", "done", "succeeded", "answered otherwise"])?;
        for act in Act::ALL {
            let by_status = self.answers.remove(&act).unwrap_or_default();
            let (succeeded, otherwise): (Vec<_>, Vec<_>) =
                by_status.into_iter().partition(|(status, _)| (200..300).contains(status));
            let sum = |answers: &[(u16, usize)]| answers.iter().map(|(_, number)| number).sum::<usize>();
            let (done, succeeded) = (sum(&succeeded) + sum(&otherwise), sum(&succeeded));
            let text = |(status, number): &(u16, usize)| match status {
                0 => format!("none: {number}"),
                status => format!("{status}: {number}"),
            };
            let otherwise: Vec<String> = otherwise.iter().map(text).collect();
            table::row(out, &[act.as_str(), &done.to_string(), &succeeded.to_string(), &otherwise.join(", ")])?;
        }
        Ok(self.is_sound && lines.iter().all(|line| line.is_within))
    }

    fn lines(&mut self) -> Vec<Line> {
        let [alone, beside] = [&mut self.alone, &mut self.beside].map(|phase| Spread::of(&mut phase.results.totals));
        let [commands_alone, commands] =
            [&mut self.alone, &mut self.beside].map(|phase| Spread::of(&mut phase.commands.tally.totals));
        let (before, during) = (&self.alone, &self.beside);
        let times = hundredths(beside.p99.as_micros(), alone.p99.as_micros());
        let lag = |phase: &Phase| format!("{}, missing: {}", millis(phase.alerts.longest), phase.alerts.missing);
        let relay = |phase: &Phase| phase.relay.map_or_else(|| "no NATS".to_owned(), millis);
        let line = |figure, [alone, beside]: [String; 2], bound: &str, is_within| Line {
            figure,
            alone,
            beside,
            bound: bound.to_owned(),
            is_within,
        };
        let both = |of: &dyn Fn(&Phase) -> String| [of(before), of(during)];
        let failed = before.results.errors + during.results.errors;
        let failed_commands = before.commands.tally.errors + during.commands.tally.errors;
        vec![
            line("honest requests", both(&|phase| phase.results.totals.len().to_string()), "", true),
            line("p50 ms", [millis(alone.p50), millis(beside.p50)], "", true),
            line(
                "p99 ms",
                [millis(alone.p99), format!("{}: {times} times", millis(beside.p99))],
                "less than 3 times",
                beside.p99 < alone.p99 * GROWTH_MAX,
            ),
            line("failed honest requests", both(&|phase| phase.results.errors.to_string()), "none", failed == 0),
            line(
                "command of the operator, p99 ms",
                [millis(commands_alone.p99), millis(commands.p99)],
                "less than 1000 ms",
                commands.p99 < COMMAND_MAX,
            ),
            line(
                "failed commands",
                both(&|phase| phase.commands.tally.errors.to_string()),
                "none",
                failed_commands == 0,
            ),
            line(
                "alert of an honest tenant, slowest, ms",
                both(&lag),
                "less than 10000 ms",
                during.alerts.longest < LAG_MAX && during.alerts.missing == 0,
            ),
            line(
                "relay behind the log, at most, ms",
                both(&relay),
                "less than 10000 ms",
                during.relay.is_none_or(|lag| lag < LAG_MAX),
            ),
            line("VmHWM, MiB", both(&|phase| mebibytes(phase.peak)), "less than 400 MiB", during.peak < MEMORY_MAX),
        ]
    }
}
