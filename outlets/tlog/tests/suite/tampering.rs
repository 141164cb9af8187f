//! Changes of a single bit: whatever is signed or hashed, none goes unnoticed.

use tlog::{
    Hash, SignedCheckpoint, TlogProof, VerifierKey, consistency_proof, inclusion_proof, tiles_of_consistency,
    tiles_of_inclusion, verify_consistency, verify_inclusion,
};

use crate::proof_file::{INDEX, ORIGIN, policy, proof, sign, signer, witness};
use crate::published::{PublishedLog, leaf};

/// The same bytes with one bit changed, for each bit.
fn with_one_bit_changed(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

fn concatenated(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn separated(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks().0.iter().copied().map(Hash::from_bytes).collect()
}

#[test]
fn no_bit_of_an_inclusion_proof_can_change() {
    let log = PublishedLog::at([1000]);
    let (head, tiles) = (log.tree.head(), log.fetch(&tiles_of_inclusion(INDEX, 1000).expect("it is in the tree")));
    let hashes = inclusion_proof(INDEX, 1000, &tiles).expect("the tiles are there");
    assert_eq!(verify_inclusion(INDEX, &leaf(INDEX), &head, &hashes), Ok(()));
    for changed in with_one_bit_changed(&concatenated(&hashes)) {
        assert!(verify_inclusion(INDEX, &leaf(INDEX), &head, &separated(&changed)).is_err());
    }
    for changed in with_one_bit_changed(leaf(INDEX).as_bytes()) {
        assert!(verify_inclusion(INDEX, &separated(&changed)[0], &head, &hashes).is_err());
    }
}

#[test]
fn no_bit_of_a_consistency_proof_can_change() {
    // An old tree whose root is a node of the new one, and one whose root is not.
    for old in [256, 700] {
        let log = PublishedLog::at([old, 1000]);
        let (old_head, head) = (PublishedLog::at([old]).tree.head(), log.tree.head());
        let tiles = log.fetch(&tiles_of_consistency(old, 1000).expect("it grows"));
        let hashes = consistency_proof(old, 1000, &tiles).expect("the tiles are there");
        assert_eq!(verify_consistency(&old_head, &head, &hashes), Ok(()));
        for changed in with_one_bit_changed(&concatenated(&hashes)) {
            assert!(verify_consistency(&old_head, &head, &separated(&changed)).is_err());
        }
        for changed in with_one_bit_changed(old_head.root.as_bytes()) {
            let forged = tlog::TreeHead { root: separated(&changed)[0], ..old_head };
            assert!(verify_consistency(&forged, &head, &hashes).is_err());
        }
    }
}

#[test]
fn no_bit_of_a_checkpoint_can_change() {
    let mut signed = sign(PublishedLog::at([1000]).tree.head());
    signed.cosign(&witness(1), 1_800_000_000).expect("there is room");
    let (log_keys, witnesses) = ([signer().verifier_key().clone()], [witness(1).verifier_key().clone()]);
    let accepts = |bytes: &[u8]| {
        SignedCheckpoint::parse(bytes).is_ok_and(|signed| {
            let cosignatures = signed.cosignatures(&witnesses);
            signed.verify(ORIGIN, &log_keys).is_ok() && cosignatures.is_ok_and(|found| found.len() == 1)
        })
    };
    let bytes = signed.to_string().into_bytes();
    assert!(accepts(&bytes));
    assert!(with_one_bit_changed(&bytes).all(|changed| !accepts(&changed)));
    assert!((0..bytes.len()).all(|len| !accepts(&bytes[..len])));
}

#[test]
fn no_bit_of_a_verifier_key_can_change() {
    for key in [signer().verifier_key().clone(), witness(1).verifier_key().clone()] {
        let bytes = key.to_string().into_bytes();
        let read = |bytes: Vec<u8>| String::from_utf8(bytes).ok().and_then(|vkey| vkey.parse::<VerifierKey>().ok());
        assert_eq!(read(bytes.clone()), Some(key));
        assert!(with_one_bit_changed(&bytes).all(|changed| read(changed).is_none()));
    }
}

/// Other than in the line of extra data, which nobody signs.
#[test]
fn no_bit_of_a_proof_file_can_change() {
    let policy = policy(2);
    let accepts = |bytes: &[u8]| TlogProof::parse(bytes).is_ok_and(|proof| proof.verify(&leaf(INDEX), &policy).is_ok());
    let bytes = TlogProof { extra: Vec::new(), ..proof() }.to_string().into_bytes();
    assert!(accepts(&bytes));
    assert!(with_one_bit_changed(&bytes).all(|changed| !accepts(&changed)));
    assert!((0..bytes.len()).all(|len| !accepts(&bytes[..len])));
}
