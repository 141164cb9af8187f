//! The write-ahead log as a file. SQLite takes it up to the first frame whose checksum does not fit, as is right after a
//! crash: what is torn was never synced. A frame in the middle that the disk gave back wrong looks the same to it, and
//! everything that was committed behind it would silently be gone. What tells them apart is what stands behind.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Of SQLite's own choice for databases like ours.
const PAGE_BYTES: usize = 4096;
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
    let Some(first) = look_once(&path)? else { return Ok(None) };
    std::thread::sleep(LOOKS_APART);
    Ok(look_once(&path)?.filter(|second| second.frame == first.frame))
}

fn beside(database: &Path) -> PathBuf {
    let mut wal = database.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

fn look_once(path: &Path) -> io::Result<Option<DamagedWal>> {
    match File::open(path) {
        Ok(file) => damage(&mut BufReader::with_capacity(1 << 18, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is wrong with these bytes, if anything was committed behind it. A transaction begins only after the one before
/// was synced: a frame that goes on from the end of a transaction proves that everything in front of it was whole.
fn damage(bytes: &mut impl Read) -> io::Result<Option<DamagedWal>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(bytes, &mut header)? {
        return Ok(None);
    }
    let magic = word(&header, 0);
    let sums = Sums { is_big_endian: magic & 1 == 1 };
    let header_fits = magic & !1 == MAGIC && sums.of(&header[..24], (0, 0)) == checksum(&header, 24);
    // Behind a header that does not say it all are taken for what our own databases have.
    let page_bytes = match word(&header, 8) {
        size @ 512..=65_536 if header_fits => size as usize,
        _ => PAGE_BYTES,
    };
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut before = Before { salts: salts(&header, 16), checksum: checksum(&header, 24), is_commit: false };
    let mut first_wrong = (!header_fits).then_some(0);
    let (mut frames, mut is_lost) = (0, false);
    while fill(bytes, &mut frame)? {
        frames += 1;
        if frames == 1 && !header_fits {
            before.salts = salts(&frame, 8);
        }
        let is_of_now = salts(&frame, 8) == before.salts;
        if first_wrong.is_none() || (before.is_commit && is_of_now) {
            let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
            let fits = is_of_now && sums.of(page, sums.of(&head[..8], before.checksum)) == checksum(head, 16);
            is_lost |= fits && first_wrong.is_some() && before.is_commit;
            first_wrong = first_wrong.or((!fits).then_some(frames));
        }
        before.checksum = checksum(&frame, 16);
        // The number of pages that the database has afterwards stands in the last frame of a transaction alone. What is
        // left from before the log was begun anew ends none of now.
        before.is_commit = is_of_now && word(&frame, 4) != 0;
    }
    Ok(first_wrong.filter(|_| is_lost).map(|frame| DamagedWal { frame, frames }))
}

/// What a frame goes on from.
struct Before {
    /// They differ each time that the log is begun anew.
    salts: u64,
    checksum: Checksum,
    is_commit: bool,
}

type Checksum = (u32, u32);

struct Sums {
    /// Whether checksums are of words with their highest byte first.
    is_big_endian: bool,
}

impl Sums {
    fn of(&self, bytes: &[u8], (mut a, mut b): Checksum) -> Checksum {
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

fn checksum(bytes: &[u8], at: usize) -> Checksum {
    (word(bytes, at), word(bytes, at + 4))
}

fn salts(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Whether there was as much.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
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

    fn damage_of(wal: &[u8]) -> Option<usize> {
        damage(&mut &*wal).expect("it is read").map(|damaged| damaged.frame)
    }

    #[test]
    fn a_log_that_ends_anywhere_is_fine_and_one_damaged_in_the_middle_is_not() {
        let (_folder, path, wal) = left();
        assert_eq!(look(&path).expect("it is read"), None, "as it was left, with an older one behind it");
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
        let (_folder, _path, wal) = left();
        let salts = &wal[16..24];
        let is_of_now = |frame: &&[u8]| frame.get(8..16) == Some(salts);
        let frames = wal[32..].chunks(FRAME).take_while(is_of_now).count();
        for frame in [frames - 1, frames] {
            let mut torn = wal.clone();
            torn[32 + (frame - 1) * FRAME + 900] ^= 0x40;
            assert_eq!(damage_of(&torn), None, "frame {frame} of {frames}");
        }
    }
}
