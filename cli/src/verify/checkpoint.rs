//! The published log, if there is one beside the ledger: its checkpoint must be signed by a key of the log, its files must be those of
//! the checkpoint, and the tree that is derived from the events must have the checkpoint's root. `--checkpoint-key` says which keys
//! are trusted; without it, the keys are those that the ledger itself names.

use std::path::{Path, PathBuf};

use events_log::role::Role;
use events_log::{Reader, is_remembered};
use object_storage::{ObjectStoreAddress, Objects};
use secrets::log_key::recorded_log_keys;
use serde_json::{Value, json};
use tlog::{CheckpointRefused, NoteRefused, SignedCheckpoint, Tile, TileId};
use transparency::{
    CHECKPOINT, CheckedTree, Checkpoint, CheckpointError, FOLDER, Files, FilesError, KeyHistory, PublishedError,
    PublishedLog, TreeDiffers,
};

use super::super::Failure;
use super::super::object_store::{named_object_store, objects_beside, published_log_of, read_objects};
use super::super::progress::{Progress, WithoutTerminal};
use super::super::runtime::CommandRuntime;
use super::Fault;
use super::signers::{Cosigned, NotCosigned, Signers, cosigned_json, cosigned_sentence};
use crate::arguments::VerifyArgs;
use crate::settings::setting::OBJECT_STORE_URL;

/// Advice about a checkpoint of a key that is not trusted.
const OTHER_KEY: &str = "if the log has another key by now, give that as well (a line of /v1/log/key), or a --checkpoint that your key has \
                         signed and that has the event of the other one (docs/transparency.md#the-key)";

/// Which events the published log is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those of a ledger, which must have all that were published.
    Whole,
    /// Those of an archive or a backup, which may be behind.
    Beginning,
}

/// The published log, and who must have signed its newest checkpoint.
pub struct PublishedAt {
    /// Or why it was not opened.
    objects: Result<Objects, String>,
    /// `None` if the ledger's own keys count.
    signers: Option<Signers>,
    /// Checkpoints that somebody has kept.
    kept: Vec<KeptCheckpoint>,
    begun: Begun,
    need: Need,
}

/// Whether anything was ever published of a ledger, as far as its folder says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    Yes,
    /// There is no folder.
    Unknown,
}

/// Whether a ledger is verified without its published log, too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    /// Nobody asked for it: its object store may be away, or have the log of another ledger.
    Optional,
}

/// The outcome of comparing a ledger with a published log.
pub enum Compared {
    Verified(VerifiedCheckpoint),
    /// Why it was not compared. Nothing is known to be broken.
    Unchecked(String),
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
    /// Whether the keys were given, and not those that the ledger names.
    is_key_given: bool,
    /// How many files of the published log were checked; `None` if only a checkpoint was kept.
    files: Option<u64>,
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
        let files = self.files.map(|files| format!(", {files} files of the published log")).unwrap_or_default();
        format!(", as they were published in the checkpoint of {origin} with {published} events{rest}{cosigned}{files}")
    }

    /// The claim about the files, if they were checked.
    pub fn claim_of_files(&self) -> Option<String> {
        let (files, published) = (self.files?, self.published);
        Some(format!("each of its {files} tiles and bundles is of the checkpoint with {published} events"))
    }

    /// The claim that a ledger with these events proves; `None` if nobody but the ledger says which key is the log's.
    pub fn claim(&self) -> Option<String> {
        self.is_key_given.then(|| self.completeness())
    }

    fn completeness(&self) -> String {
        let (events, since) = match self.kept {
            Some(kept) => (self.compared.min(kept), "your checkpoint was signed"),
            None => (self.compared, "the newest checkpoint was signed; one that you kept says more: --checkpoint"),
        };
        format!("none of the first {events} events was changed, inserted or deleted since {since}")
    }

    pub fn as_json(&self) -> Value {
        json!({
            "origin": self.origin,
            "events": self.published,
            "compared": self.compared,
            "files": self.files,
            "witnesses": cosigned_json(&self.cosigned),
        })
    }
}

