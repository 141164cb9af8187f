//! A witness: it checks, stores and cosigns, in this order, one checkpoint of a log at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::ids::Random;
use events::log::lock::FolderError;
use events::time::Clock;
use tlog::{AddCheckpoint, Cosigner, KeyName, NoteSignature, TreeHead, VerifierKey};

use crate::decision::SignedRequest;
use crate::folder::{StoredCheckpointError, WitnessFolder};
use crate::key_file::KeyError;
use crate::known_logs::KnownLogs;
use crate::refusal::Refusal;
use crate::stored_checkpoint::StoredCheckpoint;

/// A witness of some logs.
pub struct Witness {
    cosigner: Cosigner,
    clock: Arc<dyn Clock>,
    folder: WitnessFolder,
    logs: BTreeMap<String, WitnessedLog>,
}

/// A log, and its stored checkpoint.
struct WitnessedLog {
    keys: Vec<VerifierKey>,
    /// `None` if there is none. Never ahead of the file. Held while the next one is checked and stored, so that two requests at the
    /// same time are decided one after the other. The log's signatures are checked before, since anybody can send wrong ones.
    stored: Mutex<Option<StoredCheckpoint>>,
}

/// A witness cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    StoredCheckpoint(#[from] StoredCheckpointError),
}

impl WitnessedLog {
    fn stored(&self) -> MutexGuard<'_, Option<StoredCheckpoint>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness {
    /// Opens the folder of a witness, or begins one. No other process may use it until the witness is dropped.
    pub fn open(
        folder: &Path,
        name: &KeyName,
        logs: KnownLogs,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<Self, OpenError> {
        let folder = WitnessFolder::create_and_lock(folder)?;
        let cosigner = folder.key(name, random)?;
        let witnessed = |(origin, keys): (String, Vec<VerifierKey>)| {
            let stored = Mutex::new(folder.stored_checkpoint(&origin, cosigner.verifier_key())?);
            Ok((origin, WitnessedLog { keys, stored }))
        };
        let logs = logs.into_by_origin().into_iter().map(witnessed).collect::<Result<_, StoredCheckpointError>>()?;
        Ok(Self { cosigner, clock, folder, logs })
    }

    /// The key that checks its cosignatures.
    pub const fn verifier_key(&self) -> &VerifierKey {
        self.cosigner.verifier_key()
    }

    /// The logs, by origin, with the size of the stored checkpoint of each: 0 if there is none.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.logs.iter().map(|(origin, log)| (&**origin, head(log.stored().as_ref()).size))
    }

    /// Cosigns the checkpoint of a request, the body of `add-checkpoint`, if it continues the stored one of its log. Blocking: when
    /// it returns, the checkpoint is durable.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<NoteSignature, Refusal> {
        let request = AddCheckpoint::parse(body)?;
        let origin = request.checkpoint.unverified().origin();
        let log = self.logs.get(origin).ok_or(Refusal::UnknownLog)?;
        let signed = SignedRequest::verify(&request, &log.keys)?;
        self.cosign(origin, &signed, &mut log.stored())
    }

    /// The stored checkpoint is replaced once its file is. If that fails, the file may have the new checkpoint, which nobody was told
    /// of: the next one need not continue it, and replaces it.
    fn cosign(
        &self,
        origin: &str,
        signed: &SignedRequest,
        stored: &mut Option<StoredCheckpoint>,
    ) -> Result<NoteSignature, Refusal> {
        let decided = signed.must_continue(&head(stored.as_ref()));
        if matches!(decided, Err(Refusal::OtherRoot)) {
            log_contradiction(origin, stored.as_ref(), signed);
        }
        decided?;
        let cosigned =
            StoredCheckpoint::cosign(signed, &self.cosigner, self.unix_seconds()).map_err(Refusal::NoRoom)?;
        self.folder.store(origin, &cosigned).map_err(Refusal::NotStored)?;
        let cosignature = cosigned.cosignature().clone();
        *stored = Some(cosigned);
        Ok(cosignature)
    }

    /// A clock before 1970 is as wrong as can be.
    fn unix_seconds(&self) -> u64 {
        u64::try_from(self.clock.now().timestamp()).unwrap_or(0)
    }
}

/// The tree of a stored checkpoint. If there is none, it is the empty one.
fn head(stored: Option<&StoredCheckpoint>) -> TreeHead {
    stored.map_or(TreeHead::EMPTY, |checkpoint| *checkpoint.head())
}

/// Logs the proof that a log has signed two histories: both checkpoints whole, so that anybody can check their signatures. A refused
/// consistency proof proves nothing: whoever has a checkpoint can send a wrong one.
fn log_contradiction(origin: &str, stored: Option<&StoredCheckpoint>, signed: &SignedRequest) {
    let stored = stored.map_or_else(|| "none: an empty tree has one root".to_owned(), on_one_line);
    let refused = on_one_line(&signed.note());
    tracing::error!(origin, %stored, %refused, "the log has signed two checkpoints of one size with different roots");
}

