//! Which keys sign a checkpoint while the log replaces them, wherever a publisher was stopped, and which checkpoints count.

use std::path::Path;

use tempfile::TempDir;
use testing::random::SplitMix64;
use tlog::{Checkpoint, SignedCheckpoint, TreeHead, VerifierKey};
use transparency::{CheckpointError, KeyHistory, LogKeys, PublishedError};

use crate::ledger::{FIRST_KEY, Ledger, ORIGIN, Publishing, keys, opens, published, record_key, signer};

const SEEDS: &[u8] = &[7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18];

/// A publisher that opens all keys.
fn publishing(ledger: &Ledger, into: &Path) -> Publishing {
    Publishing::with(ledger, into, |parts| parts.open_signer = opens(SEEDS))
}

async fn newest(folder: &Path) -> SignedCheckpoint {
    let checkpoint = published(folder).unchecked_checkpoint().await.expect("readable").expect("published");
    SignedCheckpoint::parse(&checkpoint.bytes).expect("a checkpoint")
}

/// The numbers of the keys that have signed a checkpoint, in the order of their signatures.
fn signers(signed: &SignedCheckpoint) -> Vec<u8> {
    let known: Vec<VerifierKey> = SEEDS.iter().map(|seed| signer(*seed).verifier_key().clone()).collect();
    let found = signed.signers(ORIGIN, &known).expect("signed by keys of the log");
    let number = |key| known.iter().position(|known| known == key).map(|index| SEEDS[index]);
    found.into_iter().map(|key| number(key).expect("known")).collect()
}

/// Holds: log.published-rotation
#[tokio::test(flavor = "multi_thread")]
async fn the_key_before_and_the_new_one_sign_the_first_checkpoint_that_has_its_event() {
    let (ledger, folder) = (Ledger::with_events(5).await, TempDir::new().expect("a folder"));
    let first = publishing(&ledger, folder.path());
    first.reaches(5).await;
    let mut kept = vec![newest(folder.path()).await];
    assert_eq!(signers(&kept[0]), [7]);
    let named = record_key(&first.log, 8, 2).await;
    first.reaches(named).await;
    kept.push(newest(folder.path()).await);
    assert_eq!(signers(&kept[1]), [7, 8], "the one before comes first");
    ledger.record_in(&first.log, 3).await;
    first.reaches(named + 3).await;
    kept.push(newest(folder.path()).await);
    assert_eq!(signers(&kept[2]), [8]);
    first.stop();
    // Two in one checkpoint, while nobody publishes.
    let log = ledger.open();
    record_key(&log, 9, 3).await;
    ledger.record_in(&log, 2).await;
    let named = record_key(&log, 10, 4).await;
    log.close();
    let again = publishing(&ledger, folder.path());
    again.reaches(named).await;
    kept.push(newest(folder.path()).await);
    assert_eq!(signers(&kept[3]), [8, 9, 10]);
    ledger.record_in(&again.log, 1).await;
    again.reaches(named + 1).await;
    kept.push(newest(folder.path()).await);
    assert_eq!(signers(&kept[4]), [10]);
    again.stop();
    trust_follows_from_checkpoints(&ledger, &kept);
}