impl PublishedAt {
    /// The published log of a ledger, which must be there if a key is given.
    pub fn named(args: &VerifyArgs, folder: Option<&Path>) -> Result<Self, Failure> {
        Self::at(&published_log_of(folder)?, args)
    }

    /// The published log of a ledger, if there may be one: in the object store that the variable names, or in the folder of a ledger's
    /// file.
    pub fn of_ledger(args: &VerifyArgs, folder: Option<&Path>) -> Result<Option<Self>, Failure> {
        let remembered = folder.map(|folder| is_remembered(folder, Role::Transparency)).transpose();
        let begun = match remembered.map_err(|error| Failure::NotBegun(error.to_string()))? {
            Some(true) => Begun::Yes,
            Some(false) => Begun::No,
            None => Begun::Unknown,
        };
        if let Some(address) = named_object_store(None)? {
            let objects = read_objects(&address).map_err(|error| error.to_string());
            return Self::of(objects, args).map(|published| Some(Self { begun, need: Need::Optional, ..published }));
        }
        let Some(objects) = folder.map(objects_beside) else { return Ok(None) };
        match (objects.join(FOLDER).exists() || objects.exists() && begun == Begun::Yes, begun) {
            (true, _) => {
                let published = Self::at(&ObjectStoreAddress::of_folder(&objects), args)?;
                Ok(Some(Self { begun, ..published }))
            }
            (false, Begun::Yes) => {
                let variable = OBJECT_STORE_URL.variable;
                let elsewhere = format!("it was published, and is not in {}: set {variable}", objects.display());
                Self::of(Err(elsewhere), args).map(|published| Some(Self { need: Need::Optional, ..published }))
            }
            (false, Begun::No | Begun::Unknown) => Ok(None),
        }
    }

    /// The published log beside an archive, if there may be one.
    pub fn beside_archive(args: &VerifyArgs) -> Result<Option<Self>, Failure> {
        let address = named_object_store(args.archive.as_deref())?;
        address.map(|address| Self::at(&address, args)).transpose()
    }

    fn at(address: &ObjectStoreAddress, args: &VerifyArgs) -> Result<Self, Failure> {
        Self::of(Ok(read_objects(address)?), args)
    }

