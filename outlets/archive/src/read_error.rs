//! Why an archive could not be read.

use crate::damage::Damage;
use object_storage::StoreError;

/// An archive is damaged, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Damage(Box<Damage>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        Self::Damage(Box::new(damage))
    }
}
