//! A ledger that is built from an archive and verified, for `restore` and `verify --archive`.

use std::path::{Path, PathBuf};

use archive::{Archive, Checked, DamageKind, ReadError, Segments};
use command::admin::ClaimedNames;
use events_log::verify::{self, Depth, VerifyError};
use events_log::{EngineErrorKind, ImportError, LEDGER_FILE, LedgerImport, LogError, PAGE_EVENTS, open_reader_offline};

use super::progress::{Progress, WithoutTerminal};

/// A ledger that was built.
pub struct BuiltLedger {
    pub file: PathBuf,
    pub checked: Checked,
    /// The number of open holds.
    pub open_holds: u64,
}

/// How objects are treated that no manifest names and that no archiver has put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Strays {
    Refused,
    /// They do no harm to the ledger that is built.
    Ignored,
}

/// No ledger was built.
#[derive(Debug, thiserror::Error)]
pub enum NotBuilt {
    #[error(transparent)]
    Archive(#[from] ReadError),
    #[error(
        "there is no archive in {0}: make one with `ledgerway archive`, or start the gateway with LEDGERWAY_ARCHIVING=true"
    )]
    NoArchive(String),
    #[error("cannot build a ledger in {}: {reason}", folder.display())]
    Folder { folder: PathBuf, reason: String },
}

impl NotBuilt {
    fn folder(folder: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Folder { folder: folder.to_owned(), reason: reason.to_string() }
    }
}

/// Checks the files of an archive without building a ledger.
pub async fn check_files(archive: &Archive, task: &str) -> Result<Checked, NotBuilt> {
    let mut segments = Segments::all(archive).await?;
    let (mut progress, last) = (Progress::new(task, WithoutTerminal::Silent), segments.last_begins_with());
    while let Some(mut events) = segments.next().await? {
        while !events.page(PAGE_EVENTS).map_err(ReadError::from)?.is_empty() {}
        progress.at(events.manifest().last, last.max(events.manifest().last));
    }
    progress.done();
    must_be_there(archive, segments.finish_strictly().await?)
}

/// Builds a ledger in a folder, which must be empty, and verifies it.
pub async fn build(archive: &Archive, folder: &Path, task: &str, strays: Strays) -> Result<BuiltLedger, NotBuilt> {
    let mut segments = Segments::all(archive).await?;
    let (mut progress, last) = (Progress::new(task, WithoutTerminal::Lines), segments.last_begins_with());
    let (mut import, mut names, mut objects) = (None, ClaimedNames::default(), Objects::default());
    while let Some(mut events) = segments.next().await? {
        let begins_after = events.manifest().revaluation_begins_after;
        objects.0.push((events.manifest().first, events.manifest().object.clone()));
        let import = match &mut import {
            Some(import) => import,
            none => {
                none.insert(LedgerImport::begin(folder, begins_after).map_err(|error| NotBuilt::folder(folder, error))?)
            }
        };
        loop {
            let page = events.page(PAGE_EVENTS).map_err(ReadError::from)?;
            if page.is_empty() {
                break;
            }
            page.iter().for_each(|recorded| names.apply(recorded));
            import.append(page).map_err(|error| not_appended(folder, &objects, error))?;
            progress.at(import.head().position, last.max(import.head().position));
        }
    }
    progress.done();
    let checked = match strays {
        Strays::Refused => segments.finish_strictly().await?,
        Strays::Ignored => segments.finish().await?,
    };
    let checked = must_be_there(archive, checked)?;
    let finished = import.map(|import| import.finish(names.into_side_rows())).transpose();
    finished.map_err(|error| NotBuilt::folder(folder, error))?;
    let file = folder.join(LEDGER_FILE);
    let open_holds = verify(&objects, &file)?;
    Ok(BuiltLedger { file, checked, open_holds })
}

/// An empty place is more likely a wrong address than an archive.
fn must_be_there(archive: &Archive, checked: Checked) -> Result<Checked, NotBuilt> {
    if checked.manifests == 0 { Err(NotBuilt::NoArchive(archive.to_string())) } else { Ok(checked) }
}

/// The segments of an archive: the first position of each and its name, in order.
#[derive(Default)]
struct Objects(Vec<(u64, String)>);

impl Objects {
    /// An event that contradicts others.
    fn damaged(&self, position: u64, reason: String) -> NotBuilt {
        let before = self.0.partition_point(|(first, _)| *first <= position).saturating_sub(1);
        let object = self.0.get(before).map_or("", |(_, object)| object);
        ReadError::Damage(Box::new(DamageKind::Ledger(reason).of(object, position))).into()
    }
}

/// An event that cannot be added contradicts others; anything else is of the folder.
fn not_appended(folder: &Path, objects: &Objects, error: ImportError) -> NotBuilt {
    let is_of_events = match &error.source {
        LogError::Stored(_) | LogError::Overflow(_) => true,
        LogError::Engine(engine) => engine.kind == EngineErrorKind::Data,
        _ => false,
    };
    if is_of_events { objects.damaged(error.position, error.to_string()) } else { NotBuilt::folder(folder, error) }
}

/// Returns the number of open holds.
fn verify(objects: &Objects, ledger: &Path) -> Result<u64, NotBuilt> {
    let reader = open_reader_offline(ledger).map_err(|error| NotBuilt::folder(ledger, error))?;
    let mut progress = Progress::new("verifying", WithoutTerminal::Silent);
    let verified = verify::verify(&*reader, Depth::Gateway, &mut |position, last| progress.at(position, last));
    match verified {
        Ok(sound) => {
            progress.done();
            Ok(sound.open_holds)
        }
        Err(VerifyError::Broken { position, reason } | VerifyError::StoredState { position, reason }) => {
            Err(objects.damaged(position, format!("position {position}: {reason}")))
        }
        Err(error) => Err(NotBuilt::folder(ledger, error)),
    }
}
