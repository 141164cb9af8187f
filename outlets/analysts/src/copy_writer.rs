//! Writes the copy: one transaction for each step, which also moves how far the copy has come.

pub mod postgres;
pub mod sqlite;

use crate::CopyPlace;
use crate::copied::{CopiedView, ViewStep};
use crate::error::CopyError;
use crate::reading::Piece;
use postgres::PostgresCopy;
use sqlite::SqliteCopy;

/// The copy, opened for writing. After an error it is of no use.
pub enum CopyWriter {
    Database(Box<PostgresCopy>),
    File(SqliteCopy),
}

impl CopyWriter {
    pub async fn open(place: &CopyPlace) -> Result<Self, CopyError> {
        Ok(match place {
            CopyPlace::Database(database) => Self::Database(Box::new(PostgresCopy::open(database).await?)),
            CopyPlace::Folder(dir) => Self::File(SqliteCopy::open(dir.clone()).await?),
        })
    }

    /// How far each view is copied.
    pub async fn copied(&mut self) -> Result<Vec<CopiedView>, CopyError> {
        match self {
            Self::Database(copy) => copy.copied().await,
            Self::File(copy) => copy.copied().await,
        }
    }

    /// Begins the transaction of these steps. Tables that are copied as a whole are emptied in it.
    ///
    /// Errors: among others, the copy is not where the steps begin, or a later lease has moved it.
    pub async fn begin(&mut self, steps: &[ViewStep], token: i64) -> Result<(), CopyError> {
        match self {
            Self::Database(copy) => copy.begin(steps, token).await,
            Self::File(copy) => copy.begin(steps, token).await,
        }
    }

    pub async fn write(&mut self, piece: Piece) -> Result<(), CopyError> {
        match self {
            Self::Database(copy) => copy.write(&piece).await,
            Self::File(copy) => copy.write(piece).await,
        }
    }

    pub async fn commit(&mut self) -> Result<(), CopyError> {
        match self {
            Self::Database(copy) => copy.commit().await,
            Self::File(copy) => copy.commit().await,
        }
    }
}

#[cfg(test)]
mod tests;
