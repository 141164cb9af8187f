//! `verify --checkpoint-key`: derives the tree of the published log from the events, and compares it with the newest checkpoint.

use std::path::{Path, PathBuf};

use events::log::Reader;
use objects::{ObjectStoreAddress, Objects};
use serde_json::{Value, json};
use tlog::{Tile, TileId, TreeHead, VerifierKey};
use transparency::{Files, LogKeys, PublishedError, PublishedLog, TreeDiffers};

use super::super::object_store::{named_object_store, read_objects};
use super::super::progress::{Progress, WithoutTerminal};
use super::super::{Failure, single_threaded_runtime};
use super::Fault;
use crate::config::OBJECTS_FOLDER;
use crate::config::arguments::VerifyArgs;
use crate::config::setting::{DATA, OBJECT_STORE_URL};

/// Which events the published log is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those of a ledger, which must have all that were published.
    Whole,
    /// Those of an archive, which may be behind.
    Beginning,
}

/// The published log, and the key that its checkpoint must be signed with.
pub struct PublishedAt {
    objects: Objects,
    keys: LogKeys,
    /// Checkpoints that somebody has kept.
    kept: Vec<TreeHead>,
}

/// What of a published log is the same.
pub struct VerifiedCheckpoint {
    origin: String,
    /// The events of the checkpoint.
    published: u64,
    /// How many of them were compared.
    compared: u64,
    /// The events of the longest checkpoint that somebody has kept.
    kept: Option<u64>,
}

impl VerifiedCheckpoint {
    /// The end of a sentence.
    pub fn sentence(&self) -> String {
        let Self { origin, published, compared, .. } = self;
        let rest = match published - compared {
            0 => String::new(),
            rest => format!(", {rest} newer ones of which are not there yet"),
        };
        format!(", as they were published in the checkpoint of {origin} with {published} events{rest}")
    }

    /// What a ledger with these events proves.
    pub fn claim(&self) -> String {
        let (events, since) = match self.kept {
            Some(kept) => (self.compared.min(kept), "your checkpoint was signed"),
            None => (self.compared, "the newest checkpoint was signed; one that you kept says more: --checkpoint"),
        };
        format!("none of the first {events} events was changed, inserted or deleted since {since}")
    }

    pub fn as_json(&self) -> Value {
        json!({ "origin": self.origin, "events": self.published, "compared": self.compared })
    }
}

impl PublishedAt {
    /// The published log of a ledger; `None` if it is not asked for.
    pub fn named(args: &VerifyArgs, folder: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(key) = &args.checkpoint_key else { return Ok(None) };
        let own = folder.map(|folder| ObjectStoreAddress::of_folder(&absolute(folder).join(OBJECTS_FOLDER)));
        let Some(address) = named_object_store(None)?.or(own) else {
            let (variable, data) = (OBJECT_STORE_URL.variable, DATA.variable);
            return Err(Failure::NotBegun(format!("there is no published log to read: set {variable} or {data}")));
        };
        Self::at(&address, key, &args.checkpoint).map(Some)
    }

    /// The published log beside an archive; `None` if it is not asked for.
    pub fn beside_archive(args: &VerifyArgs) -> Result<Option<Self>, Failure> {
        let Some(key) = &args.checkpoint_key else { return Ok(None) };
        let address = named_object_store(args.archive.as_deref())?;
        address.map(|address| Self::at(&address, key, &args.checkpoint)).transpose()
    }

    fn at(address: &ObjectStoreAddress, key: &str, kept: &[PathBuf]) -> Result<Self, Failure> {
        let key: VerifierKey = key.trim().parse().map_err(|error| {
            Failure::NotBegun(format!(
                "--checkpoint-key is not a line of /v1/log/key, such as NAME+12345678+BASE64: {error}"
            ))
        })?;
        let keys = LogKeys::of_verifier(key);
        let read = |file: &PathBuf| {
            let wrong = |why: &dyn std::fmt::Display| Failure::NotBegun(format!("{}: {why}", file.display()));
            keys.read(&std::fs::read(file).map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))
        };
        let kept = kept.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { objects: read_objects(address)?, keys, kept })
    }

    pub fn check(&self, reader: &dyn Reader, extent: Extent) -> Result<VerifiedCheckpoint, Fault> {
        let log = PublishedLog::new(Files::new(self.objects.clone()));
        let place = log.place();
        let runtime = single_threaded_runtime().map_err(|error| Fault::Unreadable(error.to_string()))?;
        let unreadable = |error: PublishedError| Fault::Unreadable(error.to_string());
        let checkpoint = runtime.block_on(log.checkpoint()).map_err(unreadable)?;
        let checkpoint =
            checkpoint.ok_or_else(|| Fault::Unreadable(format!("there is no published log in {place}")))?;
        let head = self.keys.read(&checkpoint.bytes).map_err(|error| broken(1, format!("{place}: {error}")))?;
        let tile = |index| {
            let id = TileId::in_tree(head.size, 0, index)?;
            Tile::parse(id, &runtime.block_on(log.tile(id)).ok()??).ok()
        };
        let mut not_proven = None;
        let proof = |old, new| match extent {
            Extent::Whole => None,
            Extent::Beginning => {
                runtime.block_on(log.consistency_proof(old, new)).map_err(|error| not_proven = Some(error)).ok()
            }
        };
        let mut progress = Progress::new("published log", WithoutTerminal::Silent);
        let verified = transparency::verify(reader, head, tile, proof, &self.kept, &mut |position, last| {
            progress.at(position, last)
        });
        let position_of = |error: &TreeDiffers| match error {
            TreeDiffers::Short { found, .. } => Some(found + 1),
            TreeDiffers::OtherEvent { position } => Some(*position),
            TreeDiffers::OtherRoot { after, .. } | TreeDiffers::OtherCheckpoint { after, .. } => Some(after + 1),
            TreeDiffers::Log(_) | TreeDiffers::Canonical(_) | TreeDiffers::Full(_) => None,
        };
        match verified {
            Err(TreeDiffers::Short { .. }) if not_proven.is_some() => {
                let reason = not_proven.map(|error| error.to_string()).unwrap_or_default();
                Err(Fault::Unreadable(format!("cannot compare with the published log: {reason}")))
            }
            Ok(compared) => {
                progress.done();
                let kept = self.kept.iter().map(|kept| kept.size).max();
                Ok(VerifiedCheckpoint { origin: self.keys.origin().to_owned(), published: head.size, compared, kept })
            }
            Err(error) => Err(match position_of(&error) {
                Some(position) => broken(position, format!("published log in {place}: {error}")),
                None => Fault::Unreadable(error.to_string()),
            }),
        }
    }
}

fn broken(position: u64, reason: String) -> Fault {
    let sentence = format!("position {position}: {reason}");
    Fault::Broken { position, reason, sentence }
}

fn absolute(folder: &Path) -> std::path::PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}
