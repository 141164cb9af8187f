//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): the origin of a log, the size and the root of its tree, and extension lines,
//! each on a line. A log signs them as notes, and witnesses cosign them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use crate::decimal;
use crate::key::{KeyKind, VerifierKey};
use crate::note::{
    MalformedNote, Note, NoteRefused, NoteSignature, NoteText, TooManySignatures, VerifiedSignature, verify_signatures,
};
use crate::signer::{Cosigner, Signer};
use crate::tree_head::{SIZE_MAX, TreeHead};

/// The commitment of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    origin: String,
    head: TreeHead,
    /// None of them is empty.
    extensions: Vec<String>,
}

/// A checkpoint as it is published. Nothing of it is known before it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

/// A text is not a checkpoint, or cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedCheckpoint {
    #[error(transparent)]
    Note(#[from] MalformedNote),
    #[error("a checkpoint has a line each for its origin, its size and its root")]
    TooShort,
    #[error("a line of a checkpoint is neither empty nor more than one line")]
    Line,
    #[error("the size of a tree is a decimal number up to 2^63 - 1, without leading zeros")]
    Size,
    #[error("the root of a tree is the base64 of 32 bytes")]
    Root,
}

/// A checkpoint is not what it is said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointRefused {
    #[error("the checkpoint is of {found:?}, not of {expected:?}")]
    OtherOrigin { found: String, expected: String },
    #[error(transparent)]
    Note(#[from] NoteRefused),
    #[error(transparent)]
    TooManySignatures(#[from] TooManySignatures),
}

/// How far the clocks of a witness and of whoever checks its cosignatures may differ.
const CLOCKS_DIFFER_MAX_S: u64 = 24 * 3600;

/// A witness's statement that the tree continues all that it has seen of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cosignature<'a> {
    pub witness: &'a VerifierKey,
    /// In seconds since 1970. If the witness signed more than once, the latest time.
    pub unix_seconds: u64,
    pub signature: &'a NoteSignature,
}

impl Cosignature<'_> {
    /// Whether its time has not come, by a clock that shows so many seconds since 1970, whatever clocks may differ by. Such a cosignature
    /// would pass for fresh for as long as its witness likes.
    pub const fn is_of_the_future(&self, now_unix_seconds: u64) -> bool {
        self.unix_seconds > now_unix_seconds.saturating_add(CLOCKS_DIFFER_MAX_S)
    }
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: &str, head: TreeHead) -> Result<Self, MalformedCheckpoint> {
        Self::with_extensions(origin, head, Vec::new())
    }

    /// Extension lines are signed, but no witness and no monitor checks them.
    pub fn with_extensions(origin: &str, head: TreeHead, extensions: Vec<String>) -> Result<Self, MalformedCheckpoint> {
        if head.size > SIZE_MAX {
            return Err(MalformedCheckpoint::Size);
        }
        let checkpoint = Self { origin: origin.to_owned(), head, extensions };
        let is_line = |line: &String| !line.is_empty() && !line.contains('\n');
        if !is_line(&checkpoint.origin) || !checkpoint.extensions.iter().all(is_line) {
            return Err(MalformedCheckpoint::Line);
        }
        NoteText::new(checkpoint.to_string())?;
        Ok(checkpoint)
    }

    /// Reads the text of a note, with its final line feed.
    pub fn parse(text: &str) -> Result<Self, MalformedCheckpoint> {
        let mut lines = text.strip_suffix('\n').ok_or(MalformedNote::NoFinalLineFeed)?.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(MalformedCheckpoint::TooShort);
        };
        let size = decimal::parse(size).ok_or(MalformedCheckpoint::Size)?;
        let root = root.parse().map_err(|_| MalformedCheckpoint::Root)?;
        Self::with_extensions(origin, TreeHead { size, root }, lines.map(str::to_owned).collect())
    }

    /// Which log it is of.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub const fn head(&self) -> &TreeHead {
        &self.head
    }

    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.head.size, self.head.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl SignedCheckpoint {
    /// Signs a checkpoint for its log.
    pub fn sign(checkpoint: Checkpoint, signer: &Signer) -> Result<Self, MalformedCheckpoint> {
        let text = NoteText::new(checkpoint.to_string())?;
        let signature = signer.sign(&text);
        Ok(Self { checkpoint, note: Note::new(text, signature) })
    }

    /// Adds the signature of another key of its log.
    pub fn sign_also(&mut self, signer: &Signer) -> Result<(), TooManySignatures> {
        self.note.add(signer.sign(self.note.text()))
    }

    /// Reads a signed checkpoint, of which nothing is known before it is verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedCheckpoint> {
        let note = Note::parse(bytes)?;
        Ok(Self { checkpoint: Checkpoint::parse(note.text().as_str())?, note })
    }

    /// The checkpoint as it stands there, verified or not.
    pub const fn unverified(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The checkpoint, if it is of this origin and one of the log's keys has signed it. Keys of witnesses do not count here.
    pub fn verify(&self, origin: &str, log_keys: &[VerifierKey]) -> Result<&Checkpoint, CheckpointRefused> {
        self.signers(origin, log_keys).map(|_| &self.checkpoint)
    }

    /// Which of the log's keys have signed it, if it is of this origin: at least one. Keys of witnesses do not count here.
    pub fn signers<'a>(
        &'a self,
        origin: &str,
        log_keys: &'a [VerifierKey],
    ) -> Result<Vec<&'a VerifierKey>, CheckpointRefused> {
        if self.checkpoint.origin != origin {
            let (found, expected) = (self.checkpoint.origin.clone(), origin.to_owned());
            return Err(CheckpointRefused::OtherOrigin { found, expected });
        }
        let log_keys = of_kind(log_keys, KeyKind::Ed25519);
        let verified = verify_signatures(self.note.text(), self.note.signatures(), &log_keys)?;
        if verified.is_empty() {
            return Err(NoteRefused::NoKnownKey.into());
        }
        Ok(verified.into_iter().map(|verified| verified.key).collect())
    }

    /// Which of the witnesses have cosigned it: each public key once, whatever names it has. Keys of logs do not count here. A
    /// cosignature of a known witness that is wrong is an error.
    pub fn cosignatures<'a>(&'a self, witnesses: &'a [VerifierKey]) -> Result<Vec<Cosignature<'a>>, NoteRefused> {
        verify_cosignatures(self.note.text(), self.note.signatures(), witnesses)
    }

    /// Cosigns it for a witness, which has checked that it continues the last one that it cosigned.
    pub fn cosign(&mut self, cosigner: &Cosigner, unix_seconds: u64) -> Result<(), TooManySignatures> {
        self.note.add(cosigner.cosign(self.note.text(), unix_seconds))
    }

    /// Adds what a witness answered: the latest cosignature of each of these witnesses, and none of others. If one of them is wrong,
    /// none is added.
    pub fn add_cosignatures<'a>(
        &mut self,
        signatures: &'a [NoteSignature],
        witnesses: &'a [VerifierKey],
    ) -> Result<Vec<Cosignature<'a>>, CheckpointRefused> {
        let cosignatures = verify_cosignatures(self.note.text(), signatures, witnesses)?;
        let mut note = self.note.clone();
        for cosignature in &cosignatures {
            note.add(cosignature.signature.clone())?;
        }
        self.note = note;
        Ok(cosignatures)
    }
}

