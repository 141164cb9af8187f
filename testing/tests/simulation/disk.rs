//! The disk: a folder for each start of the process, with the files that the death of the last one left. A process that is
//! killed leaves its files as they are; a machine that stops may leave any part of the last write. Acknowledged commits stay.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use events_log::{LEDGER_FILE, Log, open_reader};
use projections::views::{Store, VIEWS_FILE};
use tempfile::TempDir;

use super::dice::Dice;

/// A folder in memory, if the system has one: only simulated faults should be slow.
const IN_MEMORY: &str = "/dev/shm";
const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

pub struct Disk {
    root: TempDir,
    starts: u32,
}

impl Disk {
    pub fn new() -> Self {
        let root = if Path::new(IN_MEMORY).is_dir() { TempDir::new_in(IN_MEMORY) } else { TempDir::new() };
        Self { root: root.expect("a folder"), starts: 0 }
    }

    /// An empty folder.
    pub fn folder(&mut self) -> PathBuf {
        self.starts += 1;
        let folder = self.root.path().join(self.starts.to_string());
        std::fs::create_dir(&folder).expect("a folder");
        folder
    }
}

/// A database file and its write-ahead log.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    database: Vec<u8>,
    wal: Vec<u8>,
}

impl Image {
    pub fn of(folder: &Path, name: &str) -> Self {
        let read = |suffix: &str| std::fs::read(folder.join(format!("{name}{suffix}"))).unwrap_or_default();
        Self { database: read(""), wal: read("-wal") }
    }

    pub fn put(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(name), &self.database).expect("a file");
        if !self.wal.is_empty() {
            std::fs::write(folder.join(format!("{name}-wal")), &self.wal).expect("a file");
        }
    }

    /// An empty log and empty views, made once: creating the tables takes longer than a whole seed.
    pub fn empty() -> &'static (Self, Self) {
        static EMPTY: OnceLock<(Image, Image)> = OnceLock::new();
        EMPTY.get_or_init(|| {
            let folder = TempDir::new().expect("a folder");
            Log::migrate(folder.path()).expect("an empty log");
            let ledger = Self::of(folder.path(), LEDGER_FILE);
            let reader = open_reader(&folder.path().join(LEDGER_FILE)).expect("a reader");
            drop(Store::of_log(folder.path(), &*reader).expect("empty views"));
            (ledger, Self::of(folder.path(), VIEWS_FILE))
        })
    }

    /// The files of a machine that stopped between two states of the write-ahead log. The log is written front to back: it has
    /// some of the new bytes, and then the old ones, or zeros.
    pub fn within_commit(before: &Self, after: &Self, dice: &mut Dice) -> Self {
        let (old, new) = (before.wal.chunks(SECTOR_BYTES), after.wal.chunks(SECTOR_BYTES));
        let first = old.zip(new).take_while(|(old, new)| old == new).count() * SECTOR_BYTES;
        let first = first.min(before.wal.len()).min(after.wal.len());
        let written = first + dice.below(after.wal.len() - first + 1);
        let mut wal = after.wal.get(..written).unwrap_or_default().to_vec();
        wal.extend_from_slice(before.wal.get(written..).unwrap_or_default());
        if dice.percent(25) {
            wal.resize(wal.len().max(after.wal.len()), 0);
        }
        Self { database: before.database.clone(), wal }
    }

    /// The files of a machine that stopped during a checkpoint: some pages are in the database file. The write-ahead log still
    /// has all of them.
    pub fn within_checkpoint(before: &Self, after: &Self, dice: &mut Dice) -> Self {
        let mut database = before.database.clone();
        let pages = after.database.chunks(PAGE_BYTES).count();
        let longest = if dice.percent(50) { after.database.len() } else { before.database.len() };
        database.resize(longest.max(before.database.len()), 0);
        for page in (0..pages).filter(|_| dice.percent(50)).collect::<Vec<_>>() {
            let span = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
            if let (Some(old), Some(new)) = (database.get_mut(span.clone()), after.database.get(span)) {
                old.copy_from_slice(new);
            }
        }
        Self { database, wal: before.wal.clone() }
    }

    /// Cuts off the end of the write-ahead log, which a file may lose that is not synced at every commit.
    pub fn truncated(mut self, dice: &mut Dice) -> Self {
        let length = dice.below(self.wal.len() + 1);
        self.wal.truncate(length);
        self
    }
}
