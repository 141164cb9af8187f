//! Signed notes (<https://c2sp.org/signed-note>): a text, an empty line, and a line for each signature. Signatures of unknown keys
//! are kept, and count for nothing.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::key::{KeyId, KeyKind, KeyName, VerifierKey};

/// A longer note is refused, as Go's `note` package does.
pub const NOTE_BYTES_MAX: usize = 1_000_000;
/// A note with more signatures is refused, as Go's `note` package does.
pub const SIGNATURES_MAX: usize = 100;
/// The beginning of a line with a signature: an em dash and a space.
const SIGNATURE_PREFIX: &str = "— ";
/// The time before the signature in a cosignature.
const TIMESTAMP_BYTES: usize = 8;
/// The latest time that the specification has.
pub const UNIX_SECONDS_MAX: u64 = i64::MAX as u64;

/// A text that can be signed: it ends with a line feed, and has no other control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteText(String);

/// A signature of a note, of a known key or of an unknown one. Its text is its line, without the line feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteSignature {
    name: KeyName,
    key_id: KeyId,
    /// Not empty. What they mean depends on the key.
    bytes: Vec<u8>,
}

/// A text with its signatures: at least one, and at most [`SIGNATURES_MAX`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    text: NoteText,
    signatures: Vec<NoteSignature>,
}

/// The bytes are not a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedNote {
    #[error("a note has at most {NOTE_BYTES_MAX} bytes, not {0}")]
    TooLong(usize),
    #[error("a note is UTF-8")]
    NotUtf8,
    #[error("a note has no control characters other than line feeds")]
    ControlCharacter,
    #[error("the text of a note ends with a line feed")]
    NoFinalLineFeed,
    #[error("a note has an empty line before its signatures")]
    NoSignatures,
    #[error("a line of a signature is an em dash, a space, the name of the key, a space, and base64")]
    SignatureLine,
    #[error(transparent)]
    TooManySignatures(#[from] TooManySignatures),
}

/// A note has as many signatures as it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a note has at most {SIGNATURES_MAX} signatures")]
pub struct TooManySignatures;

/// None of the known keys vouches for a note, or one that should does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteRefused {
    #[error("no known key has signed the note")]
    NoKnownKey,
    #[error("the signature of {name} ({id}) is wrong")]
    WrongSignature { name: KeyName, id: KeyId },
}

/// A signature of a known key, which is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifiedSignature<'a> {
    pub key: &'a VerifierKey,
    pub signature: &'a NoteSignature,
    /// When it was made, in seconds since 1970, if the key is a witness's.
    pub cosigned_at_unix: Option<u64>,
}