fn of_kind(keys: &[VerifierKey], kind: KeyKind) -> Vec<&VerifierKey> {
    keys.iter().filter(|key| key.kind() == kind).collect()
}

fn verify_cosignatures<'a>(
    text: &NoteText,
    signatures: &'a [NoteSignature],
    witnesses: &'a [VerifierKey],
) -> Result<Vec<Cosignature<'a>>, NoteRefused> {
    let verified = verify_signatures(text, signatures, &of_kind(witnesses, KeyKind::CosignatureV1))?;
    let cosignatures = verified.into_iter().filter_map(|VerifiedSignature { key, signature, cosigned_at_unix }| {
        Some(Cosignature { witness: key, unix_seconds: cosigned_at_unix?, signature })
    });
    let mut cosignatures: Vec<_> = cosignatures.collect();
    cosignatures.sort_by_key(|cosignature| Reverse(cosignature.unix_seconds));
    let mut counted = BTreeSet::new();
    cosignatures.retain(|cosignature| counted.insert(*cosignature.witness.public_key()));
    Ok(cosignatures)
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.note, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hash;

    /// The example of the specification of cosignatures.
    const COSIGNED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    fn signer(name: &str, seed: u8) -> Signer {
        Signer::from_seed(name.parse().expect("a name"), &[seed; 32]).expect("a seed")
    }

    fn cosigner(name: &str, seed: u8) -> Cosigner {
        Cosigner::from_seed(name.parse().expect("a name"), &[seed; 32]).expect("a seed")
    }

    fn signed() -> SignedCheckpoint {
        let checkpoint = Checkpoint::new("example.com/log", TreeHead::EMPTY).expect("a checkpoint");
        SignedCheckpoint::sign(checkpoint, &signer("example.com/log", 1)).expect("a note")
    }

    #[test]
    fn the_example_of_the_specification_is_read_as_it_stands() {
        let read = SignedCheckpoint::parse(COSIGNED.as_bytes()).expect("a checkpoint");
        assert_eq!((read.to_string(), read.note().signatures().len()), (COSIGNED.to_owned(), 2));
        let checkpoint = read.unverified();
        assert_eq!((checkpoint.origin(), checkpoint.head().size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.extensions(), <[String; 0]>::default());
    }

    #[test]
    fn a_checkpoint_is_of_one_log() {
        let signed = signed();
        let log = [signer("example.com/log", 1).verifier_key().clone()];
        assert_eq!(signed.verify("example.com/log", &log), Ok(signed.unverified()));
        let other = signed.verify("example.com/lag", &log);
        assert!(matches!(other, Err(CheckpointRefused::OtherOrigin { .. })), "{other:?}");
        let impostor = [signer("example.com/log", 2).verifier_key().clone()];
        assert_eq!(signed.verify("example.com/log", &impostor), Err(NoteRefused::NoKnownKey.into()));
    }

    #[test]
    fn several_keys_of_a_log_can_sign_one_checkpoint_and_each_of_them_is_enough() {
        let (mut signed, name) = (signed(), "example.com/log");
        signed.sign_also(&signer(name, 2)).expect("there is room");
        let read = SignedCheckpoint::parse(signed.to_string().as_bytes()).expect("a checkpoint");
        let [first, second, other] = [1, 2, 3].map(|seed| signer(name, seed).verifier_key().clone());
        let both = [second.clone(), first.clone()];
        assert_eq!(read.signers(name, &both), Ok(vec![&first, &second]), "in the order of the signatures");
        for key in both {
            assert_eq!(read.verify(name, &[key, other.clone()]), Ok(read.unverified()));
        }
        assert_eq!(read.verify(name, &[other]), Err(NoteRefused::NoKnownKey.into()));
    }

    #[test]
    fn a_witness_counts_once_and_a_log_is_none() {
        let mut signed = signed();
        let (first, second, alias) = (cosigner("w1", 3), cosigner("w2", 4), cosigner("w3", 3));
        for (cosigner, time) in [(&first, 10), (&first, 30), (&first, 20), (&second, 5), (&alias, 7)] {
            signed.cosign(cosigner, time).expect("there is room");
        }
        let known = [&first, &second, &alias].map(|cosigner| cosigner.verifier_key().clone());
        let counted = signed.cosignatures(&known).expect("they are right");
        let counted: Vec<_> = counted.iter().map(|one| (one.witness.name().as_str(), one.unix_seconds)).collect();
        assert_eq!(counted, [("w1", 30), ("w2", 5)]);
        let log = [signer("example.com/log", 1).verifier_key().clone()];
        assert_eq!(signed.cosignatures(&log), Ok(Vec::new()));
        assert_eq!(signed.verify("example.com/log", &known), Err(NoteRefused::NoKnownKey.into()));
    }

    #[test]
    fn only_right_cosignatures_of_known_witnesses_are_added() {
        let (plain, witness, unknown) = (signed(), cosigner("w1", 3), cosigner("w2", 4));
        let known = [witness.verifier_key().clone()];
        let cosign = |cosigner: &Cosigner, time| cosigner.cosign(plain.note().text(), time);
        let answer = [cosign(&unknown, 1), cosign(&witness, 1), cosign(&witness, 2)];
        let mut added = plain.clone();
        assert_eq!(added.add_cosignatures(&answer, &known).map(|added| added.len()), Ok(1));
        assert_eq!(added.note().signatures()[1..], answer[2..]);
        let elsewhere = NoteText::new("example.com/other\n".to_owned()).expect("a text");
        let mut refused = plain.clone();
        let wrong = [cosign(&witness, 1), witness.cosign(&elsewhere, 1)];
        let refusal = refused.add_cosignatures(&wrong, &known);
        assert!(matches!(refusal, Err(CheckpointRefused::Note(NoteRefused::WrongSignature { .. }))), "{refusal:?}");
        assert_eq!(refused, plain);
    }

    #[test]
    fn extension_lines_are_kept() {
        let lines = vec!["one".to_owned(), "two 2".to_owned()];
        let checkpoint = Checkpoint::with_extensions("o", TreeHead::EMPTY, lines.clone()).expect("a checkpoint");
        assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint.clone()));
        assert_eq!(checkpoint.extensions(), lines);
    }

    #[test]
    fn what_is_not_a_checkpoint_is_refused() {
        let root = Hash::EMPTY_ROOT;
        for (text, why) in [
            (String::new(), MalformedCheckpoint::Note(MalformedNote::NoFinalLineFeed)),
            (format!("o\n0\n{root}"), MalformedCheckpoint::Note(MalformedNote::NoFinalLineFeed)),
            ("o\n0\n".to_owned(), MalformedCheckpoint::TooShort),
            (format!("\n0\n{root}\n"), MalformedCheckpoint::Line),
            (format!("o\n0\n{root}\n\n"), MalformedCheckpoint::Line),
            (format!("o\n0\n{root}\n\nx\n"), MalformedCheckpoint::Line),
            (format!("o\n+1\n{root}\n"), MalformedCheckpoint::Size),
            (format!("o\n01\n{root}\n"), MalformedCheckpoint::Size),
            (format!("o\n9223372036854775808\n{root}\n"), MalformedCheckpoint::Size),
            (format!("o\n0\n{root} \n"), MalformedCheckpoint::Root),
            (format!("o\t\n0\n{root}\n"), MalformedCheckpoint::Note(MalformedNote::ControlCharacter)),
        ] {
            assert_eq!(Checkpoint::parse(&text), Err(why), "{text:?}");
        }
        assert_eq!(Checkpoint::new("a\nb", TreeHead::EMPTY), Err(MalformedCheckpoint::Line));
        assert_eq!(Checkpoint::new("", TreeHead::EMPTY), Err(MalformedCheckpoint::Line));
    }
}
