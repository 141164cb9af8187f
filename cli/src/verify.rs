//! `ledgerway verify`: exit 0 sound, 1 broken (the first bad position and why), 2 could not check.

mod archive;
mod bundle;
mod checkpoint;
mod content;
mod proven;
mod receipt;
mod signers;

use std::path::Path;

use analysts::{CompareCopyError, CopyComparison};
use events_log::verify::{self, Depth, Sound, VerifyError};
use events_log::{DatabaseAddress, LEDGER_FILE, LogError, Reader, offline, wal};
use projections::views::VIEWS_FILE;
use projections::views::compare::{CompareError, Comparison, compare};
use serde_json::json;

use checkpoint::{Compared, PublishedAt, VerifiedCheckpoint};
use content::{ContentStoreToCheck, VerifiedContent};
use proven::Proven;

use super::ledger_place::{LedgerPlace, database_at, named_database};
use super::progress::{Progress, WithoutTerminal};
use super::runtime::CommandRuntime;
use super::{Failure, print_line, variable};
use crate::arguments::{VerifyArgs, is_address};
use crate::settings::setting::{DATA, LOG_ONLY};
use crate::settings::{Flags, boolean};

/// Advice about a ledger in PostgreSQL that is not sound.
const RESTORE_DATABASE: &str = "restore the database from a backup: docs/operations.md#postgresql";
/// Advice about broken events.
const RESTORE: &str = "restore ledger.db from a backup, in an empty folder: docs/operations.md#failures";
/// Advice about a broken write-ahead log.
const BROKEN_WAL: &str =
    "restore ledger.db from a backup; docs/operations.md#failures says what can be kept without one";
/// Advice about tables and indexes that do not match the events: either may be wrong.
const DIFFERENT: &str = "restore ledger.db from a backup; without one, docs/operations.md#failures says how to find out which side is wrong";

/// The parts that were found sound.
struct VerifiedLedger {
    log: Sound,
    /// `None` if the views were not asked for.
    views: Option<Comparison>,
    /// The copy for analysts, if it was asked for.
    copy: Option<VerifiedCopy>,
    /// The published log, if there is one.
    published: Option<Compared>,
    /// The store of sealed content, if it was asked for.
    content: Option<VerifiedContent>,
}

/// The places beside a ledger that are compared with it.
struct BesideLedger {
    copy: Option<DatabaseAddress>,
    published: Option<PublishedAt>,
    content: Option<ContentStoreToCheck>,
}

/// A copy for analysts that agrees with the log.
struct VerifiedCopy {
    rows: u64,
    position: u64,
    /// The events that the log has beyond it.
    lag_events: u64,
}

/// Why a folder or a ledger is not sound, or could not be checked.
pub enum Fault {
    Broken {
        position: u64,
        reason: String,
        sentence: String,
    },
    /// An object beside the ledger is damaged. The reason names it.
    Damaged {
        position: u64,
        object: String,
        reason: String,
    },
    Unreadable(String),
}

pub fn run(args: &VerifyArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    match (&args.bundle, &args.receipt, &args.archive) {
        (Some(file), ..) => bundle::check(file, args, flags),
        (None, Some(file), _) => receipt::check(file, args, flags),
        (None, None, Some(_)) => archive::check(args, flags, runtime),
        (None, None, None) => check(args, flags, runtime),
    }
}

fn check(args: &VerifyArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let json = args.is_json(flags)?;
    let log_only = flags.check(LOG_ONLY, boolean(&args.log_only))?;
    let copy = args.copy.as_deref().map(copied_to).transpose()?;
    let ledger = match &copy {
        // The ledger beside the copy.
        Some(copy) if !is_ledger_named(args, flags)? => LedgerPlace::Database(Box::new(copy.clone())),
        _ => LedgerPlace::find_alone(&args.ledger, flags)?,
    };
    let folder = match ledger.file() {
        Some(file) => file.parent(),
        // The views beside another ledger are not of this one.
        None => args.ledger.data.folder().filter(|dir| !dir.join(LEDGER_FILE).exists()),
    };
    let published = match args.checkpoint_key.is_empty() {
        false => Some(PublishedAt::named(args, folder)?),
        true if log_only => None,
        true => PublishedAt::of_ledger(args, ledger.file().and_then(Path::parent))?,
    };
    let content = ContentStoreToCheck::named(args, flags, &ledger)?;
    let beside = BesideLedger { copy, published, content };
    let verify = || verify(folder, &beside, runtime, &ledger, log_only);
    let verified = match (&ledger, folder) {
        (LedgerPlace::File(_), Some(dir)) => offline::read_consistently(dir, verify),
        _ => verify(),
    };
    let verified = match verified {
        Ok(verified) => verified,
        Err(fault) => return fault.print(json),
    };
    if let Some(VerifiedContent { broken, .. }) = &verified.content
        && !broken.is_empty()
    {
        let object = json!({ "sound": false, "broken": broken.as_json() });
        print_line(&if json { object.to_string() } else { broken.lines() });
        return Err(Failure::Printed);
    }
    print_line(&if json { as_json(&verified).to_string() } else { summary(&verified, folder) });
    Ok(())
}

