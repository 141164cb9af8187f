//! What was measured, as tables: a row a phase while it runs, and at the end everything together beside what was aimed at.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use harness::figures::{Spread, hundredths, mebibytes, millis};
use harness::table;

use crate::crowd::{Kind, Met};
use crate::operator::Changed;
use crate::steady::PhaseResults;
use crate::usage::Shares;

/// One phase of a round.
pub struct Phase {
    pub came: PhaseResults,
    pub usage: Shares,
    pub changes: Changed,
    /// How long the `DELETE` of a key took at its end.
    pub deleted: Result<Duration, String>,
    /// The most memory that the gateway had since it was started, in bytes.
    pub peak: u64,
}

pub struct Round {
    pub alone: Phase,
    pub beside: Phase,
    /// How many connections of the crowd the gateway held so long after the `DELETE`.
    pub holds: Vec<(Duration, usize)>,
    pub crowd: BTreeMap<Kind, Met>,
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
            let Spread { p50, p99, max } = Spread::of(&mut phase.came.took.clone());
            let Shares { gateway, bench, others } = phase.usage;
            let cells = [
                number.to_string(),
                name.to_owned(),
                phase.came.took.len().to_string(),
                millis(p50),
                millis(p99),
                millis(max),
                gateway.to_string(),
                bench.to_string(),
                others.to_string(),
                phase.deleted.as_ref().map_or_else(|error| error.replace('|', "/"), |took| millis(*took)),
                mebibytes(phase.peak),
                phase.errors_in_words(),
            ];
            table::row(out, &cells)?;
        }
        Ok(())
    }
}

impl Phase {
    fn errors(&self) -> usize {
        self.came.errors + self.changes.errors + usize::from(self.deleted.is_err())
    }

    fn errors_in_words(&self) -> String {
        match &self.came.first_error {
            None => self.errors().to_string(),
            Some(first) => format!("{}: {}", self.errors(), first.replace('|', "/")),
        }
    }
}

/// All phases of one kind.
#[derive(Default)]
struct Side {
    took: Vec<Duration>,
    changes: Vec<Duration>,
    deleted: Vec<Duration>,
    errors: usize,
    peaks: Vec<u64>,
}

impl Side {
    fn add(&mut self, phase: Phase) {
        self.errors += phase.errors();
        self.took.extend(phase.came.took);
        self.changes.extend(phase.changes.took);
        self.deleted.extend(phase.deleted);
        self.peaks.push(phase.peak);
    }
}

/// All rounds.
#[derive(Default)]
pub struct Report {
    alone: Side,
    beside: Side,
    /// The 99th percentile of each round beside the crowd, in hundredths of that alone.
    growths: Vec<u128>,
    /// The most of any round.
    holds: BTreeMap<Duration, usize>,
    crowd: BTreeMap<Kind, Met>,
}

impl Report {
    pub fn add(&mut self, round: Round) {
        let Round { mut alone, mut beside, holds, crowd } = round;
        let [was, is] = [&mut alone, &mut beside].map(|phase| Spread::of(&mut phase.came.took).p99.as_micros());
        self.growths.push(is * 100 / was.max(1));
        self.alone.add(alone);
        self.beside.add(beside);
        for (after, number) in holds {
            let most = self.holds.entry(after).or_default();
            *most = number.max(*most);
        }
        for (kind, met) in crowd {
            self.crowd.entry(kind).or_default().add(met);
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
        for (after, held) in &self.holds {
            table::row(out, &[seconds(*after), held.to_string()])?;
        }
        Ok(())
    }

    fn write_figures(&mut self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nAll rounds:\n")?;
        table::header(out, &["figure", "alone", "beside the crowd", "times", "aim"])?;
        let mut row = |figure: &str, [alone, beside]: [Duration; 2], aim: &str| {
            let times = hundredths(beside.as_micros(), alone.as_micros());
            table::row(out, &[figure, &millis(alone), &millis(beside), &times, aim].map(str::to_owned))
        };
        let [alone, beside] = [&mut self.alone, &mut self.beside].map(|side| Spread::of(&mut side.took));
        row("whole answer, p50 ms", [alone.p50, beside.p50], "")?;
        row("whole answer, p99 ms", [alone.p99, beside.p99], "less than 2 times")?;
        let [alone, beside] = [&mut self.alone, &mut self.beside].map(|side| Spread::of(&mut side.changes));
        row("change of a limit by the operator, p50 ms", [alone.p50, beside.p50], "")?;
        row("the same, slowest, ms", [alone.max, beside.max], "")?;
        let [alone, beside] = [&mut self.alone, &mut self.beside].map(|side| Spread::of(&mut side.deleted).max);
        row("`DELETE` of a key by the operator, slowest, ms", [alone, beside], "less than 1000 ms")?;
        // The peak is that since the start: alone it is known of the first round only.
        let [alone, beside] = [self.alone.peaks.first(), self.beside.peaks.last()]
            .map(|peak| mebibytes(peak.copied().unwrap_or_default()));
        let memory = ["VmHWM, MiB", &alone, &beside, "", "less than 200 MiB"];
        table::row(out, &memory.map(str::to_owned))?;
        self.growths.sort_unstable();
        let growths: Vec<String> = self.growths.iter().map(|growth| hundredths(*growth, 100)).collect();
        writeln!(out, "\np99 of each round, times what it was alone, in order: {}", growths.join(", "))
    }

    fn write_crowd(&mut self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nThe crowd:\n")?;
        let after = ["refused after `DELETE`", "p50 s", "max s", "let in after it"];
        table::header(out, &[&["kind", "opened", "cut off", "answers"][..], &after].concat())?;
        for kind in Kind::ALL {
            let mut met = self.crowd.remove(&kind).unwrap_or_default();
            let answers: Vec<String> =
                met.answers.iter().map(|(status, number)| format!("{status}: {number}")).collect();
            let refused = Spread::of(&mut met.refused_after);
            let cells = [
                kind.as_str().to_owned(),
                met.opened.to_string(),
                met.cut_off.to_string(),
                answers.join(", "),
                met.refused_after.len().to_string(),
                seconds_of(&met.refused_after, refused.p50),
                seconds_of(&met.refused_after, refused.max),
                met.let_in.to_string(),
            ];
            table::row(out, &cells)?;
        }
        Ok(())
    }
}

/// Nothing where nothing was measured.
fn seconds_of(samples: &[Duration], duration: Duration) -> String {
    if samples.is_empty() { String::new() } else { seconds(duration) }
}

fn seconds(duration: Duration) -> String {
    hundredths(duration.as_millis(), 1000)
}