/// A note on one line that is safe to print: with `\n` for its line feeds, and other escapes of Rust for what does not print. Without
/// these characters, no signature could be checked.
fn on_one_line(note: &impl ToString) -> String {
    note.to_string().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use chrono::DateTime;
    use events::ids::SystemRandom;
    use events::time::ManualClock;
    use tempfile::TempDir;
    use tlog::{Checkpoint, NOTE_BYTES_MAX, SignedCheckpoint};
    use tracing::field::Field;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::test_log::{ORIGIN, TestLog, signer};

    const UNIX_SECONDS: u64 = 1_800_000_000;

    fn open(folder: &TempDir) -> Result<Witness, OpenError> {
        let name = "witness.example/w1".parse().expect("a name");
        let logs = KnownLogs::new([signer(1).verifier_key().clone()]).expect("a key of a log");
        let now = DateTime::from_timestamp(UNIX_SECONDS.try_into().expect("a time"), 0).expect("a time");
        Witness::open(folder.path(), &name, logs, Arc::new(ManualClock::at(now)), &SystemRandom)
    }

    fn opened(folder: &TempDir) -> Witness {
        open(folder).unwrap_or_else(|error| panic!("{error}"))
    }

    fn ask(witness: &Witness, log: &TestLog, old: u64, new: u64) -> Result<NoteSignature, Refusal> {
        witness.add_checkpoint(log.request(old, new).to_string().as_bytes())
    }

    fn size(witness: &Witness) -> u64 {
        witness.sizes().next().expect("a log").1
    }

    #[test]
    fn the_cosignature_is_of_the_checkpoint_and_the_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let (witness, log) = (opened(&folder), TestLog::new("ours"));
        let cosignature = [ask(&witness, &log, 0, 5).expect("it is the first")];
        let known = [witness.verifier_key().clone()];
        let mut checkpoint = log.request(0, 5).checkpoint;
        let added = checkpoint.add_cosignatures(&cosignature, &known).expect("it is right");
        assert_eq!(added.iter().map(|one| one.unix_seconds).collect::<Vec<_>>(), [UNIX_SECONDS]);
        assert!(log.request(0, 6).checkpoint.add_cosignatures(&cosignature, &known).is_err());
    }

    #[test]
    fn what_was_cosigned_stays_stored_and_a_fork_is_refused_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, forked) = (TestLog::new("ours"), TestLog::new("forked"));
        let witness = opened(&folder);
        ask(&witness, &ours, 0, 6).expect("it is the first");
        let key = witness.verifier_key().clone();
        drop(witness);
        let witness = opened(&folder);
        assert_eq!((witness.verifier_key(), size(&witness)), (&key, 6));
        assert!(matches!(ask(&witness, &forked, 0, 7), Err(Refusal::OtherSize { stored_size: 6 })));
        assert!(matches!(ask(&witness, &forked, 6, 7), Err(Refusal::Inconsistent(_))));
        assert!(matches!(ask(&witness, &forked, 6, 6), Err(Refusal::OtherRoot)));
        ask(&witness, &ours, 6, 6).expect("the same once more");
        ask(&witness, &ours, 6, 8).expect("it continues");
        assert_eq!(size(&witness), 8);
    }

    /// The fields that are logged while it is the subscriber, by name.
    #[derive(Clone, Default)]
    struct Logged(Arc<Mutex<BTreeMap<&'static str, String>>>);

    impl Subscriber for Logged {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn event(&self, event: &Event<'_>) {
            event.record(&mut |field: &Field, value: &dyn Debug| {
                self.0.lock().expect("not poisoned").insert(field.name(), format!("{value:?}"));
            });
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn two_checkpoints_that_contradict_each_other_are_logged_whole_and_safe_to_print() {
        const UNPRINTABLE: [char; 4] = ['\u{9b}', '\u{202e}', '\u{85}', '\u{2028}'];
        let folder = tempfile::tempdir().expect("a folder");
        let witness = opened(&folder);
        let with_extension = |history: &str, old_size| {
            let (log, extension) = (TestLog::new(history), format!("31m  {}", String::from_iter(UNPRINTABLE)));
            let checkpoint = Checkpoint::with_extensions(ORIGIN, log.head(6), vec![extension]).expect("a checkpoint");
            let checkpoint = SignedCheckpoint::sign(checkpoint, &log.signer).expect("a note");
            AddCheckpoint { checkpoint, ..log.request(old_size, 6) }
        };
        let (stored, refused) = (with_extension("ours", 0), with_extension("forked", 6));
        witness.add_checkpoint(stored.to_string().as_bytes()).expect("it is the first");
        drop(witness);
        let (witness, logged) = (opened(&folder), Logged::default());
        let answered = tracing::subscriber::with_default(logged.clone(), || {
            witness.add_checkpoint(refused.to_string().as_bytes())
        });
        assert!(matches!(answered, Err(Refusal::OtherRoot)));
        for (field, request) in [("stored", stored), ("refused", refused)] {
            let line = logged.0.lock().expect("not poisoned")[field].clone();
            assert!(line.chars().all(|letter| letter.is_ascii_graphic() || matches!(letter, ' ' | '—')), "{line}");
            let note = UNPRINTABLE.iter().fold(line.replace("\\n", "\n"), |note, letter| {
                note.replace(&letter.escape_unicode().to_string(), &letter.to_string())
            });
            let checkpoint = SignedCheckpoint::parse(note.as_bytes()).expect("a checkpoint");
            let signed = checkpoint.verify(ORIGIN, &[signer(1).verifier_key().clone()]).expect("signed by the log");
            assert_eq!(signed, request.checkpoint.unverified());
        }
    }

    #[test]
    fn of_many_at_the_same_time_one_is_cosigned() {
        const THREADS: usize = 16;
        let folder = tempfile::tempdir().expect("a folder");
        let witness = opened(&folder);
        let histories: Vec<_> = (0..THREADS).map(|number| TestLog::new(&number.to_string())).collect();
        let cosigned = std::thread::scope(|scope| {
            let asking: Vec<_> =
                histories.iter().map(|history| scope.spawn(|| ask(&witness, history, 0, 8).is_ok())).collect();
            asking.into_iter().map(|thread| thread.join().expect("an answer")).filter(|is| *is).count()
        });
        assert_eq!(cosigned, 1);
    }

    #[test]
    fn what_cannot_be_stored_is_not_cosigned() {
        let folder = tempfile::tempdir().expect("a folder");
        let (witness, log) = (opened(&folder), TestLog::new("ours"));
        ask(&witness, &log, 0, 3).expect("it is the first");
        // Whoever is root may write into any folder, but not where a folder has the name of the file.
        let next = folder.path().join(stored_name(&folder) + "-next");
        fs::create_dir(&next).expect("a folder in the way");
        assert!(matches!(ask(&witness, &log, 3, 5), Err(Refusal::NotStored(_))));
        assert_eq!(size(&witness), 3);
        fs::remove_dir(&next).expect("it is out of the way");
        ask(&witness, &log, 3, 5).expect("it continues the stored one");
    }

    fn stored_name(folder: &TempDir) -> String {
        let names = fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("an entry").file_name());
        let mut names = names.map(|name| name.to_string_lossy().into_owned());
        names.find(|name| name.ends_with(".checkpoint")).expect("a stored checkpoint")
    }

    #[test]
    fn a_checkpoint_that_could_not_be_read_again_is_not_cosigned() {
        let folder = tempfile::tempdir().expect("a folder");
        let (witness, log) = (opened(&folder), TestLog::new("ours"));
        let with_extension = |bytes: usize| {
            let extension = "x".repeat(bytes);
            let checkpoint = Checkpoint::with_extensions(ORIGIN, log.head(3), vec![extension]).expect("a checkpoint");
            let checkpoint = SignedCheckpoint::sign(checkpoint, &log.signer).expect("a note");
            AddCheckpoint { checkpoint, ..log.request(0, 3) }.to_string()
        };
        // The longest note that a log can sign.
        let others = with_extension(1).len() - "old 0\n\n".len() - 1;
        let longest = with_extension(NOTE_BYTES_MAX - others);
        assert!(
            AddCheckpoint::parse(longest.as_bytes()).is_ok()
                && AddCheckpoint::parse(with_extension(NOTE_BYTES_MAX - others + 1).as_bytes()).is_err()
        );
        assert!(matches!(witness.add_checkpoint(longest.as_bytes()), Err(Refusal::NoRoom(_))));
        assert_eq!(size(&witness), 0);
        witness.add_checkpoint(with_extension(NOTE_BYTES_MAX - 1000).as_bytes()).expect("there is room");
        drop(witness);
        assert_eq!(size(&opened(&folder)), 3);
    }

    #[test]
    fn a_damaged_stored_checkpoint_is_refused_and_a_lost_key_is_not_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (witness, log) = (opened(&folder), TestLog::new("ours"));
        ask(&witness, &log, 0, 5).expect("it is the first");
        assert!(matches!(open(&folder), Err(OpenError::Folder(FolderError::InUse { .. }))));
        drop(witness);
        let stored = folder.path().join(stored_name(&folder));
        assert_eq!(fs::metadata(&stored).expect("the file").permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&stored).expect("the file");
        assert!(text.starts_with(&format!("{ORIGIN}\n5\n")), "{text}");
        let without_cosignature = format!("{}\n", text.trim_end().rsplit_once('\n').expect("lines").0);
        for damaged in
            [String::new(), text.replacen("\n5\n", "\n4\n", 1), text.replacen(ORIGIN, "x", 1), without_cosignature]
        {
            fs::write(&stored, &damaged).expect("a file");
            assert!(
                matches!(open(&folder), Err(OpenError::StoredCheckpoint(StoredCheckpointError::Damaged { .. }))),
                "{damaged}"
            );
        }
        fs::write(&stored, text).expect("a file");
        assert_eq!(size(&opened(&folder)), 5);
        fs::remove_file(folder.path().join(crate::folder::KEY_FILE)).expect("the key");
        assert!(matches!(open(&folder), Err(OpenError::Key(KeyError::Lost { .. }))));
        assert!(!folder.path().join(crate::folder::KEY_FILE).exists());
    }
}
