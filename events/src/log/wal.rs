//! The write-ahead log as a file. SQLite takes it up to the first frame whose checksum does not fit, as is right after a
//! crash: what is torn was never synced. A frame in the middle that the disk gave back wrong looks the same to it, and
//! everything that was committed behind it would silently be gone. What tells them apart is what stands behind.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u32 = 0x377f_0682;
/// Somebody may be writing the frame that is read: one that is damaged still is a moment later.
const LOOKS_APART: Duration = Duration::from_millis(100);

/// Committed transactions that cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "frame {frame} of {frames} in the write-ahead log is damaged, and what was committed from there on cannot be read"
)]
pub struct DamagedWal {
    /// From 1 on; 0 is the file's own header.
    pub frame: usize,
    pub frames: usize,
}

/// Looks at the write-ahead log beside a database, whether or not a process serves it. One that ends in the middle of a
/// transaction is fine: its process died.
pub fn look(database: &Path) -> io::Result<Option<DamagedWal>> {
    let path = beside(database);
    let Some(first) = damage(&read(&path)?) else { return Ok(None) };
    std::thread::sleep(LOOKS_APART);
    Ok(damage(&read(&path)?).filter(|second| second.frame == first.frame))
}

fn beside(database: &Path) -> PathBuf {
    let mut wal = database.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

/// Empty where there is none.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes).map(|_| bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(error) => Err(error),
    }
}

/// What is wrong with these bytes, if anything was committed behind it. A transaction begins only after the one before
/// was synced: a frame that goes on from the end of a transaction proves that everything in front of it was whole.
fn damage(bytes: &[u8]) -> Option<DamagedWal> {
    let wal = Wal::of(bytes)?;
    let frame = wal.first_that_does_not_fit()?;
    let salts = if frame == 0 { wal.salts(1) } else { wal.salts(0) };
    let is_committed = |at: usize| wal.salts(at) == salts && wal.is_commit(at) && wal.goes_on(at);
    let is_lost = (frame.max(1)..wal.frames).any(is_committed);
    is_lost.then_some(DamagedWal { frame, frames: wal.frames })
}

struct Wal<'a> {
    header: &'a [u8],
    body: &'a [u8],
    frame_bytes: usize,
    frames: usize,
    /// Whether checksums are of words with their highest byte first.
    is_big_endian: bool,
}

type Checksum = (u32, u32);