/// Checks a ledger without its views, for a command that needs a sound one.
pub fn check_ledger(ledger: &LedgerPlace, task: &str) -> Result<Sound, Fault> {
    let reader = ledger.open_reader().map_err(|error| unreadable(ledger, &error))?;
    check_log(ledger, &*reader, Progress::new(task, WithoutTerminal::Lines))
}

/// The database with a copy that an argument names.
fn copied_to(named: &str) -> Result<DatabaseAddress, Failure> {
    if is_address(named) {
        return database_at(named);
    }
    Err(Failure::NotBegun(format!(
        "--copy takes the address of a PostgreSQL database. A data folder has no copy: analysts read its {VIEWS_FILE}, which `ledgerway \
         verify --data {named}` compares with the log"
    )))
}

/// Whether an argument or a variable says where the ledger is.
fn is_ledger_named(args: &VerifyArgs, flags: &Flags) -> Result<bool, Failure> {
    let database = named_database(args.ledger.address())?;
    Ok(database.is_some() || flags.has(DATA) || variable(DATA.variable).is_some())
}

/// Checks the ledger, the views in the folder if there is one, and what is beside it.
fn verify(
    folder: Option<&Path>,
    beside: &BesideLedger,
    runtime: &CommandRuntime,
    ledger: &LedgerPlace,
    log_only: bool,
) -> Result<VerifiedLedger, Fault> {
    let reader = ledger.open_reader().map_err(|error| unreadable(ledger, &error))?;
    let log = check_log(ledger, &*reader, Progress::new("log", WithoutTerminal::Silent));
    let compared = match &log {
        Err(Fault::Unreadable(_)) => Ok(None),
        Ok(_) | Err(Fault::Broken { .. } | Fault::Damaged { .. }) => {
            beside.published.as_ref().map_or(Ok(None), |published| published.check_ledger(&*reader, runtime))
        }
    };
    let (log, published) = both(log, compared)?;
    let views = if log_only { None } else { Some(check_views(folder, ledger, &*reader)?) };
    let copy = beside.copy.as_ref().map(|copy| check_copy(copy, ledger, &*reader)).transpose()?;
    let content = beside.content.as_ref().map(|content| content.check(ledger, &*reader, runtime)).transpose()?;
    Ok(VerifiedLedger { log, views, copy, published, content })
}

/// The fault at the earlier position, if there are two: an event that was changed may break a rule only later.
fn both<A, B>(log: Result<A, Fault>, checkpoint: Result<B, Fault>) -> Result<(A, B), Fault> {
    match (log, checkpoint) {
        (Ok(log), Ok(checkpoint)) => Ok((log, checkpoint)),
        (Err(log), Err(checkpoint)) => Err(if checkpoint.position() < log.position() { checkpoint } else { log }),
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(fault),
    }
}

impl Fault {
    fn at(position: u64, reason: String) -> Self {
        let sentence = format!("position {position}: {reason}");
        Self::Broken { position, reason, sentence }
    }

    /// A fault of a checkpoint, or of the root of a tree. Any event may be the one that differs, so that the position is the first one.
    fn of_checkpoint(reason: String) -> Self {
        Self::Broken { position: 1, sentence: reason.clone(), reason }
    }

    /// Prints what is broken. The error is that of the command.
    fn print(self, json: bool) -> Result<(), Failure> {
        match self {
            Self::Broken { position, reason, sentence } => {
                let object = json!({ "sound": false, "broken": { "position": position, "reason": reason } });
                print_line(&if json { object.to_string() } else { format!("broken: {sentence}") });
                Err(Failure::Printed)
            }
            Self::Damaged { position, object, reason } => {
                let words = format!("broken: position {position}: {reason}");
                let broken = json!({ "position": position, "reason": reason, "object": object });
                print_line(&if json { json!({ "sound": false, "broken": broken }).to_string() } else { words });
                Err(Failure::Printed)
            }
            Self::Unreadable(why) => Err(Failure::NotBegun(why)),
        }
    }

