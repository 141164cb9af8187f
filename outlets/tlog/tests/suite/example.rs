//! The whole way of an entry: hashed, published, proved, checked.

use std::error::Error;

use tlog::{Checkpoint, Hash, LogPolicy, SignedCheckpoint, Signer, Tiles, TlogProof, Tree, inclusion_proof};

#[test]
fn a_log_publishes_entries_and_whoever_has_its_key_checks_a_proof() -> Result<(), Box<dyn Error>> {
    // The log appends entries, publishes the tiles that changed, and signs a checkpoint.
    let (mut tree, mut changed) = (Tree::new(), Vec::new());
    for entry in ["first", "second", "third"] {
        tree.append(Hash::of_leaf(entry.as_bytes()), &mut changed)?;
    }
    changed.extend(tree.partial_tiles_since(0));
    let signer = Signer::from_seed("example.com/log".parse()?, &[7; 32])?;
    let checkpoint = SignedCheckpoint::sign(Checkpoint::new("example.com/log", tree.head())?, &signer)?;

    // Whoever has the tiles makes a proof, and whoever has the log's key checks it.
    let tiles: Tiles = changed.into_iter().collect();
    let hashes = inclusion_proof(1, tree.size(), &tiles)?;
    let file = TlogProof { extra: Vec::new(), index: 1, hashes, checkpoint }.to_string();
    let policy = LogPolicy {
        origin: "example.com/log".to_owned(),
        log_keys: vec![signer.verifier_key().clone()],
        witnesses: Vec::new(),
        cosignatures_min: 0,
    };
    let proof = TlogProof::parse(file.as_bytes())?;
    assert!(proof.verify(&Hash::of_leaf(b"second"), &policy).is_ok());
    assert!(proof.verify(&Hash::of_leaf(b"third"), &policy).is_err());
    Ok(())
}
