//! A witness of transparency logs (<https://c2sp.org/tlog-witness>). It stores the last checkpoint that it cosigned of each log that
//! it knows, and cosigns another one only if it continues the stored checkpoint. Whoever wants to show two histories of a log has to
//! find other witnesses.
//!
//! - [`KnownLogs`] are the logs that it cosigns, with their keys.
//! - [`Witness`] has the key and the stored checkpoints, in a folder of its own: it decides, stores and cosigns.
//! - [`routes`] is `POST /add-checkpoint`.

mod decision;
mod folder;
mod key_file;
mod known_logs;
mod refusal;
mod route;
mod stored_checkpoint;
#[cfg(test)]
mod test_log;
mod witness;

pub use folder::StoredCheckpointError;
pub use key_file::KeyError;
pub use known_logs::{KnownLogs, LogKeyRefused};
pub use refusal::Refusal;
pub use route::routes;
pub use stored_checkpoint::NotAStoredCheckpoint;
pub use witness::{OpenError, Witness};
