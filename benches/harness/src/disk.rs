//! The time that the disk takes to make 4 KiB durable.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::figures::per_mille;

const SAMPLES: usize = 300;

/// The time of a write with its sync.
#[derive(Clone, Copy, Debug)]
pub struct Fsync {
    /// The time of the disk alone, while nothing else needs the cores.
    pub p10: Duration,
    pub p50: Duration,
}

/// Measures writes of 4 KiB, each with its `fdatasync`, to a file in this folder.
pub fn fdatasync(folder: &Path) -> io::Result<Fsync> {
    let mut file = File::create(folder.join("fsync-probe"))?;
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        // Always the same block, so that the file does not grow: the sync is measured alone.
        let started = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        samples.push(started.elapsed());
    }
    Ok(Fsync { p10: per_mille(&mut samples, 100), p50: per_mille(&mut samples, 500) })
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p10, p50) = (self.p10.as_micros(), self.p50.as_micros());
        write!(f, "write + fdatasync of 4 KiB beside the ledger: p10 {p10} µs, p50 {p50} µs")
    }
}
