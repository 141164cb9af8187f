//! Snapshots: the views as of some earlier positions, each a file that a [replay](super::replay) has built. A later replay begins with
//! a copy of the nearest one in place of the first event, and so is as fast as the events after it are few.
//!
//! A snapshot is named by its position, by the digest of the event there, and by the digest of its own content:
//! `POSITION-EVENT-CONTENT.sqlite`. So nothing has to be believed of it: of another log, or of this one before a restore, it has
//! another event; damaged, or not on the disk as a whole after a power failure, it has another content. It never has to be synced,
//! and can be deleted at any time. The versions of its views are in it, as in every file of views.
//!
//! Snapshots are made of the log alone, not of `views.db`: a view whose rows were damaged, or that stopped, spoils none, a rebuild
//! changes none, and no reader keeps the write-ahead log of `views.db` from being reset.

mod free_space;
mod room;
mod thinning;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use events::canonical;
use events::event::Recorded;
use events::hex;
use events::private;
use events_log::{LogError, Reader};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};

use super::View;
use super::replay_error::ReplayError;
use super::store::is_current;

pub(super) use room::{NoRoom, must_have_room};
pub(super) use thinning::{SnapshotBounds, thin_out};

/// The folder of the snapshots that a gateway keeps, in its data folder.
pub const SNAPSHOTS_FOLDER: &str = "snapshots";
const SUFFIX: &str = ".sqlite";
/// The beginning of the names of files that are being built.
const PARTIAL: &str = "partial-";
/// Snapshots that a replay tries at most, nearest first: more than a folder has.
const TRIED_MAX: usize = 32;
const CHUNK_BYTES: usize = 1 << 20;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// A snapshot, as its name describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub path: PathBuf,
    pub position: u64,
    /// The digest of the event at the position.
    event: Digest,
    /// The digest of the file.
    content: Digest,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it is of another log, or of this one before it was restored")]
    OtherLog,
    #[error("it is damaged, or was not written completely")]
    Damaged,
    #[error("another version made it")]
    OtherVersion,
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
}

/// A snapshot, or a folder of them, that could not be used.
#[derive(Debug)]
pub struct PassedOver {
    pub file: PathBuf,
    pub reason: Unusable,
}

impl Unusable {
    /// Whether it stays so, whoever reads it and whenever.
    pub(super) const fn is_final(&self) -> bool {
        !matches!(self, Self::Unreadable(_))
    }
}

/// The file that a snapshot as of a position is built in.
pub(super) fn partial_file(folder: &Path, position: u64) -> PathBuf {
    folder.join(format!("{PARTIAL}{position}{SUFFIX}"))
}

/// Gives a file that was built its name, with which it is a snapshot. `None` if the log no longer has the event at its position.
pub(super) fn complete(
    partial: &Path,
    position: u64,
    log: &dyn Reader,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Snapshot>, ReplayError> {
    let Some(event) = digest_at(log, position)? else { return Ok(None) };
    let content = digest_of(&mut File::open(partial)?, &mut io::sink(), goes_on)??;
    let path = partial.with_file_name(name(position, &event, &content));
    fs::rename(partial, &path)?;
    Ok(Some(Snapshot { path, position, event, content }))
}

/// The snapshots of a folder, by their positions. A folder that is not there has none.
pub fn in_folder(folder: &Path) -> io::Result<Vec<Snapshot>> {
    let mut snapshots: Vec<Snapshot> = files(folder)?.into_iter().filter_map(Snapshot::of_name).collect();
    snapshots.sort_by(|a, b| (a.position, &a.path).cmp(&(b.position, &b.path)));
    Ok(snapshots)
}

/// The snapshots in these folders at or before a position, nearest first, and the folders that cannot be read.
pub(super) fn nearest_first(folders: &[&Path], position: u64) -> (Vec<Snapshot>, Vec<PassedOver>) {
    let (mut found, mut passed_over) = (Vec::new(), Vec::new());
    for folder in folders {
        match in_folder(folder) {
            Ok(snapshots) => found.extend(snapshots.into_iter().filter(|snapshot| snapshot.position <= position)),
            Err(error) => {
                passed_over.push(PassedOver { file: folder.to_path_buf(), reason: Unusable::Unreadable(error) })
            }
        }
    }
    found.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.position));
    found.truncate(TRIED_MAX);
    (found, passed_over)
}

