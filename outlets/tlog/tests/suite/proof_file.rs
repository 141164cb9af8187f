//! `.tlog-proof` files: what they prove, and what makes them prove nothing.

use tlog::{
    Checkpoint, CheckpointRefused, Cosigner, Hash, InvalidProof, LogPolicy, MalformedProofLines, MalformedTlogProof,
    NoteRefused, PROOF_HASHES_MAX, SignedCheckpoint, Signer, TLOG_PROOF_BYTES_MAX, TlogProof, TlogProofRefused,
    TreeHead, inclusion_proof, tiles_of_inclusion,
};

use crate::published::{PublishedLog, leaf};

pub const ORIGIN: &str = "ledger.example/log";
pub const INDEX: u64 = 613;
const SIZE: u64 = 1000;

pub fn signer() -> Signer {
    Signer::from_seed(ORIGIN.parse().expect("a name"), &[1; 32]).expect("a seed")
}

/// One of several witnesses.
pub fn witness(number: u8) -> Cosigner {
    Cosigner::from_seed(format!("witness.example/w{number}").parse().expect("a name"), &[10 + number; 32])
        .expect("a seed")
}

pub fn sign(head: TreeHead) -> SignedCheckpoint {
    SignedCheckpoint::sign(Checkpoint::new(ORIGIN, head).expect("a checkpoint"), &signer()).expect("a note")
}

/// A proof of entry [`INDEX`], cosigned by the witnesses 1 and 2.
pub fn proof() -> TlogProof {
    let log = PublishedLog::at([SIZE]);
    let tiles = log.fetch(&tiles_of_inclusion(INDEX, SIZE).expect("it is in the tree"));
    let hashes = inclusion_proof(INDEX, SIZE, &tiles).expect("the tiles are there");
    let mut checkpoint = sign(log.tree.head());
    for number in [1, 2] {
        checkpoint.cosign(&witness(number), 1_800_000_000).expect("there is room");
    }
    TlogProof { extra: b"what the application adds".to_vec(), index: INDEX, hashes, checkpoint }
}

/// Knows three witnesses.
pub fn policy(cosignatures_min: usize) -> LogPolicy {
    LogPolicy {
        origin: ORIGIN.to_owned(),
        log_keys: vec![signer().verifier_key().clone()],
        witnesses: [1, 2, 3].map(|number| witness(number).verifier_key().clone()).to_vec(),
        cosignatures_min,
    }
}

#[test]
fn a_proof_is_read_as_it_is_written() {
    let proof = proof();
    let text = proof.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
    assert_eq!(lines[1], "extra d2hhdCB0aGUgYXBwbGljYXRpb24gYWRkcw==");
    assert_eq!(lines[2], "index 613");
    assert_eq!(lines[3], proof.hashes[0].to_string());
    assert_eq!(lines[3 + proof.hashes.len()..][..3], ["", ORIGIN, "1000"]);
    assert_eq!(TlogProof::parse(text.as_bytes()), Ok(proof.clone()));
    let plain = TlogProof { extra: Vec::new(), ..proof };
    assert!(plain.to_string().starts_with("c2sp.org/tlog-proof@v1\nindex 613\n"));
    assert_eq!(TlogProof::parse(plain.to_string().as_bytes()), Ok(plain));
}

#[test]
fn the_only_entry_of_a_log_has_a_proof_without_hashes() {
    let log = PublishedLog::at([1]);
    let proof = TlogProof { extra: Vec::new(), index: 0, hashes: Vec::new(), checkpoint: sign(log.tree.head()) };
    let read = TlogProof::parse(proof.to_string().as_bytes()).expect("a proof");
    assert_eq!(read.verify(&leaf(0), &policy(0)).map(|logged| logged.index), Ok(0));
}

#[test]
fn a_proof_verifies_with_as_many_witnesses_as_it_has() {
    let proof = proof();
    for cosignatures_min in 0..=2 {
        let policy = policy(cosignatures_min);
        let logged = proof.verify(&leaf(INDEX), &policy).expect("it is in the log");
        assert_eq!((logged.index, logged.checkpoint.head().size, logged.cosignatures.len()), (INDEX, SIZE, 2));
    }
    let refused = TlogProofRefused::TooFewCosignatures { found: 2, needed: 3 };
    assert_eq!(proof.verify(&leaf(INDEX), &policy(3)), Err(refused));
}