    fn of(objects: Result<Objects, String>, args: &VerifyArgs) -> Result<Self, Failure> {
        let signers = if args.checkpoint_key.is_empty() { None } else { Some(Signers::read(args)?) };
        let read = |file: &PathBuf| {
            let wrong = |why: &dyn std::fmt::Display| Failure::NotBegun(format!("{}: {why}", file.display()));
            let bytes = std::fs::read(file).map_err(|error| wrong(&error))?;
            let signed = SignedCheckpoint::parse(&bytes).map_err(|error| wrong(&error))?;
            Ok::<_, Failure>(KeptCheckpoint { file: file.display().to_string(), signed })
        };
        let kept = args.checkpoint.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { objects, signers, kept, begun: Begun::Unknown, need: Need::Required })
    }

    /// Compares a ledger with it; `None` as for [`Self::check`]. A ledger that ends before the published log may be a backup, unless the
    /// log is beside it.
    pub fn check_ledger(&self, reader: &dyn Reader, runtime: &CommandRuntime) -> Result<Option<Compared>, Fault> {
        match self.need {
            Need::Required => Ok(self.check(reader, Extent::Whole, runtime)?.map(Compared::Verified)),
            Need::Optional => match self.check(reader, Extent::Beginning, runtime) {
                Ok(verified) => Ok(verified.map(Compared::Verified)),
                Err(Fault::Unreadable(why)) => Ok(Some(Compared::Unchecked(why))),
                Err(fault @ (Fault::Broken { .. } | Fault::Damaged { .. })) => Err(fault),
            },
        }
    }

    /// `None` if nothing is published there, and no key was given for it; in an object store that nobody asked for, if the ledger names no
    /// key either.
    pub fn check(
        &self,
        reader: &dyn Reader,
        extent: Extent,
        runtime: &CommandRuntime,
    ) -> Result<Option<VerifiedCheckpoint>, Fault> {
        let files = Files::new(self.objects.clone().map_err(Fault::Unreadable)?);
        let log = PublishedLog::new(files.clone());
        let place = log.place();
        let checkpoint =
            runtime.block_on(log.unchecked_checkpoint()).map_err(|error| published_fault(error, &place))?;
        let newest = checkpoint.as_ref().map(|newest| SignedCheckpoint::parse(&newest.bytes)).transpose();
        let newest = newest.map_err(|error| published_fault(CheckpointError::from(error).into(), &place))?;
        let origin = match (&self.signers, &newest) {
            (Some(signers), _) => signers.keys.origin(),
            (None, Some(newest)) => log_of_signer(newest, reader).unwrap_or_else(|| newest.unverified().origin()),
            // A process that is stopped before its first checkpoint leaves files, and goes on with them when it starts again.
            (None, None) if self.begun == Begun::No => return Ok(None),
            (None, None) if self.begun == Begun::Yes => {
                let missing = "is missing, and it was published: if it is elsewhere by now, say where";
                return Err(in_checkpoint(
                    1,
                    format!("{CHECKPOINT} in {place} {missing}: {}", OBJECT_STORE_URL.variable),
                ));
            }
            (None, None) => {
                must_be_empty(&files, runtime)?;
                let is_unnamed = self.need == Need::Required
                    || recorded_log_keys(reader).map_err(|error| Fault::Unreadable(error.to_string()))?.is_empty();
                return if is_unnamed {
                    Ok(None)
                } else {
                    Err(Fault::Unreadable(format!("the ledger names a key of a published log, and {place} has none")))
                };
            }
        };
        let kept: Vec<_> = self.kept.iter().map(|kept| kept.signed.clone()).collect();
        // What is damaged in the log is found when its events are compared.
        let (history, unread) = match KeyHistory::read(origin, reader) {
            Ok(history) => (history, None),
            Err(error) => (KeyHistory::new(origin), Some(error)),
        };
        let names_no_key = unread.is_none() && history.keys().verifiers().is_empty();
        if names_no_key && self.need == Need::Optional && self.signers.is_none() {
            return Err(Fault::Unreadable(format!(
                "the published log in {place} is of another ledger, or of a later copy: this one names no key of {origin}"
            )));
        }
        let checkpoints: Vec<_> = kept.iter().chain(&newest).cloned().collect();
        let given = self.signers.as_ref().map_or_else(|| history.keys(), |signers| signers.keys.clone());
        let keys = history.trusted(&given, &checkpoints).map_err(|(index, error)| match (&unread, extent) {
            (Some(unread), _) if self.signers.is_none() => Fault::Unreadable(format!("the keys of the log: {unread}")),
            // The key may be in an event that is not archived yet.
            (None, Extent::Beginning)
                if self.signers.is_none() && is_of_unknown_key(&error) && is_behind(reader, checkpoint.as_ref()) =>
            {
                Fault::Unreadable(format!("{CHECKPOINT} in {place}: {error}; --checkpoint-key has the log's keys"))
            }
            _ => self.untrusted(index, &error, &place),
        })?;
        let kept: Vec<_> = kept.iter().map(|kept| *kept.unverified().head()).collect();
        let must_be_cosigned = self.signers.as_ref().is_some_and(|signers| !signers.witnesses.is_empty());
        let (head, cosigned) = match &newest {
            Some(newest) => {
                let cosigned = self.signers.as_ref().map_or(Ok(Vec::new()), |signers| signers.cosigned_of(newest));
                (*newest.unverified().head(), cosigned)
            }
            // Without the files, a checkpoint that was kept still says what the events were.
            None => match kept.iter().max_by_key(|kept| kept.size) {
                Some(longest) if !must_be_cosigned => (*longest, Ok(Vec::new())),
                _ => return Err(Fault::Unreadable(format!("there is no published log in {place}"))),
            },
        };
        let tree = log.tree(head);
        let checked = newest.is_some().then(|| check_files(&tree, runtime)).transpose()?;
        let tile = |index| {
            let id = TileId::in_tree(head.size, 0, index)?;
            Tile::parse(id, &runtime.block_on(tree.tile(id)).ok()??).ok()
        };
        let mut not_proven = None;
        let proof = |old, new| match extent {
            Extent::Whole => None,
            // A published log that ends before a checkpoint of it has lost what came after.
            Extent::Beginning if new > head.size => None,
            Extent::Beginning => {
                runtime.block_on(tree.consistency_proof(old, new)).map_err(|error| not_proven = Some(error)).ok()
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
                let cosigned = cosigned.map_err(|error| match error {
                    // A checkpoint is cosigned a moment after it is published: without that, nothing is known to be broken.
                    NotCosigned::Absent { .. } => Fault::Unreadable(format!("{place}: {error}: try again")),
                    NotCosigned::Wrong(_) => in_checkpoint(1, format!("{CHECKPOINT} in {place}: {error}")),
                })?;
                let kept = kept.iter().map(|kept| kept.size).max();
                Ok(Some(VerifiedCheckpoint {
                    origin: origin.to_owned(),
                    published: head.size,
                    compared,
                    kept,
                    cosigned,
                    is_key_given: self.signers.is_some(),
                    files: checked,
                }))
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
            None => in_checkpoint(position, format!("{CHECKPOINT} in {place}: {error}{advice}")),
        }
    }
}

