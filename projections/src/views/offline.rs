//! RebuildHandle of views in a folder that no process serves. The caller holds the folder's lock.

use std::path::Path;
use std::sync::Arc;

use events::event::Recorded;
use events::log::{LEDGER_FILE, LogError, open_reader};

use super::rebuild::must_not_regress;
use super::store::{Store, StoreError};
use super::{View, is_checkpoint_of};

const EVENTS_MAX: usize = 4096;

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

/// RebuildHandle views up to the log's head and returns that position. `watch` is called with the position reached and with
/// the last one. Blocking.
pub fn rebuild(dir: &Path, views: &[View], watch: &mut dyn FnMut(u64, u64)) -> Result<u64, RebuildError> {
    let reader = open_reader(&dir.join(LEDGER_FILE))?;
    let projectors = View::ALL.iter().map(|view| view.projector()).collect();
    let mut store = Store::open(dir, projectors, |checkpoint| is_checkpoint_of(&*reader, checkpoint))?;
    let mut next = Store::create_next(dir, views.iter().map(|view| view.projector()).collect())?;
    let (head, mut position) = (reader.head()?.position, 0);
    loop {
        let page: Vec<Arc<Recorded>> = reader.after(position, EVENTS_MAX)?.into_iter().map(Arc::new).collect();
        let Some(last) = page.last() else { break };
        next.apply(&page)?;
        position = last.position;
        watch(position, head);
    }
    must_not_regress(&next, &store).map_err(RebuildError::Regressed)?;
    store.swap_in(next, dir)?;
    Ok(position)
}
