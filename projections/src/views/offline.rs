//! Building views anew in a folder that nobody serves. Whoever asks for it has the folder's lock.

use std::path::Path;
use std::sync::Arc;

use events::event::Recorded;
use events::log::{LEDGER_FILE, LogError, open_reader};

use super::rebuild::must_be_better;
use super::store::{Store, StoreError};
use super::{View, is_of};

const EVENTS_MAX: usize = 4096;

/// The views could not be built anew, and are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("{0}")]
    Worse(String),
}

/// Builds views anew up to the log's head, which is the answer. `watch` is told which position they have got to, and
/// which is the last. Blocking.
pub fn rebuild(dir: &Path, views: &[View], watch: &mut dyn FnMut(u64, u64)) -> Result<u64, RebuildError> {
    let reader = open_reader(&dir.join(LEDGER_FILE))?;
    let projectors = View::ALL.iter().map(|view| view.projector()).collect();
    let mut store = Store::open(dir, projectors, |checkpoint| is_of(&*reader, checkpoint))?;
    let mut next = Store::beside(dir, views.iter().map(|view| view.projector()).collect())?;
    let (head, mut position) = (reader.head()?.position, 0);
    loop {
        let page: Vec<Arc<Recorded>> = reader.after(position, EVENTS_MAX)?.into_iter().map(Arc::new).collect();
        let Some(last) = page.last() else { break };
        next.apply(&page)?;
        position = last.position;
        watch(position, head);
    }
    must_be_better(&next, &store).map_err(RebuildError::Worse)?;
    store.take_over(next, dir)?;
    Ok(position)
}