#[test]
fn a_proof_is_of_one_entry_of_one_log() {
    let (proof, policy) = (proof(), policy(1));
    let refused =
        |leaf: Hash, proof: &TlogProof, policy: &LogPolicy| proof.verify(&leaf, policy).expect_err("it is not");
    assert_eq!(refused(leaf(INDEX + 1), &proof, &policy), InvalidProof::OtherRoot.into());
    let elsewhere = TlogProof { index: INDEX + 1, ..proof.clone() };
    assert_eq!(refused(leaf(INDEX), &elsewhere, &policy), InvalidProof::OtherRoot.into());
    let outside = TlogProof { index: SIZE, ..proof.clone() };
    assert_eq!(refused(leaf(INDEX), &outside, &policy), InvalidProof::NoSuchLeaf { index: SIZE, size: SIZE }.into());
    let other_log = LogPolicy { origin: "other.example/log".to_owned(), ..policy.clone() };
    let refusal = refused(leaf(INDEX), &proof, &other_log);
    assert!(matches!(refusal, TlogProofRefused::Checkpoint(CheckpointRefused::OtherOrigin { .. })), "{refusal:?}");
    let other_key = LogPolicy { log_keys: policy.witnesses.clone(), ..policy.clone() };
    let refusal = refused(leaf(INDEX), &proof, &other_key);
    assert_eq!(refusal, TlogProofRefused::Checkpoint(NoteRefused::NoKnownKey.into()));
}

/// One witness under two names is one witness.
#[test]
fn witnesses_are_counted_by_their_keys() {
    let mut proof = proof();
    let alias = Cosigner::from_seed("witness.example/alias".parse().expect("a name"), &[11; 32]).expect("a seed");
    proof.checkpoint.cosign(&alias, 1_800_000_001).expect("there is room");
    let mut policy = policy(2);
    policy.witnesses = [witness(1).verifier_key(), alias.verifier_key()].map(Clone::clone).to_vec();
    let refused = TlogProofRefused::TooFewCosignatures { found: 1, needed: 2 };
    assert_eq!(proof.verify(&leaf(INDEX), &policy), Err(refused));
}

#[test]
fn what_is_not_a_proof_file_is_refused() {
    use MalformedTlogProof::{Extra, Header, Index, Lines, NotUtf8, TooLong};
    let text = proof().to_string();
    let hash = Hash::EMPTY_ROOT;
    for (from, to, why) in [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2", Header),
        ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v1\r\n", Header),
        ("\nextra d2", "\nextra ", Extra),
        ("\nextra d2hhdCB0aGUgYXBwbGljYXRpb24gYWRkcw==\n", "\nextra \n", Extra),
        ("\nextra ", "\nextra", Index),
        ("\nindex 613\n", "\n", Index),
        ("\nindex 613\n", "\nindex 0613\n", Index),
        ("\nindex 613\n", "\nindex +613\n", Index),
        ("\nindex 613\n", "\nindex 613\nindex 613\n", Lines(MalformedProofLines::Hash)),
        ("\nindex 613\n", "\nindex 18446744073709551616\n", Index),
        ("\n\nledger", "\nledger", Lines(MalformedProofLines::Hash)),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from:?}");
        assert_eq!(TlogProof::parse(changed.as_bytes()), Err(why), "{to:?}");
    }
    let many = |hashes: usize| text.replacen("\n\n", &format!("\n{}\n", format!("{hash}\n").repeat(hashes)), 1);
    let room = PROOF_HASHES_MAX - proof().hashes.len();
    assert!(TlogProof::parse(many(room).as_bytes()).is_ok());
    assert_eq!(TlogProof::parse(many(room + 1).as_bytes()), Err(Lines(MalformedProofLines::TooManyHashes)));
    let header = "c2sp.org/tlog-proof@v1\nindex 0\n";
    assert_eq!(TlogProof::parse(header.as_bytes()), Err(Lines(MalformedProofLines::NoCheckpoint)));
    assert_eq!(TlogProof::parse(b"\xff"), Err(NotUtf8));
    let long = vec![b'a'; TLOG_PROOF_BYTES_MAX + 1];
    assert_eq!(TlogProof::parse(&long), Err(TooLong(TLOG_PROOF_BYTES_MAX + 1)));
}
