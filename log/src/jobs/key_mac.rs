//! The HMAC of a key's secret, in the place of a slow hash: a row without an event.

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::{KeyMac, LogError, SideRow};

pub(crate) struct StoreKeyMac(pub(crate) KeyMac);

impl JobKind for StoreKeyMac {
    type Decided = ();
    type Answer = ();
    type Error = LogError;

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<(), LogError> {
        batch.draft.side.push(SideRow::KeyMac(self.0.clone()));
        Ok(())
    }

    fn answer(self, (): (), _batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now(Ok(()))
    }
}
