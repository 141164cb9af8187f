//! `ledgerway verify`: exit 0 sound, 1 broken (the first bad position and why), 2 could not look.

use std::path::Path;
use std::process::ExitCode;

use events::log::{LogError, Reader, offline, wal};
use events::verify::{Depth, Sound, VerifyError, verify_watched};
use projections::views::compare::{CompareError, Compared, compare_watched};
use serde_json::json;

use super::progress::{Elsewhere, Progress};
use super::{complain, ledger_in, say};
use crate::config::arguments::VerifyArgs;
use crate::config::setting::{JSON, LOG_ONLY};
use crate::config::{Flags, truth};

const COULD_NOT_LOOK: u8 = 2;

/// How it is to be said, and what is left out.
struct Asked {
    json: bool,
    log_only: bool,
}

/// All that was looked at is what the events say.
struct Verified {
    sound: Sound,
    views: Views,
}

/// What was found of the views.
enum Views {
    LeftOut,
    Compared(Compared),
}

/// Why it is not.
enum Fault {
    Broken {
        position: u64,
        reason: String,
        /// As a sentence.
        said: String,
    },
    Unreadable(String),
}

pub fn run(args: &VerifyArgs, flags: &Flags) -> ExitCode {
    let read = flags
        .judge(JSON, truth(&args.json))
        .and_then(|json| Ok(Asked { json, log_only: flags.judge(LOG_ONLY, truth(&args.log_only))? }));
    let asked = match read {
        Ok(asked) => asked,
        Err(wrong) => {
            complain(&wrong.to_string());
            return COULD_NOT_LOOK.into();
        }
    };
    let found = ledger_in(&args.data, flags)
        .map_err(Fault::Unreadable)
        .and_then(|ledger| offline::steadily(&args.data.dir, || look(args, &asked, &ledger)));
    if asked.json
        && let Some(object) = as_json(&found)
    {
        say(&object.to_string());
    }
    match found {
        Ok(verified) => {
            if !asked.json {
                say(&sentence(&verified));
            }
            ExitCode::SUCCESS
        }
        Err(Fault::Broken { said, .. }) => {
            if !asked.json {
                say(&format!("broken: {said}"));
            }
            ExitCode::FAILURE
        }
        Err(Fault::Unreadable(why)) => {
            complain(&why);
            COULD_NOT_LOOK.into()
        }
    }
}

fn look(args: &VerifyArgs, asked: &Asked, ledger: &Path) -> Result<Verified, Fault> {
    let dir = &args.data.dir;
    let reader = Reader::open_offline(ledger).map_err(|error| unreadable(ledger, &error))?;
    let mut progress = Progress::of("log", Elsewhere::Nothing);
    let verified = verify_watched(&reader, Depth::Gateway, &mut |position, last| progress.at(position, last));
    if verified.is_ok() {
        progress.done();
    }
    wal_must_be_whole(ledger, verified.as_ref().map_or(0, |sound| sound.events))?;
    let sound = verified.map_err(|error| of_log(ledger, error))?;
    if asked.log_only {
        return Ok(Verified { sound, views: Views::LeftOut });
    }
    let mut progress = Progress::of("views", Elsewhere::Nothing);
    let compared = compare_watched(dir, &reader, &mut |position, last| progress.at(position, last));
    if compared.is_ok() {
        progress.done();
    }
    let views = compared.map_err(|error| of_views(ledger, error))?;
    Ok(Verified { sound, views: Views::Compared(views) })
}

/// A damaged one reads as if it ended there: what is said of the log is true of its beginning alone.
fn wal_must_be_whole(ledger: &Path, last: u64) -> Result<(), Fault> {
    let found = wal::look(ledger).map_err(|error| Fault::Unreadable(format!("read {}-wal: {error}", ledger.display())));
    let Some(damage) = found? else { return Ok(()) };
    let (position, reason) = (last + 1, damage.to_string());
    let said = format!("position {position}: {reason}");
    Err(Fault::Broken { position, reason, said })
}

fn unreadable(path: &Path, error: &LogError) -> Fault {
    Fault::Unreadable(format!("read {}: {error}", path.display()))
}

fn of_log(ledger: &Path, error: VerifyError) -> Fault {
    let said = error.to_string();
    match error {
        VerifyError::Broken { position, reason } | VerifyError::BesideTheLog { position, reason } => {
            Fault::Broken { position, reason, said }
        }
        VerifyError::Unreadable(error) => unreadable(ledger, &error),
        VerifyError::Thread(_) => Fault::Unreadable(said),
    }
}

fn of_views(ledger: &Path, error: CompareError) -> Fault {
    let said = error.to_string();
    match error {
        CompareError::Different { position, reason } => {
            Fault::Broken { position, reason: format!("views: {reason}"), said }
        }
        CompareError::Log(error) => unreadable(ledger, &error),
        CompareError::Database(_) => Fault::Unreadable(said),
    }
}

fn sentence(verified: &Verified) -> String {
    let Sound { events, open_holds } = verified.sound;
    let views = match verified.views {
        Views::LeftOut => "views left out".to_owned(),
        Views::Compared(Compared::Same { rows }) => format!("{rows} rows of views"),
        Views::Compared(Compared::Absent) => "no views to compare".to_owned(),
        Views::Compared(Compared::OfAnotherVersion) => "views of another version, not compared".to_owned(),
    };
    format!("sound: {events} events, {open_holds} open holds, {views}")
}

/// `None` where nothing could be looked at.
fn as_json(found: &Result<Verified, Fault>) -> Option<serde_json::Value> {
    match found {
        Ok(Verified { sound, views }) => {
            let views = match views {
                Views::LeftOut => json!("left_out"),
                Views::Compared(Compared::Same { rows }) => json!({ "rows": rows }),
                Views::Compared(Compared::Absent) => json!("absent"),
                Views::Compared(Compared::OfAnotherVersion) => json!("of_another_version"),
            };
            Some(json!({ "sound": true, "events": sound.events, "open_holds": sound.open_holds, "views": views }))
        }
        Err(Fault::Broken { position, reason, .. }) => {
            Some(json!({ "sound": false, "broken": { "position": position, "reason": reason } }))
        }
        Err(Fault::Unreadable(_)) => None,
    }
}
