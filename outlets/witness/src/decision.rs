//! Whether a witness may cosign a checkpoint: pure functions of what it knows and of what it is asked. The specification says which
//! reason comes first.

use tlog::{
    AddCheckpoint, Note, NoteRefused, NoteSignature, SignedCheckpoint, TreeHead, VerifierKey, verify_consistency,
};

use crate::refusal::Refusal;

/// A request whose checkpoint was signed by a key of its log.
#[derive(Debug)]
pub struct SignedRequest<'a> {
    request: &'a AddCheckpoint,
    /// One signature of the log. Others say nothing more, and there may be a hundred of them.
    signature: &'a NoteSignature,
}

impl<'a> SignedRequest<'a> {
    /// Checks the signatures with the keys of the log that the checkpoint names.
    ///
    /// Errors: 403. A signature by one of the keys that is wrong spoils the others, as in Go's `note` package.
    pub fn verify(request: &'a AddCheckpoint, keys: &'a [VerifierKey]) -> Result<Self, Refusal> {
        let verified = request.checkpoint.note().verify(keys).map_err(Refusal::Untrusted)?;
        let first = verified.first().ok_or(Refusal::Untrusted(NoteRefused::NoKnownKey))?;
        Ok(Self { request, signature: first.signature })
    }

    pub const fn checkpoint(&self) -> &'a SignedCheckpoint {
        &self.request.checkpoint
    }

    /// The checkpoint with this one signature.
    pub fn note(&self) -> Note {
        Note::new(self.checkpoint().note().text().clone(), self.signature.clone())
    }

    /// Whether the checkpoint may be cosigned and replace the stored one.
    ///
    /// Errors: 400, 409 and 422, in this order.
    pub fn must_continue(&self, stored: &TreeHead) -> Result<(), Refusal> {
        let (old_size, new) = (self.request.old_size, self.checkpoint().unverified().head());
        if old_size > new.size {
            return Err(Refusal::Shrinks { old_size, size: new.size });
        }
        if old_size != stored.size {
            return Err(Refusal::OtherSize { stored_size: stored.size });
        }
        if old_size == new.size && stored.root != new.root {
            return Err(Refusal::OtherRoot);
        }
        verify_consistency(stored, new, &self.request.consistency).map_err(Refusal::Inconsistent)
    }
}

#[cfg(test)]
mod tests {
    use tlog::InvalidProof;

    use super::*;
    use crate::test_log::{SHARED, TestLog, signer};

    fn keys() -> [VerifierKey; 1] {
        [signer(1).verifier_key().clone()]
    }

    fn decided(stored: &TreeHead, request: &AddCheckpoint) -> Result<(), Refusal> {
        SignedRequest::verify(request, &keys())?.must_continue(stored)
    }

    /// All there is of two histories that have their first leaves in common.
    #[test]
    fn what_continues_the_stored_checkpoint_is_cosigned_and_nothing_else() {
        const SIZES: u64 = 9;
        let histories = [TestLog::new("ours"), TestLog::new("forked")];
        let mut cosigned = 0;
        for stored in histories.iter().flat_map(|history| (0..SIZES).map(|size| history.head(size))) {
            for (history, old, new) in histories
                .iter()
                .flat_map(|history| (0..SIZES).flat_map(move |old| (0..SIZES).map(move |new| (history, old, new))))
            {
                let decided = decided(&stored, &history.request(old, new));
                let continues = history.head(stored.size) == stored;
                let is_right = match decided {
                    Err(Refusal::Shrinks { .. }) => old > new,
                    Err(Refusal::OtherSize { stored_size }) => {
                        old <= new && old != stored.size && stored_size == stored.size
                    }
                    Err(Refusal::OtherRoot) => old == new && old == stored.size && !continues,
                    Err(Refusal::Inconsistent(_)) => old < new && old == stored.size && !continues,
                    Ok(()) => old <= new && old == stored.size && continues,
                    _ => false,
                };
                assert!(is_right, "{stored:?}, then {old} to {new}: {decided:?}");
                cosigned += usize::from(decided.is_ok());
            }
        }
        // Each stored checkpoint that both have is continued by both.
        let pairs = |from: u64| (from..SIZES).map(|old| SIZES - old).sum::<u64>();
        assert_eq!(cosigned as u64, 2 * pairs(0) + 2 * (pairs(0) - pairs(SHARED + 1)));
    }