/// Deletes what is of no use in a folder: files that were not finished, and snapshots of other logs and other versions. Damage is
/// found when a snapshot is used.
pub(super) fn clean(folder: &Path, log: &dyn Reader) -> Result<(), CleanError> {
    for path in files(folder)? {
        let is_useful = match Snapshot::of_name(path.clone()) {
            Some(snapshot) => snapshot.is_of(log)? && snapshot.is_of_this_version(),
            None => !is_partial(&path),
        };
        if !is_useful {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Deletes a file of the folder. Somebody else may have done it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CleanError {
    #[error("the folder of the snapshots: {0}")]
    Folder(#[from] io::Error),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_partial(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PARTIAL))
}

fn name(position: u64, event: &Digest, content: &Digest) -> String {
    format!("{position}-{}-{}{SUFFIX}", hex::lower(event), hex::lower(content))
}

impl Snapshot {
    /// Reads the name of a file; `None` if it is not that of a snapshot.
    fn of_name(path: PathBuf) -> Option<Self> {
        let text = path.file_name()?.to_str()?;
        let mut parts = text.strip_suffix(SUFFIX)?.splitn(3, '-');
        let position: u64 = parts.next()?.parse().ok()?;
        let (event, content) = (hex::parse(parts.next()?)?, hex::parse(parts.next()?)?);
        let is_canonical = name(position, &event, &content) == text;
        is_canonical.then_some(Self { path, position, event, content })
    }

    /// The size of the file, in bytes; 0 if it is gone.
    pub fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Whether the log has the event at its position.
    pub fn is_of(&self, log: &dyn Reader) -> Result<bool, LogError> {
        Ok(digest_at(log, self.position)? == Some(self.event))
    }

    /// True as well for one that cannot be read now: a replay finds out why.
    fn is_of_this_version(&self) -> bool {
        is_current(&self.path, &View::projectors(View::ALL)).unwrap_or(true)
    }

    /// Copies it to a file, which is replaced, and checks that it is of this log and has its content. `goes_on` is asked between parts.
    pub(super) fn copy_to(
        &self,
        file: &Path,
        log: &dyn Reader,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Result<(), Unusable>, ReplayError> {
        if !self.is_of(log)? {
            return Ok(Err(Unusable::OtherLog));
        }
        let mut from = match File::open(&self.path) {
            Ok(from) => from,
            Err(error) => return Ok(Err(Unusable::Unreadable(error))),
        };
        let mut to = private::open_or_create(file)?;
        to.set_len(0)?;
        Ok(match digest_of(&mut from, &mut to, goes_on)? {
            Ok(content) if content == self.content => Ok(()),
            Ok(_) => Err(Unusable::Damaged),
            Err(error) => Err(Unusable::Unreadable(error)),
        })
    }
}

/// Copies one to the other. Returns the digest of what it copied. The inner error is that of reading.
fn digest_of(
    from: &mut dyn Read,
    to: &mut dyn Write,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<io::Result<Digest>, ReplayError> {
    let (mut so_far, mut chunk) = (Context::new(&SHA256), vec![0; CHUNK_BYTES]);
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return Ok(Ok(bytes_of(&so_far.finish()))),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(error)),
        };
        let part = chunk.get(..read).unwrap_or_default();
        so_far.update(part);
        to.write_all(part)?;
        if !goes_on() {
            return Err(ReplayError::Stopped);
        }
    }
}

/// The digest of the event at a position; `None` if the log does not have it. Nothing is at position 0, of any log.
fn digest_at(log: &dyn Reader, position: u64) -> Result<Option<Digest>, LogError> {
    let Some(before) = position.checked_sub(1) else { return Ok(Some(Digest::default())) };
    let events = log.after(before, 1)?;
    Ok(events.first().filter(|recorded| recorded.position == position).and_then(digest_of_event))
}

/// The digest of an event's canonical envelope; `None` if it has none, which no event of a log is without.
fn digest_of_event(recorded: &Recorded) -> Option<Digest> {
    let envelope = canonical::envelope(recorded).ok()?;
    Some(bytes_of(&digest(&SHA256, envelope.as_bytes())))
}

fn bytes_of(digest: &ring::digest::Digest) -> Digest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}
