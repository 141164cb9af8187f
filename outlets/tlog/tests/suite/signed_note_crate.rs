//! Notes and keys against the crate `signed_note`, a port of Go's package.

use proptest::prelude::*;
use signed_note::{NoteError, Signer as _, StandardSigner, StandardVerifier, Verifier, VerifierList};
use tlog::{KeyKind, Note, NoteText, Signer, VerifierKey};

use crate::foreign_bytes::{edits, spliced};
use crate::proof_file::{ORIGIN, proof, signer, witness};

/// The public and the secret key that the other crate makes from bytes 0.
fn their_keys(name: &str) -> (String, String) {
    struct Zeros;
    impl rand_core::RngCore for Zeros {
        fn next_u32(&mut self) -> u32 {
            0
        }
        fn next_u64(&mut self) -> u64 {
            0
        }
        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
            bytes.fill(0);
            Ok(())
        }
    }
    impl rand_core::CryptoRng for Zeros {}
    signed_note::generate_key(&mut Zeros, name)
}

fn verified(note: &str, verifiers: Vec<Box<dyn Verifier>>) -> Result<(usize, usize), NoteError> {
    let note = signed_note::Note::from_bytes(note.as_bytes()).expect("a note");
    note.verify(&VerifierList::new(verifiers)).map(|(known, unknown)| (known.len(), unknown.len()))
}

#[test]
fn keys_are_the_same() {
    let (secret, vkey) = their_keys(ORIGIN);
    let ours = Signer::from_seed(ORIGIN.parse().expect("a name"), &[0; 32]).expect("a seed");
    assert_eq!(ours.verifier_key().to_string(), vkey);
    assert_eq!(vkey.parse().as_ref(), Ok(ours.verifier_key()));
    let theirs = StandardSigner::new(&secret).expect("a key");
    assert_eq!(theirs.key_id().to_be_bytes(), *ours.verifier_key().id().as_bytes());
    assert_eq!(tlog::signer_key_text(ours.verifier_key(), &[0; 32]), secret);
    let cosigner = witness(1);
    let key = [&[4][..], cosigner.verifier_key().public_key()].concat();
    let theirs = signed_note::key_id(cosigner.verifier_key().name().as_str(), &key);
    assert_eq!(theirs.to_be_bytes(), *cosigner.verifier_key().id().as_bytes());
}

#[test]
fn they_verify_our_checkpoint_and_ignore_the_cosignatures() {
    let checkpoint = proof().checkpoint.to_string();
    let known = StandardVerifier::new(&signer().verifier_key().to_string()).expect("a key");
    assert_eq!(verified(&checkpoint, vec![Box::new(known.clone())]).expect("it is right"), (1, 2));
    let forged = checkpoint.replacen("1000", "1001", 1);
    assert!(verified(&forged, vec![Box::new(known)]).is_err());
}

/// Their verifier of cosignatures is a few lines around their key: the message as the specification has it, written once more.
#[test]
fn they_verify_our_cosignatures() {
    struct Cosignatures(ed25519_dalek::VerifyingKey, VerifierKey);
    impl Verifier for Cosignatures {
        fn name(&self) -> &str {
            self.1.name().as_str()
        }
        fn key_id(&self) -> u32 {
            signed_note::key_id(self.name(), &[&[4][..], self.0.as_bytes()].concat())
        }
        fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
            let (time, signature) = signature.split_at(8);
            let time = u64::from_be_bytes(time.try_into().expect("8 bytes"));
            let message = [b"cosignature/v1\ntime ", time.to_string().as_bytes(), b"\n", text].concat();
            let signature = signature.try_into().expect("64 bytes");
            time == 1_800_000_000 && self.0.verify_strict(&message, &signature).is_ok()
        }
    }
    let verifiers = [1, 2].map(|number| -> Box<dyn Verifier> {
        let key = witness(number).verifier_key().clone();
        assert_eq!(key.kind(), KeyKind::CosignatureV1);
        Box::new(Cosignatures(ed25519_dalek::VerifyingKey::from_bytes(key.public_key()).expect("a key"), key))
    });
    assert_eq!(verified(&proof().checkpoint.to_string(), verifiers.into()).expect("they are right"), (2, 1));
}

#[test]
fn we_verify_their_note_and_they_add_to_ours() {
    let (secret, vkey) = their_keys("their.example/key");
    let their_signer = StandardSigner::new(&secret).expect("a key");
    let text = "first line\n\nlast line\n";
    let mut theirs = signed_note::Note::new(text.as_bytes(), &[]).expect("a text");
    theirs.add_sigs(&[&their_signer]).expect("signed");
    let mut note = Note::parse(&theirs.to_bytes()).expect("a note");
    let their_key = [vkey.parse::<VerifierKey>().expect("a key")];
    assert_eq!(note.text().as_str(), text);
    assert_eq!(note.verify(&their_key).map(|verified| verified.len()), Ok(1));

    let ours = signer();
    note.add(ours.sign(&NoteText::new(text.to_owned()).expect("a text"))).expect("there is room");
    let verifiers = [vkey, ours.verifier_key().to_string()]
        .map(|vkey| -> Box<dyn Verifier> { Box::new(StandardVerifier::new(&vkey).expect("a key")) });
    assert_eq!(verified(&note.to_string(), verifiers.into()).expect("both are right"), (2, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn they_read_the_notes_and_keys_that_we_read(edits in edits()) {
        let sample = "first line\n\nlast line\n\n— a.example/x AAAAAAA=\n— b AAAAAAAA\n";
        let bytes = spliced(sample, &edits);
        let (ours, theirs) = (Note::parse(&bytes), signed_note::Note::from_bytes(&bytes));
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}: {:?} {:?}", bytes, ours, theirs);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!((ours.text().as_str().as_bytes(), ours.to_string().into_bytes()), (theirs.text(), theirs.to_bytes()));
        }
        if let Ok(vkey) = String::from_utf8(spliced(&signer().verifier_key().to_string(), &edits[..1])) {
            // They take the id in upper case too.
            let has_one_form = !vkey.split('+').nth(1).is_some_and(|id| id.contains(|digit: char| digit.is_uppercase()));
            let theirs = StandardVerifier::new(&vkey).is_ok() && has_one_form;
            prop_assert_eq!(vkey.parse::<VerifierKey>().is_ok(), theirs, "{}", vkey);
        }
    }
}
