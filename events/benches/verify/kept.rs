//! Logs that are made once and kept between runs, under the build's own folder: a million events take a minute.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use events::log::Log;

use crate::story;

/// Rises when the story tells something else: what an older one recorded is then made anew.
const VERSION: u32 = 2;
/// Written last, so that what was interrupted is not taken for whole.
const STAMP: &str = "whole";

/// The folder of a log of about so many events over so long a time. `begin`: what stands in front of the story; the same
/// for everybody who keeps logs under `root`.
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