    /// The first bad position; beyond all others if it is not known.
    const fn position(&self) -> u64 {
        match self {
            Self::Broken { position, .. } | Self::Damaged { position, .. } => *position,
            Self::Unreadable(_) => u64::MAX,
        }
    }
}

/// Compares the copy for analysts with the log.
fn check_copy(copy: &DatabaseAddress, ledger: &LedgerPlace, reader: &dyn Reader) -> Result<VerifiedCopy, Fault> {
    let mut progress = Progress::new("copy", WithoutTerminal::Silent);
    let compared = analysts::compare(copy, reader, &mut |position, last| progress.at(position, last));
    match compared {
        Ok(CopyComparison::Same { rows, position }) => {
            progress.done();
            let head = reader.head().map_err(|error| unreadable(ledger, &error))?.position;
            Ok(VerifiedCopy { rows, position, lag_events: head.saturating_sub(position) })
        }
        Ok(CopyComparison::Absent) => Err(Fault::Unreadable("there is no copy for analysts there yet".to_owned())),
        Ok(CopyComparison::OtherVersion(view)) => Err(Fault::Unreadable(format!(
            "the copy for analysts has rows of {} of another version: not compared",
            view.as_str()
        ))),
        Err(CompareCopyError::Different { position, reason }) => {
            let sentence = format!("the copy for analysts as of position {position}: {reason}");
            Err(Fault::Broken { position, reason: format!("copy: {reason}"), sentence })
        }
        Err(CompareCopyError::Log(error)) => Err(unreadable(ledger, &error)),
        Err(error) => Err(Fault::Unreadable(format!("cannot compare the copy for analysts: {error}"))),
    }
}

fn check_views(folder: Option<&Path>, ledger: &LedgerPlace, reader: &dyn Reader) -> Result<Comparison, Fault> {
    let Some(dir) = folder else { return Ok(Comparison::Absent) };
    let mut progress = Progress::new("views", WithoutTerminal::Silent);
    let compared = compare(dir, reader, &mut |position, last| progress.at(position, last));
    if compared.is_ok() {
        progress.done();
    }
    match compared.map_err(|error| views_fault(ledger, error))? {
        // In one folder, views that are ahead show that the ledger has lost events. Nobody ties a folder to a database.
        Comparison::OtherLedger { view, position } if ledger.file().is_some() => {
            let reason = format!("{} has applied an event that the log does not have", view.as_str());
            Err(views_fault(ledger, CompareError::Different { position, reason }))
        }
        compared => Ok(compared),
    }
}

/// Checks the log and the ledger.
fn check_log(ledger: &LedgerPlace, reader: &dyn Reader, mut progress: Progress) -> Result<Sound, Fault> {
    let verified = verify::verify(reader, Depth::Gateway, &mut |position, last| progress.at(position, last));
    if verified.is_ok() {
        progress.done();
    }
    let last = match &verified {
        Ok(sound) => sound.events,
        Err(VerifyError::Broken { position, .. } | VerifyError::StoredState { position, .. }) => {
            position.saturating_sub(1)
        }
        Err(_) => 0,
    };
    if let Some(file) = ledger.file() {
        check_wal(file, last)?;
    }
    verified.map_err(|error| log_fault(ledger, error))
}

/// Checks the write-ahead log. A damaged one reads as if it ended at the damage, so the rest of the check would miss events.
fn check_wal(ledger: &Path, last: u64) -> Result<(), Fault> {
    let damage =
        wal::check(ledger).map_err(|error| Fault::Unreadable(format!("cannot read {}-wal: {error}", ledger.display())));
    let Some(damage) = damage? else { return Ok(()) };
    let (position, reason) = (last + 1, damage.to_string());
    let sentence = format!("position {position}: {reason}\n{BROKEN_WAL}");
    Err(Fault::Broken { position, reason, sentence })
}

fn unreadable(ledger: &LedgerPlace, error: &LogError) -> Fault {
    Fault::Unreadable(format!("cannot read {ledger}: {error}"))
}

