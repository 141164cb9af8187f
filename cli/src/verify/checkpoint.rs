//! `verify --checkpoint-key`: derives the tree of the published log from the events, and compares it with the newest checkpoint.

use std::path::{Path, PathBuf};

use events_log::Reader;
use object_storage::{ObjectStoreAddress, Objects};
use serde_json::{Value, json};
use tlog::{SignedCheckpoint, Tile, TileId};
use transparency::{CheckpointError, Files, KeyHistory, PublishedError, PublishedLog, TreeDiffers};

use super::super::Failure;
use super::super::object_store::{named_object_store, published_log_of, read_objects};
use super::super::progress::{Progress, WithoutTerminal};
use super::super::runtime::CommandRuntime;
use super::Fault;
use super::signers::{Cosigned, Signers, cosigned_json, cosigned_sentence};
use crate::arguments::VerifyArgs;

/// Advice about a checkpoint of a key that is not trusted.
const OTHER_KEY: &str = "if the log has another key by now, give that as well (a line of /v1/log/key), or a --checkpoint that your key has \
                         signed and that has the event of the other one (docs/transparency.md#the-key)";

/// Which events the published log is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those of a ledger, which must have all that were published.
    Whole,
    /// Those of an archive, which may be behind.
    Beginning,
}

/// The published log, and who must have signed its newest checkpoint.
pub struct PublishedAt {
    objects: Objects,
    signers: Signers,
    /// Checkpoints that somebody has kept.
    kept: Vec<KeptCheckpoint>,
}

/// A checkpoint in a file.
struct KeptCheckpoint {
    file: String,
    signed: SignedCheckpoint,
}

/// The part of a published log that is the same as the ledger.
pub struct VerifiedCheckpoint {
    origin: String,
    /// The events of the checkpoint.
    published: u64,
    /// How many of them were compared.
    compared: u64,
    /// The events of the longest checkpoint that somebody has kept.
    kept: Option<u64>,
    cosigned: Vec<Cosigned>,
}

impl VerifiedCheckpoint {
    /// The end of a sentence.
    pub fn sentence(&self) -> String {
        let Self { origin, published, compared, .. } = self;
        let rest = match published - compared {
            0 => String::new(),
            rest => format!(", {rest} newer ones of which are not there yet"),
        };
        let cosigned = cosigned_sentence(&self.cosigned);
        format!(", as they were published in the checkpoint of {origin} with {published} events{rest}{cosigned}")
    }

    /// The claim that a ledger with these events proves.
    pub fn claim(&self) -> String {
        let (events, since) = match self.kept {
            Some(kept) => (self.compared.min(kept), "your checkpoint was signed"),
            None => (self.compared, "the newest checkpoint was signed; one that you kept says more: --checkpoint"),
        };
        format!("none of the first {events} events was changed, inserted or deleted since {since}")
    }

    pub fn as_json(&self) -> Value {
        json!({ "origin": self.origin, "events": self.published, "compared": self.compared, "witnesses": cosigned_json(&self.cosigned) })
    }
}

impl PublishedAt {
    /// The published log of a ledger; `None` if it is not asked for.
    pub fn named(args: &VerifyArgs, folder: Option<&Path>) -> Result<Option<Self>, Failure> {
        if args.checkpoint_key.is_empty() {
            return Ok(None);
        }
        Self::at(&published_log_of(folder)?, args).map(Some)
    }

    /// The published log beside an archive; `None` if it is not asked for.
    pub fn beside_archive(args: &VerifyArgs) -> Result<Option<Self>, Failure> {
        if args.checkpoint_key.is_empty() {
            return Ok(None);
        }
        let address = named_object_store(args.archive.as_deref())?;
        address.map(|address| Self::at(&address, args)).transpose()
    }

