//! How long this disk takes to make 4 KiB durable.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const SAMPLES: usize = 300;

/// Median of a write of 4 KiB and the `fdatasync` after it, in a file of this folder.
pub fn fdatasync_p50(folder: &Path) -> io::Result<Duration> {
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
    samples.sort_unstable();
    Ok(samples.get(SAMPLES / 2).copied().unwrap_or_default())
}