fn log_fault(ledger: &LedgerPlace, error: VerifyError) -> Fault {
    let sentence = error.to_string();
    let advice = |of_file: &'static str| if ledger.file().is_some() { of_file } else { RESTORE_DATABASE };
    match error {
        VerifyError::Broken { position, reason } => {
            Fault::Broken { position, reason, sentence: format!("{sentence}\n{}", advice(RESTORE)) }
        }
        VerifyError::StoredState { position, reason } => {
            Fault::Broken { position, reason, sentence: format!("{sentence}\n{}", advice(DIFFERENT)) }
        }
        VerifyError::Unreadable(error) => unreadable(ledger, &error),
        VerifyError::Thread(_) => Fault::Unreadable(sentence),
    }
}

fn views_fault(ledger: &LedgerPlace, error: CompareError) -> Fault {
    let sentence = error.to_string();
    match error {
        CompareError::Different { position, reason } => {
            Fault::Broken { position, reason: format!("views: {reason}"), sentence }
        }
        CompareError::Log(error) => unreadable(ledger, &error),
        CompareError::Database(_) => Fault::Unreadable(sentence),
    }
}

/// One line for people, and a table of what was proven.
fn summary(
    VerifiedLedger { log: Sound { events, open_holds }, views, copy, published, content }: &VerifiedLedger,
    folder: Option<&Path>,
) -> String {
    let copy = copy.as_ref().map(|VerifiedCopy { rows, position, lag_events }| {
        format!(", {rows} rows of the copy for analysts as of position {position}, {lag_events} events behind")
    });
    let copy = copy.unwrap_or_default();
    let views = match views {
        None => "views not checked".to_owned(),
        Some(Comparison::Same { rows }) => format!("{rows} rows of views"),
        Some(Comparison::Absent) => "no views to compare".to_owned(),
        Some(Comparison::OtherVersion) => "views are of another version, not compared".to_owned(),
        Some(Comparison::OtherLedger { position, .. }) => {
            let dir = folder.map(|dir| format!(" in {}", dir.display())).unwrap_or_default();
            format!(
                "the views{dir} have an event at position {position} that this ledger does not have: they are of another ledger, or of \
                 this one before a restore; not compared"
            )
        }
    };
    let (checkpoint, unchecked) = parts_of(published.as_ref());
    let proven = Proven::of(checkpoint, unchecked).with_content(content.as_ref()).table();
    let checkpoint = checkpoint.map(VerifiedCheckpoint::sentence).unwrap_or_default();
    let mut unchecked = unchecked.map(|why| format!("\nunchecked: the published log: {why}")).unwrap_or_default();
    let sealed = content.as_ref().map(VerifiedContent::sentence).unwrap_or_default();
    if let Some(why) = content.as_ref().and_then(VerifiedContent::unchecked) {
        unchecked.push_str(&format!("\nunchecked: sealed content: {why}"));
    }
    format!("sound: {events} events, {open_holds} open holds, {views}{copy}{sealed}{checkpoint}{unchecked}\n\n{proven}")
}

fn as_json(VerifiedLedger { log: sound, views, copy, published, content }: &VerifiedLedger) -> serde_json::Value {
    let views = match views {
        None => json!("left_out"),
        Some(Comparison::Same { rows }) => json!({ "rows": rows }),
        Some(Comparison::Absent) => json!("absent"),
        Some(Comparison::OtherVersion) => json!("of_another_version"),
        Some(Comparison::OtherLedger { .. }) => json!("of_another_ledger"),
    };
    let mut object = json!({ "sound": true, "events": sound.events, "open_holds": sound.open_holds, "views": views });
    if let Some(VerifiedCopy { rows, position, lag_events }) = copy {
        object["copy"] = json!({ "rows": rows, "position": position, "lag_events": lag_events });
    }
    let (checkpoint, unchecked) = parts_of(published.as_ref());
    if let Some(checkpoint) = checkpoint {
        object["checkpoint"] = checkpoint.as_json();
    }
    if let Some(why) = unchecked {
        object["unchecked"] = json!({ "published_log": why });
    }
    if let Some(content) = content {
        object["content"] = content.as_json();
        if let Some(why) = content.unchecked() {
            object["unchecked"]["content"] = why.into();
        }
    }
    Proven::of(checkpoint, unchecked).with_content(content.as_ref()).add_to(&mut object);
    object
}

/// The checkpoint that was verified, or why the published log was not compared.
fn parts_of(published: Option<&Compared>) -> (Option<&VerifiedCheckpoint>, Option<&str>) {
    match published {
        None => (None, None),
        Some(Compared::Verified(checkpoint)) => (Some(checkpoint), None),
        Some(Compared::Unchecked(why)) => (None, Some(why)),
    }
}
