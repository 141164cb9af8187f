//! Logs that are written once and kept between runs, in the build's folder: a million events take a minute.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use events_log::Log;

use crate::story;

/// The version of the story. Raise it when the story changes, so that older logs are written again.
const VERSION: u32 = 2;
/// A marker file, written last, so that an interrupted log does not count as complete.
const STAMP: &str = "whole";

/// The folder of a log with about this many events over this time. `begin` records the events before the story, and must be
/// the same for all logs under `root`.
pub fn log(root: &Path, events: u64, span: Duration, begin: impl FnOnce(&Log)) -> io::Result<PathBuf> {
    let folder = root.join(format!("story-{events}-over-{}s", span.as_secs()));
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|found| found == VERSION.to_string()) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    story::record(&folder, events, span, begin);
    fs::write(stamp, VERSION.to_string())?;
    Ok(folder)
}