fn trust_follows_from_checkpoints(ledger: &Ledger, kept: &[SignedCheckpoint]) {
    let history = KeyHistory::read(ORIGIN, &*ledger.reader()).expect("keys");
    let of = |indexes: &[usize]| indexes.iter().map(|index| kept[*index].clone()).collect::<Vec<_>>();
    for (given, checkpoints, trusted) in [
        (7, [0].as_slice(), true),
        // What key 7 has signed does not name key 8.
        (7, &[0, 2], false),
        (7, &[0, 1, 2], true),
        (7, &[1, 4], false),
        (7, &[1, 3, 4], true),
        (7, &[4], false),
        (9, &[3, 4], true),
        (10, &[4], true),
        // Whoever has the newest key has those that its checkpoint names.
        (10, &[0, 1, 2, 3, 4], true),
    ] {
        let checkpoints = of(checkpoints);
        match history.trusted(&keys(given), &checkpoints) {
            Ok(all) => {
                assert!(trusted, "{given} {checkpoints:?}");
                for signed in &checkpoints {
                    assert!(history.must_be_in_force(&all, signed).is_ok(), "{given} {signed}");
                }
            }
            Err((_, error)) => assert!(!trusted, "{given}: {error}"),
        }
    }
    // With a key that was replaced, anybody who has it could go on.
    let newest = kept.last().expect("some").unverified().clone();
    let forged = SignedCheckpoint::sign(newest.clone(), &signer(7)).expect("signed");
    let all = history.trusted(&keys(7), std::slice::from_ref(&forged)).expect("it is signed by a given key");
    let refused = history.must_be_in_force(&all, &forged);
    assert!(matches!(refused, Err(CheckpointError::Replaced { position: 6, .. })), "{refused:?}");
    // Nor does it vouch for a key of its thief, once somebody knows that it was replaced.
    let mut forged = SignedCheckpoint::sign(newest.clone(), &signer(7)).expect("signed");
    forged.sign_also(&signer(10)).expect("room");
    let both = LogKeys::of_verifiers(vec![signer(7).verifier_key().clone(), signer(8).verifier_key().clone()]);
    for (given, checkpoints) in [
        (keys(7), vec![kept[1].clone(), forged.clone()]),
        (keys(7), vec![forged.clone(), kept[1].clone()]),
        (both.expect("keys"), vec![forged.clone()]),
    ] {
        let all = history.trusted(&given, &checkpoints).expect("each is signed by a given key");
        let refused = history.must_be_in_force(&all, &forged);
        assert!(matches!(refused, Err(CheckpointError::Replaced { position: 6, .. })), "{refused:?}");
    }
    // A key that the log does not name.
    let foreign = SignedCheckpoint::sign(newest, &signer(99)).expect("signed");
    let refused = history.trusted(&keys(7), &[kept[1].clone(), foreign]);
    assert!(matches!(refused, Err((1, CheckpointError::Refused(_)))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_keys_that_were_replaced_at_once_the_first_and_the_last_ones_sign() {
    let (ledger, folder) = (Ledger::with_events(5).await, TempDir::new().expect("a folder"));
    let first = publishing(&ledger, folder.path());
    first.reaches(5).await;
    first.stop();
    let (log, mut named) = (ledger.open(), 0);
    for (seed, generation) in SEEDS[1..].iter().zip(2..) {
        named = record_key(&log, *seed, generation).await;
    }
    log.close();
    let next = publishing(&ledger, folder.path());
    next.reaches(named).await;
    assert_eq!(signers(&newest(folder.path()).await), [7, 11, 12, 13, 14, 15, 16, 17, 18]);
    next.stop();
}

/// The checkpoint that was signed is published, and not signed anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_two_keys_that_was_remembered_and_not_published_is_published_by_the_next() {
    let (ledger, folder) = (Ledger::with_events(5).await, TempDir::new().expect("a folder"));
    let first = publishing(&ledger, folder.path());
    first.reaches(5).await;
    let file = folder.path().join("tlog/checkpoint");
    let before = std::fs::read(&file).expect("a checkpoint");
    let named = record_key(&first.log, 8, 2).await;
    first.reaches(named).await;
    let both = std::fs::read(&file).expect("a checkpoint");
    first.stop();
    std::fs::write(&file, before).expect("the one before");
    let next = publishing(&ledger, folder.path());
    next.reaches(named).await;
    assert_eq!(signers(&newest(folder.path()).await), [7, 8]);
    assert_eq!(std::fs::read(&file).expect("a checkpoint"), both);
    next.stop();
}

/// A key that nobody opens any more leads nobody to the next one; the key in force has to open.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_lost_signs_nothing_and_one_in_force_that_does_not_open_stops_the_publisher() {
    let (ledger, folder) = (Ledger::with_events(5).await, TempDir::new().expect("a folder"));
    let first = publishing(&ledger, folder.path());
    first.reaches(5).await;
    first.stop();
    let log = ledger.open();
    let named = record_key(&log, 8, 2).await;
    log.close();
    let without = Publishing::with(&ledger, folder.path(), |parts| parts.open_signer = opens(&[FIRST_KEY]));
    without.fails_with(&["does not open here"]).await;
    without.stop();
    assert_eq!(signers(&newest(folder.path()).await), [7], "a replaced key alone signs nothing");
    let with = Publishing::with(&ledger, folder.path(), |parts| parts.open_signer = opens(&[8]));
    with.reaches(named).await;
    assert_eq!(signers(&newest(folder.path()).await), [8]);
    with.stop();
}

/// A model of its own: a checkpoint is signed by each key that was the newest at a size from that of the checkpoint before on.
#[tokio::test(flavor = "multi_thread")]
async fn which_keys_sign_follows_from_the_positions_of_their_events() {
    for seed in [1, 2, 3] {
        let mut random = SplitMix64::new(seed);
        // The log may be longer than nothing when its first key is recorded.
        let ledger = Ledger::without_key();
        let log = ledger.open();
        ledger.record_in(&log, random.next_u64() % 3 + 1).await;
        // For each position, that of the newest key.
        let mut newest: Vec<Option<u64>> = vec![None; usize::try_from(log.head().position).expect("few")];
        for generation in 1..=SEEDS.len() {
            let named = record_key(&log, SEEDS[generation - 1], u32::try_from(generation).expect("few")).await;
            newest.push(Some(named));
            let events = random.next_u64() % 3;
            if events > 0 {
                ledger.record_in(&log, events).await;
            }
            newest.resize(usize::try_from(log.head().position).expect("few"), Some(named));
        }
        log.close();
        let history = KeyHistory::read(ORIGIN, &*ledger.reader()).expect("keys");
        let first = newest.iter().flatten().next().copied();
        for size in 1..=newest.len() {
            for before in 0..=size {
                let from = if before == 0 { size } else { before };
                let mut expected: Vec<Option<u64>> = newest[from - 1..size].iter().map(|key| key.or(first)).collect();
                expected.dedup();
                let signing = history.signing(before as u64, size as u64);
                let found = signing.replaced.iter().chain(signing.in_force.first()).map(|key| Some(key.position));
                assert_eq!(found.collect::<Vec<_>>(), expected, "seed {seed}, {before} to {size} of {newest:?}");
            }
        }
    }
}

/// Whoever has an old key and the object store could say that the ledger is behind.
/// Holds: log.published-checked
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_a_key_that_was_replaced_counts_for_nobody() {
    let (ledger, folder) = (Ledger::with_events(5).await, TempDir::new().expect("a folder"));
    let first = publishing(&ledger, folder.path());
    first.reaches(5).await;
    let named = record_key(&first.log, 8, 2).await;
    first.reaches(named).await;
    first.stop();
    let head = TreeHead { size: 1000, ..*newest(folder.path()).await.unverified().head() };
    let forged = Checkpoint::new(ORIGIN, head).expect("a checkpoint");
    let forged = SignedCheckpoint::sign(forged, &signer(FIRST_KEY)).expect("signed").to_string();
    std::fs::write(folder.path().join("tlog/checkpoint"), forged).expect("replaced");
    let log = ledger.open();
    let found = published(folder.path()).checkpoint(&log).await;
    log.close();
    let replaced = PublishedError::Checkpoint(CheckpointError::Replaced { size: 1000, position: named });
    assert_eq!(found.map(|_| ()).map_err(|error| error.to_string()), Err(replaced.to_string()));
    // What is remembered may be of a backup, unless the log is new or the operator says so.
    let next = Publishing::with(&ledger, folder.path(), |parts| {
        (parts.open_signer, parts.may_begin) = (opens(SEEDS), false);
    });
    next.fails_with(&["no key that was in force"]).await;
    next.stop();
    let next = publishing(&ledger, folder.path());
    next.reaches(named).await;
    assert_eq!(newest(folder.path()).await.unverified().head().size, named, "the remembered one is published again");
    next.stop();
}
