//! Views that apply events only when they are told to, on the caller's thread: the same store, rows and checkpoints as
//! [`super::start`] runs, without its threads. For simulations, which decide when events arrive and when everything dies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use events::event::Recorded;
use events::log::Reader;

use super::store::{Checkpoint, Store, StoreError};
use super::{View, is_checkpoint_of};

/// The views of a folder, or new rows beside theirs. Dropping it is the death of their process.
#[doc(hidden)]
pub struct Stepped {
    dir: PathBuf,
    store: Store,
}

impl Stepped {
    /// Opens the views of a folder, or recreates them if they are not of this log.
    pub fn open(dir: &Path, log: &dyn Reader) -> Result<Self, StoreError> {
        let projectors = View::ALL.iter().map(|view| view.projector()).collect();
        let store = Store::open(dir, projectors, |checkpoint| is_checkpoint_of(log, checkpoint))?;
        Ok(Self { dir: dir.to_owned(), store })
    }

    /// Creates empty rows of some views, beside the ones in use.
    pub fn create_next(&self, views: &[View]) -> Result<Self, StoreError> {
        let store = Store::create_next(&self.dir, views.iter().map(|view| view.projector()).collect())?;
        Ok(Self { dir: self.dir.clone(), store })
    }

    /// Replaces rows in use by the new ones.
    pub fn swap_in(&mut self, next: Self) -> Result<(), StoreError> {
        self.store.swap_in(next.store, &self.dir)
    }

    /// Applies events in order, in one transaction.
    pub fn apply(&mut self, events: &[Arc<Recorded>]) -> Result<(), StoreError> {
        self.store.apply(events)
    }

    pub fn checkpoint(&self, view: View) -> Result<Checkpoint, StoreError> {
        self.store.checkpoint(view)
    }
}
