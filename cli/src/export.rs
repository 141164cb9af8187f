//! `ledgerway export`: prints the events of a range of positions, as JSON Lines or as CSV, from a ledger or from an archive.
//! Exit 0 done, 1 failed, 2 not begun.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use archive::{Archive, ReadError, Segments};
use csv::{Terminator, WriterBuilder};
use events::canonical;
use events::event::Recorded;
use events::plain_json;
use events_log::{PAGE_EVENTS, Reader};
use serde_json::Value;

use super::Failure;
use super::ledger_place::LedgerPlace;
use super::object_store::named_archive;
use super::runtime::CommandRuntime;
use crate::arguments::{EXPORT_FORMATS, ExportArgs};
use crate::settings::Flags;

const COLUMNS: [&str; 12] = [
    "position", "recorded_at", "type", "stream", "sequence", "actor", "partner_id", "tenant_id", "user_id", "key_id",
    "request_id", "data",
];

/// The positions to print.
#[derive(Clone, Copy)]
struct Range {
    from: u64,
    /// `None` for the last one that there is.
    to: Option<u64>,
}

/// Why printing ended early.
enum ExportStopped {
    /// Nobody reads on.
    Closed,
    Failed(Failure),
}

pub fn run(args: &ExportArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let range = Range::read(args)?;
    let mut out = ExportOutput::new(&args.format)?;
    let printed = match &args.archive {
        Some(address) => {
            let archive = named_archive(Some(address))?;
            runtime.block_on(print_archive(&archive, range, &mut out))
        }
        None => {
            let ledger = LedgerPlace::find_alone(&args.ledger, flags)?;
            let reader = ledger.open_shared_with_a_gateway()?;
            print_log(&*reader, range, &mut out)
        }
    };
    match printed.and_then(|()| out.flush()) {
        Ok(()) | Err(ExportStopped::Closed) => Ok(()),
        Err(ExportStopped::Failed(failure)) => Err(failure),
    }
}

impl Range {
    fn read(args: &ExportArgs) -> Result<Self, Failure> {
        let position = |flag: &str, text: &str| {
            let position: Option<u64> = text.parse().ok().filter(|position| *position > 0);
            position.ok_or_else(|| {
                Failure::NotBegun(format!("{flag} is {text:?}, but must be a position, for example {flag} 1"))
            })
        };
        let from = position("--from", &args.from)?;
        let to = args.to.as_deref().map(|to| position("--to", to)).transpose()?;
        if to.is_some_and(|to| to < from) {
            return Err(Failure::NotBegun("--to is before --from".to_owned()));
        }
        Ok(Self { from, to })
    }

    fn has(self, position: u64) -> bool {
        position >= self.from && self.to.is_none_or(|to| position <= to)
    }

    /// Refuses a range that is not all there.
    fn must_end_by(self, last: u64, place: &dyn std::fmt::Display) -> Result<(), Failure> {
        match self.to.unwrap_or(self.from) {
            wanted if wanted > last => {
                Err(Failure::Failed(format!("there is no position {wanted}: {place} ends at position {last}")))
            }
            _ => Ok(()),
        }
    }
}

fn print_log(log: &dyn Reader, range: Range, out: &mut ExportOutput) -> Result<(), ExportStopped> {
    let head = log.head().map_err(Failure::from)?.position;
    range.must_end_by(head, &"the log")?;
    let (last, mut after) = (range.to.unwrap_or(head), range.from - 1);
    while after < last {
        let page = log.after(after, PAGE_EVENTS).map_err(Failure::from)?;
        for recorded in page.iter().filter(|recorded| recorded.position <= last) {
            out.print(recorded)?;
        }
        after = page.last().map_or(last, |recorded| recorded.position);
    }
    Ok(())
}

async fn print_archive(archive: &Archive, range: Range, out: &mut ExportOutput) -> Result<(), ExportStopped> {
    let unread = |error: ReadError| Failure::Failed(format!("cannot read the archive: {error}"));
    let opened = Segments::with_positions(archive, range.from, range.to.unwrap_or(u64::MAX)).await;
    let (mut segments, mut last) = (opened.map_err(unread)?, 0);
    while let Some(mut events) = segments.next().await.map_err(unread)? {
        if last == 0 && events.manifest().first > range.from {
            let why = format!("{archive} has no position {}", range.from);
            return Err(Failure::Failed(why).into());
        }
        last = events.manifest().last;
        loop {
            let page = events.page(PAGE_EVENTS).map_err(|damage| unread(damage.into()))?;
            if page.is_empty() {
                break;
            }
            for recorded in page.iter().filter(|recorded| range.has(recorded.position)) {
                out.print(recorded)?;
            }
        }
    }
    range.must_end_by(last, archive).map_err(ExportStopped::from)
}

/// Prints events in one of the formats.
enum ExportOutput {
    JsonLines(BufWriter<StdoutLock<'static>>),
    Csv { table: Box<csv::Writer<BufWriter<StdoutLock<'static>>>>, has_header: bool },
}

impl ExportOutput {
    fn new(format: &str) -> Result<Self, Failure> {
        let out = BufWriter::new(io::stdout().lock());
        match format {
            "csv" => {
                let table = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out);
                Ok(Self::Csv { table: Box::new(table), has_header: false })
            }
            "jsonl" => Ok(Self::JsonLines(out)),
            other => {
                let known = EXPORT_FORMATS.join(" or ");
                Err(Failure::NotBegun(format!("--format is {other:?}, but must be {known}")))
            }
        }
    }

    fn print(&mut self, recorded: &Recorded) -> Result<(), ExportStopped> {
        let line = canonical::envelope(recorded).map_err(Failure::failed)?;
        match self {
            Self::JsonLines(out) => writeln!(out, "{line}")?,
            Self::Csv { table, has_header } => {
                if !std::mem::replace(has_header, true) {
                    table.write_record(COLUMNS)?;
                }
                table.write_record(record(&line)?)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportStopped> {
        match self {
            Self::JsonLines(out) => out.flush()?,
            Self::Csv { table, .. } => table.flush()?,
        }
        Ok(())
    }
}

/// The columns of an event, from its canonical form. Those that it does not have are empty.
fn record(line: &str) -> Result<Vec<String>, Failure> {
    let envelope = plain_json::parse(line).map_err(Failure::failed)?;
    let cell = |column: &&str| match envelope.get(*column) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => canonical::to_string(other).map_err(Failure::failed),
    };
    COLUMNS.iter().map(cell).collect()
}

impl From<Failure> for ExportStopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for ExportStopped {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(Failure::Failed(format!("cannot print the events: {error}"))),
        }
    }
}

impl From<csv::Error> for ExportStopped {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => error.into(),
            other => Self::Failed(Failure::Failed(format!("cannot print the events: {other:?}"))),
        }
    }
}
