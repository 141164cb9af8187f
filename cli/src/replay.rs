//! `ledgerway replay`: builds the views as they stood at an earlier position of the log, in an SQLite file of their own. It reads the
//! log alone, whether or not a gateway serves it. Exit 0 done, 1 failed, 2 not begun.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use events::time::{Clock, SystemClock, rfc3339};
use events_log::{Head, LogError, offline};
use projections::views::replay::{ReplayRequest, Replayed, replay};
use projections::views::snapshots::SNAPSHOTS_FOLDER;
use projections::views::{Moment, NotRecorded};
use serde_json::json;

use super::ledger_place::LedgerPlace;
use super::partial_file::{PartialFile, must_be_free};
use super::progress::{Progress, WithoutTerminal};
use super::{Failure, moved_ledger, print_error, print_line};
use crate::arguments::{ReplayArgs, is_address};
use crate::settings::Flags;

pub fn run(args: &ReplayArgs, flags: &Flags) -> Result<(), Failure> {
    let json = args.output.is_json(flags)?;
    let (as_of, clock) = (moment(&args.as_of)?, SystemClock::new());
    must_be_free(&args.into, "views.sqlite")?;
    let ledger = LedgerPlace::find_alone(&args.ledger, flags)?;
    let folder = ledger.file().and_then(Path::parent);
    if let Some(folder) = folder {
        moved_ledger::say_if_moved(folder)?;
    }
    let (partial, _) = PartialFile::create(&args.into)?;
    // Beside a database, those of the node whose folder is named, or of the one here.
    let snapshots = folder.or_else(|| args.ledger.data.folder()).map(|folder| folder.join(SNAPSHOTS_FOLDER));
    let snapshots: Vec<&Path> = snapshots.iter().map(PathBuf::as_path).collect();
    let build = || build_file(&partial, &ledger, &snapshots, as_of, args, &clock);
    let built = match folder {
        Some(folder) => offline::read_consistently(folder, build),
        None => build(),
    };
    let (position, replayed) = built?;
    for passed_over in &replayed.passed_over {
        print_error(&format!("passed over {}: {}", passed_over.file.display(), passed_over.reason));
    }
    partial.place(&args.into)?;
    let built = Built { position, replayed, took: clock.monotonic() };
    print_line(&if json { built.as_json(args).to_string() } else { built.sentence(&args.into) });
    Ok(())
}

/// Builds the views in the partial file. Returns the position that they are as of.
fn build_file(
    partial: &PartialFile,
    ledger: &LedgerPlace,
    snapshots: &[&Path],
    as_of: Moment,
    args: &ReplayArgs,
    clock: &SystemClock,
) -> Result<(u64, Replayed), Failure> {
    let cannot = |error: &LogError| Failure::NotBegun(format!("cannot read {ledger}: {error}"));
    let log = ledger.open_reader().map_err(|error| cannot(&error))?;
    let position = as_of.position(&*log, clock.now()).map_err(|error| cannot(&error))?;
    let position = position.map_err(|why| not_recorded(&args.as_of, why))?;
    let mut progress = Progress::new("replaying", WithoutTerminal::Lines);
    let (as_of, version, made_at) = (args.as_of.as_str(), env!("CARGO_PKG_VERSION"), clock.now());
    let request = ReplayRequest { position, as_of, version, made_at, snapshots };
    let mut watch = |reached, last| {
        progress.at(reached, last);
        ControlFlow::Continue(())
    };
    let replayed = replay(partial.path(), &*log, &request, &mut watch);
    let replayed = replayed.map_err(|error| Failure::Failed(format!("nothing was written: {error}")))?;
    progress.done();
    Ok((position, replayed))
}

fn moment(text: &str) -> Result<Moment, Failure> {
    Moment::parse(text).ok_or_else(|| {
        // The address of a database may have a password in it.
        let shown: String = if is_address(text) { "postgres://…".into() } else { text.chars().take(64).collect() };
        Failure::NotBegun(format!(
            "--as-of is {shown:?}, but must be a position or a time, for example --as-of 1200 or --as-of 2026-11-01T00:00:00Z"
        ))
    })
}

fn not_recorded(asked: &str, why: NotRecorded) -> Failure {
    Failure::Failed(match why {
        NotRecorded::Beyond(head) => format!("there is no position {asked}: {}", end_of_log(head)),
        NotRecorded::Future(head) => format!("{asked} is in the future: {}", end_of_log(head)),
    })
}

fn end_of_log(head: Head) -> String {
    let recorded = head.recorded_at.map(|at| format!(", recorded at {}", rfc3339(at))).unwrap_or_default();
    format!("the log ends at position {}{recorded}", head.position)
}

/// The result of a replay.
struct Built {
    position: u64,
    replayed: Replayed,
    took: Duration,
}

impl Built {
    fn sentence(&self, file: &Path) -> String {
        let Self { position, replayed: Replayed { recorded_at, rows, began_at, .. }, took } = self;
        let recorded = match recorded_at {
            Some(at) => format!("recorded at {}", rfc3339(*at)),
            None => "before the first event".to_owned(),
        };
        let began = match began_at {
            0 => String::new(),
            began_at => format!(", from the snapshot at position {began_at} on"),
        };
        format!(
            "wrote the views as of position {position}, {recorded}, to {}: {rows} rows from {position} events{began}, in {}.{} s",
            file.display(),
            took.as_secs(),
            took.subsec_millis() / 100
        )
    }

    fn as_json(&self, args: &ReplayArgs) -> serde_json::Value {
        let Self { position, replayed: Replayed { recorded_at, rows, began_at, .. }, took } = self;
        json!({
            "as_of": args.as_of,
            "position": position,
            "recorded_at": recorded_at.map(rfc3339),
            "file": args.into.to_string_lossy(),
            "events": position,
            "snapshot": (*began_at > 0).then_some(began_at),
            "rows": rows,
            "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}