    fn at(address: &ObjectStoreAddress, args: &VerifyArgs) -> Result<Self, Failure> {
        let signers = Signers::read(args)?;
        let read = |file: &PathBuf| {
            let wrong = |why: &dyn std::fmt::Display| Failure::NotBegun(format!("{}: {why}", file.display()));
            let bytes = std::fs::read(file).map_err(|error| wrong(&error))?;
            let signed = SignedCheckpoint::parse(&bytes).map_err(|error| wrong(&error))?;
            Ok::<_, Failure>(KeptCheckpoint { file: file.display().to_string(), signed })
        };
        let kept = args.checkpoint.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { objects: read_objects(address)?, signers, kept })
    }

    pub fn check(
        &self,
        reader: &dyn Reader,
        extent: Extent,
        runtime: &CommandRuntime,
    ) -> Result<VerifiedCheckpoint, Fault> {
        let log = PublishedLog::new(Files::new(self.objects.clone()));
        let place = log.place();
        let unreadable = |error: PublishedError| Fault::Unreadable(error.to_string());
        let checkpoint = runtime.block_on(log.checkpoint()).map_err(unreadable)?;
        let kept: Vec<_> = self.kept.iter().map(|kept| kept.signed.clone()).collect();
        let newest = checkpoint.as_ref().map(|newest| SignedCheckpoint::parse(&newest.bytes)).transpose();
        let newest = newest.map_err(|error| Fault::Unreadable(format!("{place}: {error}")))?;
        // What is damaged in the log is found when its events are compared.
        let origin = self.signers.keys.origin();
        let (history, unread) = match KeyHistory::read(origin, reader) {
            Ok(history) => (history, None),
            Err(error) => (KeyHistory::new(origin), Some(error)),
        };
        let checkpoints: Vec<_> = kept.iter().chain(&newest).cloned().collect();
        let keys = history.trusted(&self.signers.keys, &checkpoints);
        let keys = keys.map_err(|(index, error)| self.untrusted(index, &error, &place))?;
        let kept: Vec<_> = kept.iter().map(|kept| *kept.unverified().head()).collect();
        let (head, cosigned) = match (&checkpoint, &newest) {
            (Some(checkpoint), Some(newest)) => (*newest.unverified().head(), self.signers.cosigned(&checkpoint.bytes)),
            // Without the files, a checkpoint that was kept still says what the events were.
            _ => match kept.iter().max_by_key(|kept| kept.size) {
                Some(longest) if self.signers.witnesses.is_empty() => (*longest, Ok(Vec::new())),
                _ => return Err(Fault::Unreadable(format!("there is no published log in {place}"))),
            },
        };
        let tile = |index| {
            let id = TileId::in_tree(head.size, 0, index)?;
            Tile::parse(id, &runtime.block_on(log.tile(id)).ok()??).ok()
        };
        let mut not_proven = None;
        let proof = |old, new| match extent {
            Extent::Whole => None,
            // A published log that ends before a checkpoint of it has lost what came after.
            Extent::Beginning if new > head.size => None,
            Extent::Beginning => {
                runtime.block_on(log.consistency_proof(old, new)).map_err(|error| not_proven = Some(error)).ok()
            }
        };
        let mut progress = Progress::new("published log", WithoutTerminal::Silent);
        let verified =
            transparency::verify(reader, head, tile, proof, &kept, &mut |position, last| progress.at(position, last));
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
                if let Some(error) = unread {
                    return Err(Fault::Unreadable(format!("the keys of the log: {error}")));
                }
                // Of these events, so that the keys are those that the log names.
                for (index, signed) in checkpoints.iter().enumerate() {
                    let checked = history.must_be_in_force(&keys, signed);
                    checked.map_err(|error| self.untrusted(index, &error, &place))?;
                }
                // A checkpoint is cosigned a moment after it is published: without that, nothing is known to be broken.
                let cosigned = cosigned.map_err(|why| Fault::Unreadable(format!("{place}: {why}: try again")))?;
                let kept = kept.iter().map(|kept| kept.size).max();
                Ok(VerifiedCheckpoint {
                    origin: self.signers.keys.origin().to_owned(),
                    published: head.size,
                    compared,
                    kept,
                    cosigned,
                })
            }
            Err(error) => Err(match position_of(&error) {
                Some(position) => Fault::at(position, format!("published log in {place}: {error}")),
                None => Fault::Unreadable(error.to_string()),
            }),
        }
    }

    /// The fault of a checkpoint that does not count: of the one at this index of those that were kept, or of the newest one after
    /// them.
    fn untrusted(&self, index: usize, error: &CheckpointError, place: &str) -> Fault {
        let (position, advice) = match error {
            CheckpointError::Replaced { position, .. } => (*position, String::new()),
            CheckpointError::Refused(_) | CheckpointError::Malformed(_) => (1, format!("; {OTHER_KEY}")),
        };
        match self.kept.get(index) {
            Some(kept) => Fault::Unreadable(format!("{}: {error}{advice}", kept.file)),
            None => Fault::at(position, format!("{place}: {error}{advice}")),
        }
    }
}
