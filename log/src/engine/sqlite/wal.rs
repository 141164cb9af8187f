//! A check of the write-ahead log. SQLite reads it up to the first frame with a wrong checksum, which is right after a crash:
//! a torn frame was never synced. But a frame damaged in the middle looks the same to SQLite, and everything committed after
//! it would silently be lost. The frames after it tell the two cases apart.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use events::private::beside;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// SQLite's default page size.
const PAGE_BYTES: usize = 4096;
const MAGIC: u32 = 0x377f_0682;
/// The delay before a second check: a frame that was just being written is valid by then, a damaged one is not.
const SECOND_CHECK_AFTER: Duration = Duration::from_millis(100);

/// Committed transactions that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "frame {frame} of {frames} in the write-ahead log is damaged, and what was committed from there on cannot be read"
)]
pub struct DamagedWal {
    /// Counted from 1; 0 is the header of the file.
    pub frame: usize,
    pub frames: usize,
}

/// Checks the write-ahead log of a database, whether or not a process serves it. A log that ends in the middle of a
/// transaction is fine: its process died.
pub fn check(database: &Path) -> io::Result<Option<DamagedWal>> {
    let path = beside(database, "-wal");
    let Some(first) = check_once(&path)? else { return Ok(None) };
    std::thread::sleep(SECOND_CHECK_AFTER);
    Ok(check_once(&path)?.filter(|second| second.frame == first.frame))
}

fn check_once(path: &Path) -> io::Result<Option<DamagedWal>> {
    match File::open(path) {
        Ok(file) => damage(&mut BufReader::with_capacity(1 << 18, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first damaged frame, if transactions were committed after it. A transaction begins only after the previous one was
/// synced, so a valid frame right after the end of a transaction proves that everything before it was intact.
fn damage(bytes: &mut impl Read) -> io::Result<Option<DamagedWal>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(bytes, &mut header)? {
        return Ok(None);
    }
    let magic = word(&header, 0);
    let sum = |bytes: &[u8], before| {
        checksum_of(if magic & 1 == 1 { u32::from_be_bytes } else { u32::from_le_bytes }, bytes, before)
    };
    let header_fits = magic & !1 == MAGIC && sum(&header[..24], (0, 0)) == checksum(&header, 24);
    // If the header is damaged, assume the page size of our own databases.
    let page_bytes = match word(&header, 8) {
        size @ 512..=65_536 if header_fits => size as usize,
        _ => PAGE_BYTES,
    };
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut before = PreviousFrame { salts: salts(&header, 16), checksum: checksum(&header, 24), is_commit: false };
    let mut first_wrong = (!header_fits).then_some(0);
    let (mut frames, mut is_lost) = (0, false);
    while fill(bytes, &mut frame)? {
        frames += 1;
        if frames == 1 && !header_fits {
            before.salts = salts(&frame, 8);
        }
        let is_current = salts(&frame, 8) == before.salts;
        if first_wrong.is_none() || (before.is_commit && is_current) {
            let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
            let fits = is_current && sum(page, sum(&head[..8], before.checksum)) == checksum(head, 16);
            is_lost |= fits && first_wrong.is_some() && before.is_commit;
            first_wrong = first_wrong.or((!fits).then_some(frames));
        }
        before.checksum = checksum(&frame, 16);
        // Only the last frame of a transaction contains the resulting size of the database. Frames from before the log's last
        // restart end no current transaction.
        before.is_commit = is_current && word(&frame, 4) != 0;
    }
    Ok(first_wrong.filter(|_| is_lost).map(|frame| DamagedWal { frame, frames }))
}

/// The state that a frame's salts and checksum build on.
struct PreviousFrame {
    /// They change whenever the log is restarted.
    salts: u64,
    checksum: Checksum,
    is_commit: bool,
}

type Checksum = (u32, u32);

/// Continues a checksum over words in the byte order that the log's header names.
fn checksum_of(word: fn([u8; 4]) -> u32, bytes: &[u8], (mut a, mut b): Checksum) -> Checksum {
    for [first, second] in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
        a = a.wrapping_add(word(*first)).wrapping_add(b);
        b = b.wrapping_add(word(*second)).wrapping_add(a);
    }
    (a, b)
}

fn checksum(bytes: &[u8], at: usize) -> Checksum {
    (word(bytes, at), word(bytes, at + 4))
}

fn salts(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Fills the buffer. Returns false at the end of the file.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rusqlite::Connection;

    use super::*;

    const FRAME: usize = FRAME_HEADER_BYTES + 4096;

    /// A database that was left in the middle of its work, and the bytes of its write-ahead log.
    fn interrupted_database() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        let work = Connection::open(&path).expect("a database");
        work.execute_batch("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a, b)")
            .expect("a table");
        // The log is restarted once: frames of the first round remain after its end.
        for times in [60, 20] {
            for _ in 0..times {
                work.execute_batch("INSERT INTO t VALUES (1, randomblob(5000))").expect("a row");
            }
            let wal = std::fs::read(beside(&path, "-wal")).expect("the log");
            if times == 20 {
                let left = folder.path().join("left.db");
                std::fs::copy(&path, &left).expect("a copy");
                std::fs::write(beside(&left, "-wal"), &wal).expect("a copy");
                return (folder, left, wal);
            }
            work.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).expect("a checkpoint");
        }
        unreachable!("the second time returns")
    }

    fn damage_of(wal: &[u8]) -> Option<usize> {
        damage(&mut &*wal).expect("it is read").map(|damaged| damaged.frame)
    }

    #[test]
    fn a_log_that_ends_anywhere_is_fine_and_one_damaged_in_the_middle_is_not() {
        let (_folder, path, wal) = interrupted_database();
        assert_eq!(check(&path).expect("it is read"), None, "as it was left, with older frames after its end");
        for cut in [0, 10, 32, 33, 32 + FRAME, 32 + 5 * FRAME + 700, wal.len() - 1] {
            assert_eq!(damage_of(&wal[..cut]), None, "cut at {cut}");
        }
        for frame in [1, 2, 17, 40] {
            for (what, at) in [("page", 0), ("salt", 8), ("checksum", 16), ("content", 900), ("end", FRAME - 1)] {
                let mut torn = wal.clone();
                torn[32 + (frame - 1) * FRAME + at] ^= 0x40;
                assert_eq!(damage_of(&torn), Some(frame), "{what} of frame {frame}");
            }
        }
        for at in [0, 9, 17, 25] {
            let mut torn = wal.clone();
            torn[at] ^= 0x40;
            assert_eq!(damage_of(&torn), Some(0), "byte {at} of the header");
        }
    }

    #[test]
    fn a_last_transaction_that_was_torn_was_never_synced() {
        let (_folder, _path, wal) = interrupted_database();
        let salts = &wal[16..24];
        let is_current = |frame: &&[u8]| frame.get(8..16) == Some(salts);
        let frames = wal[32..].chunks(FRAME).take_while(is_current).count();
        for frame in [frames - 1, frames] {
            let mut torn = wal.clone();
            torn[32 + (frame - 1) * FRAME + 900] ^= 0x40;
            assert_eq!(damage_of(&torn), None, "frame {frame} of {frames}");
        }
    }
}
