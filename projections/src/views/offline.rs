//! Rebuilds the views of a folder that no process serves. The caller holds the folder's lock.

use std::path::Path;

use events_log::{LogError, Reader};

use super::View;
use super::log_pages::pages;
use super::rebuild::must_not_regress;
use super::store::{Store, StoreError};

/// The views could not be rebuilt; their old rows are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("{0}")]
    Regressed(String),
}

/// Rebuilds views from this log up to its head and returns that position. `watch` is called with the position reached and with
/// the last one. Blocking.
pub fn rebuild(
    dir: &Path,
    log: &dyn Reader,
    views: &[View],
    watch: &mut dyn FnMut(u64, u64),
) -> Result<u64, RebuildError> {
    let mut store = Store::of_log(dir, log)?;
    let mut next = Store::create_next(dir, View::projectors(views))?;
    let (head, mut position) = (log.head()?.position, 0);
    for page in pages(log, 0, u64::MAX) {
        let (reached, events) = page?;
        next.apply(&events)?;
        position = reached;
        watch(position, head);
    }
    must_not_regress(&next, &store).map_err(RebuildError::Regressed)?;
    store.swap_in(next)?;
    Ok(position)
}
