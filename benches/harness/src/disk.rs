//! How long this disk takes to make 4 KiB durable.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::figures::per_mille;

const SAMPLES: usize = 300;

/// A write and its sync.
#[derive(Clone, Copy, Debug)]
pub struct Fsync {
    /// What the disk takes where nothing else wants the cores.
    pub p10: Duration,
    pub p50: Duration,
}

/// Of a write of 4 KiB and the `fdatasync` after it, in a file of this folder.
pub fn fdatasync(folder: &Path) -> io::Result<Fsync> {
    let mut file = File::create(folder.join("fsync-probe"))?;
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        // Over and over the same block: what is measured is the sync, not the growth of a file.
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
