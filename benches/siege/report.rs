//! The results as tables: a row per phase during the run, and at the end all rounds together, next to the aims.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use harness::figures::{Spread, hundredths, mebibytes, millis};
use harness::load::Tally;
use harness::table;

use crate::crowd::{CrowdStats, Kind};
use crate::operator::ChangeResults;
use crate::usage::Shares;

/// One phase of a round.
pub struct Phase {
    pub results: Tally,
    pub usage: Shares,
    pub changes: ChangeResults,
    /// The time of the `DELETE` of a key at the end of the phase.
    pub deleted: Result<Duration, String>,
    /// The peak memory of the gateway since its start, in bytes.
    pub peak: u64,
}

pub struct Round {
    pub alone: Phase,
    pub beside: Phase,
    /// The number of connections of the crowd that the gateway held at these times after the `DELETE`.
    pub held: Vec<(Duration, usize)>,
    pub crowd: BTreeMap<Kind, CrowdStats>,
}

pub fn header(out: &mut impl Write) -> io::Result<()> {
    let columns = [
        "round", "other tenant", "requests", "p50 ms", "p99 ms", "max ms", "gateway % of a core", "bench %",
        "others %", "DELETE ms", "VmHWM MiB", "errors",
    ];
    table::header(out, &columns)
}

impl Round {
    pub fn write(&self, out: &mut impl Write, number: u64) -> io::Result<()> {
        for (name, phase) in [("alone", &self.alone), ("beside the crowd", &self.beside)] {
            let Spread { p50, p99, max } = Spread::of(&mut phase.results.totals.clone());
            let Shares { gateway, bench, others } = phase.usage;
            let cells = [
                number.to_string(),
                name.to_owned(),
                phase.results.totals.len().to_string(),
                millis(p50),
                millis(p99),
                millis(max),
                gateway.to_string(),
                bench.to_string(),
                others.to_string(),
                phase.deleted.as_ref().map_or_else(|error| error.replace('|', "/"), |took| millis(*took)),
                mebibytes(phase.peak),
                phase.errors_as_text(),
            ];
            table::row(out, &cells)?;
        }
        Ok(())
    }
}

impl Phase {
    fn errors(&self) -> usize {
        self.results.errors + self.changes.errors + usize::from(self.deleted.is_err())
    }

    fn errors_as_text(&self) -> String {
        match &self.results.first_error {
            None => self.errors().to_string(),
            Some(first) => format!("{}: {}", self.errors(), first.replace('|', "/")),
        }
    }
}

/// The sum of all phases of one kind.
#[derive(Default)]
struct PhaseTotals {
    took: Vec<Duration>,
    changes: Vec<Duration>,
    deleted: Vec<Duration>,
    errors: usize,
    peaks: Vec<u64>,
}

impl PhaseTotals {
    fn add(&mut self, phase: Phase) {
        self.errors += phase.errors();
        self.took.extend(phase.results.totals);
        self.changes.extend(phase.changes.took);
        self.deleted.extend(phase.deleted);
        self.peaks.push(phase.peak);
    }
}

/// The sum of all rounds.
#[derive(Default)]
pub struct Report {
    alone: PhaseTotals,
    beside: PhaseTotals,
    /// For each round, the 99th percentile beside the crowd in hundredths of that alone.
    growths: Vec<u128>,
    /// The maximum of all rounds.
    held: BTreeMap<Duration, usize>,
    crowd: BTreeMap<Kind, CrowdStats>,
}

impl Report {
    pub fn add(&mut self, round: Round) {
        let Round { mut alone, mut beside, held, crowd } = round;
        let [without, with] =
            [&mut alone, &mut beside].map(|phase| Spread::of(&mut phase.results.totals).p99.as_micros());
        self.growths.push(with * 100 / without.max(1));
        self.alone.add(alone);
        self.beside.add(beside);
        for (after, number) in held {
            let highest = self.held.entry(after).or_default();
            *highest = number.max(*highest);
        }
        for (kind, stats) in crowd {
            self.crowd.entry(kind).or_default().add(stats);
        }
    }

    pub const fn is_without_errors(&self) -> bool {
        self.alone.errors + self.beside.errors == 0
    }

    pub fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.write_figures(out)?;
        self.write_crowd(out)?;
        writeln!(out, "\nConnections of the crowd that the gateway held after the `DELETE`, at most:\n")?;
        table::header(out, &["s after the answer", "held"])?;
        for (after, held) in &self.held {
            table::row(out, &[seconds(*after), held.to_string()])?;
        }
        Ok(())
    }

    fn write_figures(&mut self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nAll rounds:\n")?;
        table::header(out, &["figure", "alone", "beside the crowd", "times", "aim"])?;
        let mut row = |figure: &str, [alone, beside]: [Duration; 2], aim: &str| {
            let times = hundredths(beside.as_micros(), alone.as_micros());
            table::row(out, &[figure, &millis(alone), &millis(beside), &times, aim])
        };
        let [alone, beside] = [&mut self.alone, &mut self.beside].map(|phases| Spread::of(&mut phases.took));
        row("whole answer, p50 ms", [alone.p50, beside.p50], "")?;
        row("whole answer, p99 ms", [alone.p99, beside.p99], "less than 2 times")?;
        let [alone, beside] = [&mut self.alone, &mut self.beside].map(|phases| Spread::of(&mut phases.changes));
        row("change of a limit by the operator, p50 ms", [alone.p50, beside.p50], "")?;
        row("the same, slowest, ms", [alone.max, beside.max], "")?;
        let [alone, beside] = [&mut self.alone, &mut self.beside].map(|phases| Spread::of(&mut phases.deleted).max);
        row("`DELETE` of a key by the operator, slowest, ms", [alone, beside], "less than 1000 ms")?;
        // The peak counts from the start of the gateway: it is known alone only for the first round.
        let [alone, beside] = [self.alone.peaks.first(), self.beside.peaks.last()]
            .map(|peak| mebibytes(peak.copied().unwrap_or_default()));
        let memory = ["VmHWM, MiB", &alone, &beside, "", "less than 200 MiB"];
        table::row(out, &memory)?;
        self.growths.sort_unstable();
        let growths: Vec<String> = self.growths.iter().map(|growth| hundredths(*growth, 100)).collect();
        writeln!(out, "\np99 of each round, times what it was alone, from the lowest: {}", growths.join(", "))
    }

    fn write_crowd(&mut self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nThe crowd:\n")?;
        let after = ["refused after `DELETE`", "p50 s", "max s", "let in after it"];
        table::header(out, &[&["kind", "opened", "cut off", "answers"][..], &after].concat())?;
        for kind in Kind::ALL {
            let mut stats = self.crowd.remove(&kind).unwrap_or_default();
            let responses = stats.responses.iter().map(|(status, number)| format!("{status}: {number}"));
            let responses: Vec<String> = responses.collect();
            let refused = Spread::of(&mut stats.refused_after);
            let cells = [
                kind.as_str().to_owned(),
                stats.opened.to_string(),
                stats.cut_off.to_string(),
                responses.join(", "),
                stats.refused_after.len().to_string(),
                seconds_of(&stats.refused_after, refused.p50),
                seconds_of(&stats.refused_after, refused.max),
                stats.admitted_after_deletion.to_string(),
            ];
            table::row(out, &cells)?;
        }
        Ok(())
    }
}

/// Seconds; empty without samples.
fn seconds_of(samples: &[Duration], duration: Duration) -> String {
    if samples.is_empty() { String::new() } else { seconds(duration) }
}

fn seconds(duration: Duration) -> String {
    hundredths(duration.as_millis(), 1000)
}
