//! Writes a small log into a new folder, as a log would be published: `cargo run -p tlog --example write_log -- FOLDER`.
//!
//! It has a few thousand entries, a checkpoint for each time that it grew, cosigned by two witnesses, and proofs of some entries.
//! `tests/clients/tlog/` checks it with Go's packages.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tlog::{
    Checkpoint, Cosigner, EntryBundle, EntryBundleId, Hash, SignedCheckpoint, Signer, Tile, TileId, Tiles, TlogProof,
    Tree, inclusion_proof, tiles_of_inclusion,
};

const ORIGIN: &str = "ledger.example/log";
/// The sizes at which it publishes: within a tile, at the end of one, and beyond several.
const SIZES: [u64; 6] = [0, 1, 200, 256, 1000, 4321];
/// The entries that it proves.
const PROVED: [u64; 5] = [0, 255, 256, 2000, 4320];
const UNIX_SECONDS: u64 = 1_800_000_000;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return fail("usage: write_log FOLDER");
    };
    write_log(&folder).map_or_else(|error| fail(&error.to_string()), |()| ExitCode::SUCCESS)
}

fn fail(why: &str) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "write_log: {why}");
    ExitCode::FAILURE
}

fn write_log(folder: &Path) -> Result<(), Box<dyn Error>> {
    let signer = Signer::from_seed(ORIGIN.parse()?, &[1; 32])?;
    let witnesses = [
        Cosigner::from_seed("witness.example/w1".parse()?, &[2; 32])?,
        Cosigner::from_seed("witness.example/w2".parse()?, &[3; 32])?,
    ];
    write(folder, "vkey", format!("{}\n", signer.verifier_key()))?;
    let keys = witnesses.each_ref().map(|witness| format!("{}\n", witness.verifier_key()));
    write(folder, "witnesses", keys.concat())?;

    let mut tree = Tree::new();
    for size in SIZES {
        grow(folder, &mut tree, size)?;
        let mut signed = SignedCheckpoint::sign(Checkpoint::new(ORIGIN, tree.head())?, &signer)?;
        for witness in &witnesses {
            signed.cosign(witness, UNIX_SECONDS + size)?;
        }
        write(folder, &format!("checkpoints/{size}"), signed.to_string())?;
        write(folder, "checkpoint", signed.to_string())?;
    }
    PROVED.into_iter().try_for_each(|index| prove(folder, index))
}

/// Appends entries, and writes what changed.
fn grow(folder: &Path, tree: &mut Tree, size: u64) -> Result<(), Box<dyn Error>> {
    let (old, mut changed) = (tree.size(), Vec::new());
    for index in old..size {
        tree.append(Hash::of_leaf(&entry(index)), &mut changed)?;
    }
    changed.extend(tree.partial_tiles_since(old));
    for tile in changed {
        write(folder, &tile.id().to_string(), tile.to_bytes())?;
    }
    for id in (old / 256..).map_while(|index| EntryBundleId::in_tree(size, index)) {
        let (first, mut bundle) = (id.index() * 256, EntryBundle::new());
        for index in first..first + u64::from(id.width()) {
            bundle.push(&entry(index))?;
        }
        write(folder, &id.to_string(), bundle.into_bytes())?;
    }
    Ok(())
}

/// Makes a proof from nothing but the files.
fn prove(folder: &Path, index: u64) -> Result<(), Box<dyn Error>> {
    let checkpoint = SignedCheckpoint::parse(&fs::read(folder.join("checkpoint"))?)?;
    let size = checkpoint.unverified().head().size;
    let tiles =
        tiles_of_inclusion(index, size)?.into_iter().map(|id| read(folder, id)).collect::<Result<Tiles, _>>()?;
    let hashes = inclusion_proof(index, size, &tiles)?;
    let extra = if index == 2000 { b"extra data".to_vec() } else { Vec::new() };
    let proof = TlogProof { extra, index, hashes, checkpoint };
    write(folder, &format!("proofs/{index}.tlog-proof"), proof.to_string())?;
    Ok(write(folder, &format!("proofs/{index}.entry"), entry(index))?)
}

fn read(folder: &Path, id: TileId) -> Result<Tile, Box<dyn Error>> {
    Ok(Tile::parse(id, &fs::read(folder.join(id.to_string()))?)?)
}

fn write(folder: &Path, path: &str, content: impl AsRef<[u8]>) -> Result<(), std::io::Error> {
    let path = folder.join(path);
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, content)
}

/// Entries of different lengths; the first is empty.
fn entry(index: u64) -> Vec<u8> {
    let len = usize::try_from(index * 37 % 700).unwrap_or(0);
    format!("entry {index} ").into_bytes().into_iter().cycle().take(len).collect()
}