impl<'a> Wal<'a> {
    /// `None` for what is too short to have a transaction, or is none of SQLite's.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
        let (magic, page_bytes) = (word(header, 0), word(header, 8) as usize);
        // A header that was overwritten does not say it; the pages of all our databases are of one size.
        let page_bytes = if magic & !1 == MAGIC && page_bytes.is_power_of_two() { page_bytes } else { 4096 };
        let frame_bytes = FRAME_HEADER_BYTES + page_bytes;
        let frames = body.len() / frame_bytes;
        (frames > 1).then_some(Self { header, body, frame_bytes, frames, is_big_endian: magic & 1 == 1 })
    }

    /// Frames are counted from 1 on.
    fn frame(&self, at: usize) -> &'a [u8] {
        let begins = at.saturating_sub(1) * self.frame_bytes;
        self.body.get(begins..begins + self.frame_bytes).unwrap_or_default()
    }

    /// They differ each time that the log is begun anew. 0 stands for the header.
    fn salts(&self, at: usize) -> &'a [u8] {
        if at == 0 {
            return self.header.get(16..24).unwrap_or_default();
        }
        self.frame(at).get(8..16).unwrap_or_default()
    }

    /// The number of pages that the database has afterwards stands in the last frame of a transaction alone.
    fn is_commit(&self, at: usize) -> bool {
        word(self.frame(at), 4) != 0
    }

    /// What a frame, or the header, says its checksum is.
    fn stored(&self, at: usize) -> Checksum {
        if at == 0 {
            return (word(self.header, 24), word(self.header, 28));
        }
        (word(self.frame(at), 16), word(self.frame(at), 20))
    }

    /// Whether the next frame was written behind this one.
    fn goes_on(&self, at: usize) -> bool {
        at < self.frames && self.salts(at) == self.salts(at + 1) && self.fits(at + 1)
    }

    /// Whether a frame is what was written behind the one that is in front of it.
    fn fits(&self, at: usize) -> bool {
        let frame = self.frame(at);
        let (Some(head), Some(page)) = (frame.get(..8), frame.get(FRAME_HEADER_BYTES..)) else { return false };
        self.sum(page, self.sum(head, self.stored(at - 1))) == self.stored(at)
    }

    /// 0 for the header. Also the first of those that are left from before the log was begun anew.
    fn first_that_does_not_fit(&self) -> Option<usize> {
        let header = self.header.get(..24).unwrap_or_default();
        if self.sum(header, (0, 0)) != self.stored(0) {
            return Some(0);
        }
        (1..=self.frames).find(|at| self.salts(*at) != self.salts(0) || !self.fits(*at))
    }

    fn sum(&self, bytes: &[u8], (mut a, mut b): Checksum) -> Checksum {
        for pair in bytes.chunks_exact(8) {
            let of = |at| {
                let word = word(pair, at);
                if self.is_big_endian { word } else { word.swap_bytes() }
            };
            a = a.wrapping_add(of(0)).wrapping_add(b);
            b = b.wrapping_add(of(4)).wrapping_add(a);
        }
        (a, b)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    const FRAME: usize = FRAME_HEADER_BYTES + 4096;

    /// A database that was left in the middle of its work, and its write-ahead log.
    fn left() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        let work = Connection::open(&path).expect("a database");
        work.execute_batch("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a, b)")
            .expect("a table");
        // Begun anew once: what is left of the first time stands behind the end.
        for times in [60, 20] {
            for _ in 0..times {
                work.execute_batch("INSERT INTO t VALUES (1, randomblob(5000))").expect("a row");
            }
            let wal = std::fs::read(beside(&path)).expect("the log");
            if times == 20 {
                let left = folder.path().join("left.db");
                std::fs::copy(&path, &left).expect("a copy");
                std::fs::write(beside(&left), &wal).expect("a copy");
                return (folder, left, wal);
            }
            work.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).expect("a checkpoint");
        }
        unreachable!("the second time returns")
    }

    #[test]
    fn a_log_that_ends_anywhere_is_fine_and_one_damaged_in_the_middle_is_not() {
        let (_folder, path, wal) = left();
        assert_eq!(look(&path).expect("it is read"), None, "as it was left, with an older one behind it");
        for cut in [0, 10, 32, 33, 32 + FRAME, 32 + 5 * FRAME + 700, wal.len() - 1] {
            assert_eq!(damage(&wal[..cut]), None, "cut at {cut}");
        }
        for frame in [1, 2, 17, 40] {
            for (what, at) in [("page", 0), ("salt", 8), ("checksum", 16), ("content", 900), ("end", FRAME - 1)] {
                let mut torn = wal.clone();
                torn[32 + (frame - 1) * FRAME + at] ^= 0x40;
                let found = damage(&torn).map(|damaged| damaged.frame);
                assert_eq!(found, Some(frame), "{what} of frame {frame}");
            }
        }
        for at in [0, 9, 17, 25] {
            let mut torn = wal.clone();
            torn[at] ^= 0x40;
            assert_eq!(damage(&torn).map(|damaged| damaged.frame), Some(0), "byte {at} of the header");
        }
    }

    #[test]
    fn a_last_transaction_that_was_torn_was_never_synced() {
        let (_folder, _path, wal) = left();
        let salts = &wal[16..24];
        let is_of_now = |frame: &&[u8]| frame.get(8..16) == Some(salts);
        let frames = wal[32..].chunks(FRAME).take_while(is_of_now).count();
        for frame in [frames - 1, frames] {
            let mut torn = wal.clone();
            torn[32 + (frame - 1) * FRAME + 900] ^= 0x40;
            assert_eq!(damage(&torn), None, "frame {frame} of {frames}");
        }
    }
}