/// Checks all files of a tree, and returns how many.
fn check_files(tree: &CheckedTree, runtime: &CommandRuntime) -> Result<u64, Fault> {
    let mut progress = Progress::new("published files", WithoutTerminal::Silent);
    let checked = runtime.block_on(tree.check_all(&mut |position, last| progress.at(position, last)));
    if checked.is_ok() {
        progress.done();
    }
    checked.map_err(|error| published_fault(error, &tree.place()))
}

/// Without a checkpoint, there must be nothing else.
fn must_be_empty(files: &Files, runtime: &CommandRuntime) -> Result<(), Fault> {
    let paths = runtime.block_on(files.paths()).map_err(|error| Fault::Unreadable(error.to_string()))?;
    let Some(first) = paths.first() else { return Ok(()) };
    let place = files.place();
    Err(Fault::Unreadable(format!("{CHECKPOINT} is missing in {place}, where there is {FOLDER}/{first}")))
}

/// The log whose recorded key a signature of a checkpoint names. Whether the signature is right, and the checkpoint is of this log, is
/// for the caller to check.
fn log_of_signer<'a>(signed: &'a SignedCheckpoint, reader: &dyn Reader) -> Option<&'a str> {
    let signatures = signed.note().signatures().iter();
    signatures.map(|signature| (signature.name(), signature.key_id())).find_map(|(name, id)| {
        let keys = KeyHistory::read(name.as_str(), reader).ok()?.keys();
        keys.verifiers().iter().any(|key| key.name() == name && key.id() == id).then_some(name.as_str())
    })
}

/// Whether the ledger knows none of the keys that have signed a checkpoint.
const fn is_of_unknown_key(error: &CheckpointError) -> bool {
    matches!(error, CheckpointError::Refused(CheckpointRefused::Note(NoteRefused::NoKnownKey)))
}

/// Whether the events end before those of a checkpoint, of which nobody has checked the signature.
fn is_behind(reader: &dyn Reader, checkpoint: Option<&Checkpoint>) -> bool {
    let published = checkpoint.map_or(0, |checkpoint| checkpoint.head.size);
    reader.head().is_ok_and(|head| head.position < published)
}

fn in_checkpoint(position: u64, reason: String) -> Fault {
    Fault::Damaged { position, object: CHECKPOINT.to_owned(), reason }
}

/// The fault of a published log: of one of its files, or of the store that did not give it.
fn published_fault(error: PublishedError, place: &str) -> Fault {
    match error {
        PublishedError::Damaged(damaged) => {
            let reason = damaged.to_string();
            Fault::Damaged { position: damaged.position, object: damaged.path, reason }
        }
        PublishedError::Checkpoint(error) => in_checkpoint(1, format!("{CHECKPOINT} in {place}: {error}")),
        PublishedError::Files(FilesError::TooLong { .. }) => in_checkpoint(1, format!("{FOLDER}/{error}")),
        other => Fault::Unreadable(other.to_string()),
    }
}