impl NoteText {
    pub fn new(text: String) -> Result<Self, MalformedNote> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(MalformedNote::TooLong(text.len()));
        }
        if !text.ends_with('\n') {
            return Err(MalformedNote::NoFinalLineFeed);
        }
        if has_control_character(&text) {
            return Err(MalformedNote::ControlCharacter);
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NoteSignature {
    pub(crate) const fn new(name: KeyName, key_id: KeyId, bytes: Vec<u8>) -> Self {
        Self { name, key_id, bytes }
    }

    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Name and id together say which key should have made it.
    fn is_of(&self, key: &VerifierKey) -> bool {
        self.key_id == key.id() && self.name == *key.name()
    }

    /// Checks it with a key that it is of; `None` if it is wrong.
    fn verify<'a>(&'a self, text: &NoteText, key: &'a VerifierKey) -> Option<VerifiedSignature<'a>> {
        let verified = VerifiedSignature { key, signature: self, cosigned_at_unix: None };
        match key.kind() {
            KeyKind::Ed25519 => key.has_signed(text.as_str().as_bytes(), &self.bytes).then_some(verified),
            KeyKind::CosignatureV1 => {
                let (time, signature) = self.bytes.split_first_chunk::<TIMESTAMP_BYTES>()?;
                let unix_seconds = Some(u64::from_be_bytes(*time)).filter(|seconds| *seconds <= UNIX_SECONDS_MAX)?;
                let is_right = key.has_signed(&cosigned_message(text, unix_seconds), signature);
                is_right.then_some(VerifiedSignature { cosigned_at_unix: Some(unix_seconds), ..verified })
            }
        }
    }
}

/// The message that a witness signs (<https://c2sp.org/tlog-cosignature>).
pub fn cosigned_message(text: &NoteText, unix_seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {unix_seconds}\n{}", text.as_str()).into_bytes()
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.key_id.as_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes);
        write!(f, "{SIGNATURE_PREFIX}{} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for NoteSignature {
    type Err = MalformedNote;

    fn from_str(line: &str) -> Result<Self, MalformedNote> {
        let read = || {
            let (name, base64) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
            let bytes = STANDARD.decode(base64).ok()?;
            let (key_id, bytes) = bytes.split_first_chunk()?;
            let signature = Self::new(name.parse().ok()?, KeyId::from_bytes(*key_id), bytes.to_vec());
            (!bytes.is_empty()).then_some(signature)
        };
        read().ok_or(MalformedNote::SignatureLine)
    }
}

impl Note {
    pub fn new(text: NoteText, signature: NoteSignature) -> Self {
        Self { text, signatures: vec![signature] }
    }

    /// Reads a note, of which nothing is known before [`Note::verify`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedNote> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(MalformedNote::TooLong(bytes.len()));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| MalformedNote::NotUtf8)?;
        // The text may have empty lines too: the last one ends it.
        let end = note.rfind("\n\n").ok_or(MalformedNote::NoSignatures)?;
        let (text, signatures) = note.split_at(end + 1);
        let text = NoteText::new(text.to_owned())?;
        Ok(Self { text, signatures: parse_signatures(&signatures[1..])? })
    }

    pub const fn text(&self) -> &NoteText {
        &self.text
    }

    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature, unless it is there.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), TooManySignatures> {
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        if self.signatures.len() >= SIGNATURES_MAX {
            return Err(TooManySignatures);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// The signatures of known keys, all of which are right: one that is wrong spoils the note, as the specification advises.
    /// A key that signed twice is there twice.
    pub fn verify<'a>(&'a self, keys: &'a [VerifierKey]) -> Result<Vec<VerifiedSignature<'a>>, NoteRefused> {
        let verified = verify_signatures(&self.text, &self.signatures, &keys.iter().collect::<Vec<_>>())?;
        if verified.is_empty() { Err(NoteRefused::NoKnownKey) } else { Ok(verified) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text.as_str())?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// Lines of signatures, each with its line feed: at least one.
pub fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature>, MalformedNote> {
    let lines = lines.strip_suffix('\n').ok_or(MalformedNote::NoSignatures)?;
    if has_control_character(lines) {
        return Err(MalformedNote::ControlCharacter);
    }
    if lines.split('\n').count() > SIGNATURES_MAX {
        return Err(TooManySignatures.into());
    }
    lines.split('\n').map(str::parse).collect()
}

/// Those of known keys; signatures of others are ignored. One that is wrong is an error.
pub fn verify_signatures<'a>(
    text: &NoteText,
    signatures: &'a [NoteSignature],
    keys: &[&'a VerifierKey],
) -> Result<Vec<VerifiedSignature<'a>>, NoteRefused> {
    let mut verified = Vec::new();
    for signature in signatures {
        for key in keys.iter().filter(|key| signature.is_of(key)) {
            let wrong = || NoteRefused::WrongSignature { name: key.name().clone(), id: key.id() };
            verified.push(signature.verify(text, key).ok_or_else(wrong)?);
        }
    }
    Ok(verified)
}

/// Other than a line feed.
fn has_control_character(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' && byte != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::{Cosigner, Signer};

    /// From the documentation of Go's `note` package.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n\
        — EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

    fn keys<const N: usize>(vkeys: [&str; N]) -> [VerifierKey; N] {
        vkeys.map(|vkey| vkey.parse().expect("a key"))
    }

    #[test]
    fn the_note_of_gos_documentation_is_verified() {
        let note = Note::parse(NOTE.as_bytes()).expect("a note");
        assert_eq!((note.to_string(), note.signatures().len()), (NOTE.to_owned(), 2));
        let known = keys([PETER, ENOCH]);
        let verified = note.verify(&known).expect("both are right");
        assert_eq!(verified.iter().map(|one| one.key).collect::<Vec<_>>(), [&known[0], &known[1]]);
        assert_eq!(note.verify(&known[1..]).map(|verified| verified.len()), Ok(1));
        assert_eq!(note.verify(&[]), Err(NoteRefused::NoKnownKey));
        // The seed of the example.
        let enoch = Signer::from_seed("EnochRoot".parse().expect("a name"), &[0; 32]).expect("a seed");
        assert_eq!(enoch.sign(note.text()), note.signatures()[1]);
    }

    #[test]
    fn one_wrong_signature_of_a_known_key_spoils_a_note() {
        let mut note = Note::parse(NOTE.as_bytes()).expect("a note");
        let known = keys([PETER, ENOCH]);
        let right = note.signatures()[0].clone();
        let wrong = NoteSignature { bytes: vec![0; 64], ..right };
        note.add(wrong).expect("there is room");
        let name = known[0].name().clone();
        assert_eq!(note.verify(&known), Err(NoteRefused::WrongSignature { name, id: known[0].id() }));
        // Nobody who does not know the key can tell.
        assert!(note.verify(&known[1..]).is_ok());
    }

    #[test]
    fn a_cosignature_has_its_time_under_it() {
        let cosigner = Cosigner::from_seed("witness.example/w".parse().expect("a name"), &[7; 32]).expect("a seed");
        let text = NoteText::new("example.com/log\n".to_owned()).expect("a text");
        let note = Note::new(text.clone(), cosigner.cosign(&text, 1_679_315_147));
        let known = [cosigner.verifier_key().clone()];
        let verified = note.verify(&known).expect("it is right");
        assert_eq!(verified[0].cosigned_at_unix, Some(1_679_315_147));
        let mut bytes = note.signatures()[0].bytes.clone();
        bytes[7] ^= 1;
        let later = Note::new(text.clone(), NoteSignature { bytes, ..note.signatures()[0].clone() });
        assert!(matches!(later.verify(&known), Err(NoteRefused::WrongSignature { .. })));
        // The same key as that of a log.
        let signer = Signer::from_seed(known[0].name().clone(), &[7; 32]).expect("a seed");
        assert_eq!(note.verify(&[signer.verifier_key().clone()]), Err(NoteRefused::NoKnownKey));
        assert_eq!(Note::new(text.clone(), signer.sign(&text)).verify(&known), Err(NoteRefused::NoKnownKey));
        // A time that the specification does not have, although the signature is right.
        let beyond = UNIX_SECONDS_MAX + 1;
        let message = NoteText::new(format!("cosignature/v1\ntime {beyond}\n{}", text.as_str())).expect("a text");
        let bytes = [&beyond.to_be_bytes(), &signer.sign(&message).bytes[..]].concat();
        let signature = NoteSignature { bytes, ..note.signatures()[0].clone() };
        let refused = Note::new(text.clone(), signature);
        assert!(matches!(refused.verify(&known), Err(NoteRefused::WrongSignature { .. })));
        let latest = Note::new(text.clone(), cosigner.cosign(&text, u64::MAX));
        assert_eq!(latest.verify(&known).map(|verified| verified[0].cosigned_at_unix), Ok(Some(UNIX_SECONDS_MAX)));
    }

    #[test]
    fn the_last_empty_line_ends_the_text() {
        for text in ["\n", "a\n", "a\n\nb\n", "a\n\n", "\n\n\n"] {
            let note = format!("{text}\n— x AAAAAAA=\n");
            let parsed = Note::parse(note.as_bytes()).expect("a note");
            assert_eq!((parsed.text().as_str(), parsed.to_string()), (text, note.clone()), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_note_is_refused() {
        use MalformedNote::{ControlCharacter, NoSignatures, NotUtf8, SignatureLine};
        for (note, why) in [
            ("", NoSignatures),
            ("a", NoSignatures),
            ("a\n", NoSignatures),
            ("a\n\n", NoSignatures),
            ("a\n\n— x AAAAAAA=", NoSignatures),
            ("a\n\n\n", NoSignatures),
            ("a\n— x AAAAAAA=\n", NoSignatures),
            ("a\tb\n\n— x AAAAAAA=\n", ControlCharacter),
            ("a\r\n\n— x AAAAAAA=\n", ControlCharacter),
            ("a\n\n— x AAAAAAA=\r\n", ControlCharacter),
            ("a\n\n- x AAAAAAA=\n", SignatureLine),
            ("a\n\n—x AAAAAAA=\n", SignatureLine),
            ("a\n\n— x  AAAAAAA=\n", SignatureLine),
            ("a\n\n— x AAAAAAA= \n", SignatureLine),
            ("a\n\n—  AAAAAAA=\n", SignatureLine),
            ("a\n\n— x+ AAAAAAA=\n", SignatureLine),
            ("a\n\n— x AAAAAA==\n", SignatureLine), // an id, and no signature
            ("a\n\n— x AAAAAAA\n", SignatureLine),
            ("a\n\n— x AAAAAAB=\n", SignatureLine),
            ("a\n\n— x AAAAAAA=\nb\n", SignatureLine),
        ] {
            assert_eq!(Note::parse(note.as_bytes()), Err(why), "{note:?}");
        }
        assert_eq!(Note::parse(b"\xff\n\n"), Err(NotUtf8));
        let long = vec![b'a'; NOTE_BYTES_MAX + 1];
        assert_eq!(Note::parse(&long), Err(MalformedNote::TooLong(NOTE_BYTES_MAX + 1)));
    }

    #[test]
    fn a_note_has_at_most_100_signatures() {
        let note = |signatures: usize| format!("a\n\n{}", "— x AAAAAAA=\n".repeat(signatures));
        assert!(Note::parse(note(SIGNATURES_MAX).as_bytes()).is_ok());
        assert_eq!(Note::parse(note(SIGNATURES_MAX + 1).as_bytes()), Err(TooManySignatures.into()));
        let mut full = Note::parse(note(SIGNATURES_MAX).as_bytes()).expect("a note");
        assert_eq!(full.add("— y AAAAAAA=".parse().expect("a signature")), Err(TooManySignatures));
        assert_eq!(full.add("— x AAAAAAA=".parse().expect("a signature")), Ok(()));
    }
}