    #[test]
    fn a_proof_that_is_not_needed_is_refused() {
        let log = TestLog::new("ours");
        let hash = log.head(1).root;
        for (stored, new) in [(0, 0), (0, 5), (5, 5)] {
            let request = AddCheckpoint { consistency: vec![hash], ..log.request(stored, new) };
            let refused = decided(&log.head(stored), &request);
            assert!(matches!(refused, Err(Refusal::Inconsistent(InvalidProof::WrongLength { .. }))), "{refused:?}");
        }
    }

    #[test]
    fn an_empty_tree_has_one_root() {
        let log = TestLog::new("ours");
        let other = TreeHead { size: 0, root: log.head(1).root };
        let refused = decided(&TreeHead::EMPTY, &log.request_of(0, other, Vec::new()));
        assert!(matches!(refused, Err(Refusal::OtherRoot)), "{refused:?}");
    }

    #[test]
    fn only_a_key_of_the_log_counts_and_whatever_others_sign_beside_it() {
        let log = TestLog::new("ours");
        let stranger = TestLog { signer: signer(2), ..TestLog::new("ours") };
        let refused = decided(&TreeHead::EMPTY, &stranger.request(0, 3));
        assert!(matches!(refused, Err(Refusal::Untrusted(NoteRefused::NoKnownKey))), "{refused:?}");

        let right = log.request(0, 3);
        let text = right.checkpoint.note().text();
        let mut note = Note::new(text.clone(), signer(2).sign(text));
        note.add(right.checkpoint.note().signatures()[0].clone()).expect("there is room");
        let checkpoint = SignedCheckpoint::parse(note.to_string().as_bytes()).expect("a checkpoint");
        let request = AddCheckpoint { checkpoint, ..right };
        assert!(decided(&TreeHead::EMPTY, &request).is_ok());
        let keys = keys();
        let signed = SignedRequest::verify(&request, &keys).expect("one of them is the log's");
        assert_eq!(signed.note().signatures(), [signer(1).sign(request.checkpoint.note().text())]);
    }

    /// The first checkpoint after a rotation of the log's key has two signatures of one name.
    #[test]
    fn a_checkpoint_of_two_keys_is_the_logs_for_whoever_knows_one_of_them() {
        let log = TestLog::new("ours");
        let mut request = log.request(0, 3);
        request.checkpoint.sign_also(&signer(2)).expect("there is room");
        let [old, new, other] = [1, 2, 3].map(|number| signer(number).verifier_key().clone());
        for (known, signed_by) in [
            (vec![old.clone()], 1),
            (vec![new.clone()], 2),
            (vec![old.clone(), new.clone()], 1),
            (vec![new, other.clone(), old.clone()], 1),
        ] {
            let signed = SignedRequest::verify(&request, &known).expect("one of them is the log's");
            assert!(signed.must_continue(&TreeHead::EMPTY).is_ok());
            assert_eq!(signed.note().signatures(), [signer(signed_by).sign(request.checkpoint.note().text())]);
        }
        // Later ones are signed by the new key alone, which is never taken from a checkpoint.
        let later = TestLog { signer: signer(2), ..log }.request(3, 5);
        for unknown in [old, other] {
            let refused = SignedRequest::verify(&later, &[unknown]).map(drop);
            assert!(matches!(refused, Err(Refusal::Untrusted(NoteRefused::NoKnownKey))), "{refused:?}");
        }
    }
}
