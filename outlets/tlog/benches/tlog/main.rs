//! How fast a log grows, how fast its tree is derived anew from its entries, and what a proof takes.
//!
//! `cargo bench -p tlog --bench tlog` works in memory, on one thread. `TLOG_ENTRIES` sets how many entries there are; each has 600
//! bytes, about as many as an event of the ledger.

use std::hint::black_box;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tlog::{
    EntryBundle, EntryBundleId, Hash, Tile, Tiles, Tree, TreeHead, inclusion_proof, parse_entries, verify_inclusion,
};

const ENTRIES: u64 = 1_000_000;
const ENTRY_BYTES: usize = 600;
const PROOFS: u64 = 20_000;
const ROUNDS: u32 = 3;
/// Entries between two checkpoints.
const GROWTH: u64 = 1000;

fn main() -> ExitCode {
    let entries = std::env::var("TLOG_ENTRIES").map_or(Ok(ENTRIES), |text| text.parse());
    match entries.map_err(|error| error.to_string()).and_then(|entries| measure(entries.max(1))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "TLOG_ENTRIES: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(entries: u64) -> Result<(), String> {
    let say = |line: String| writeln!(io::stdout(), "{line}").map_err(|error| error.to_string());
    say(format!("{entries} entries of {ENTRY_BYTES} bytes, in memory, on one thread; the best of {ROUNDS} rounds\n"))?;
    say("| what | each second | µs each |".to_owned())?;
    say("|---|---:|---:|".to_owned())?;
    let row = |what: &str, count: u64, took: Duration| {
        let each_second = u128::from(count) * 1_000_000_000 / took.as_nanos().max(1);
        let hundredths = took.as_nanos() / 10 / u128::from(count.max(1));
        say(format!("| {what} | {each_second} | {}.{:02} |", hundredths / 100, hundredths % 100))
    };

    let (took, _) = best(|| grow(entries));
    row(&format!("entries appended, with tiles, bundles and a root for each {GROWTH}"), entries, took)?;
    let (took, (tiles, head)) = best(|| append(entries));
    row("entries hashed and appended", entries, took)?;
    let bundles = bundles(entries);
    let (took, derived) = best(|| derive(&bundles));
    row("entries read from bundles, from which the tree is derived anew", entries, took)?;
    if derived.root() != head.root {
        return Err("the tree that was derived has another root".to_owned());
    }
    let (took, _) = best(|| make_proofs(&tiles, &head));
    row("inclusion proofs made from tiles", PROOFS, took)?;
    let (took, verified) = best(|| verify_proofs(&tiles, &head));
    if verified < PROOFS {
        return Err("a proof does not verify".to_owned());
    }
    row("inclusion proofs made from tiles and verified, entry hashed", PROOFS, took)
}

/// The shortest of all rounds, and what it gave.
fn best<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut round = || {
        let began = Instant::now();
        let result = black_box(work());
        (began.elapsed(), result)
    };
    let mut best = round();
    for _ in 1..ROUNDS {
        let next = round();
        if next.0 < best.0 {
            best = next;
        }
    }
    best
}

/// The same buffer with another number in front: writing entries is not what is measured.
fn entry(buffer: &mut [u8; ENTRY_BYTES], index: u64) -> &[u8] {
    buffer[..8].copy_from_slice(&index.to_be_bytes());
    buffer
}

fn append(entries: u64) -> (Tiles, TreeHead) {
    let (mut tree, mut tiles, mut buffer) = (Tree::new(), Vec::new(), [7; ENTRY_BYTES]);
    for index in 0..entries {
        tree.append(Hash::of_leaf(entry(&mut buffer, index)), &mut tiles).expect("there is room");
    }
    tiles.extend(tree.partial_tiles_since(0));
    (tiles.into_iter().collect(), tree.head())
}

/// Grows a log as publishing does, and returns the bytes of everything that changed, at each checkpoint.
fn grow(entries: u64) -> u64 {
    let (mut tree, mut buffer, mut bytes) = (Tree::new(), [7; ENTRY_BYTES], 0);
    let (mut bundle, mut completed) = (EntryBundle::new(), Vec::new());
    while tree.size() < entries {
        let old = tree.size();
        for index in old..entries.min(old + GROWTH) {
            let entry = entry(&mut buffer, index);
            tree.append(Hash::of_leaf(entry), &mut completed).expect("there is room");
            bundle.push(entry).expect("it fits");
            if bundle.width() == tlog::TILE_WIDTH {
                bytes += std::mem::take(&mut bundle).into_bytes().len();
            }
        }
        completed.extend(tree.partial_tiles_since(old));
        bytes += completed.drain(..).map(|tile: Tile| black_box(tile.to_bytes()).len()).sum::<usize>();
        bytes += black_box(bundle.as_bytes().to_vec()).len();
        black_box(tree.root());
    }
    bytes as u64
}

fn bundles(entries: u64) -> Vec<(EntryBundleId, Vec<u8>)> {
    let mut buffer = [7; ENTRY_BYTES];
    let bundle = |index| {
        let id = EntryBundleId::in_tree(entries, index).expect("a bundle");
        let mut bundle = EntryBundle::new();
        for at in 0..u64::from(id.width()) {
            bundle.push(entry(&mut buffer, index * 256 + at)).expect("it fits");
        }
        (id, bundle.into_bytes())
    };
    (0..entries.div_ceil(256)).map(bundle).collect()
}

fn derive(bundles: &[(EntryBundleId, Vec<u8>)]) -> Tree {
    let (mut tree, mut completed) = (Tree::new(), Vec::new());
    for (id, bytes) in bundles {
        for entry in parse_entries(*id, bytes).expect("a bundle") {
            tree.append(Hash::of_leaf(entry), &mut completed).expect("there is room");
        }
        completed.clear();
    }
    tree
}

/// Entries from everywhere in the log, far from each other.
fn indexes(size: u64) -> impl Iterator<Item = u64> {
    (0..PROOFS).map(move |number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size)
}

fn make_proofs(tiles: &Tiles, head: &TreeHead) -> usize {
    indexes(head.size).map(|index| inclusion_proof(index, head.size, tiles).expect("the tiles are there").len()).sum()
}

fn verify_proofs(tiles: &Tiles, head: &TreeHead) -> u64 {
    let mut buffer = [7; ENTRY_BYTES];
    let mut verified = 0;
    for index in indexes(head.size) {
        let proof = inclusion_proof(index, head.size, tiles).expect("the tiles are there");
        let leaf = Hash::of_leaf(entry(&mut buffer, index));
        verified += u64::from(verify_inclusion(index, &leaf, head, &proof).is_ok());
    }
    verified
}
