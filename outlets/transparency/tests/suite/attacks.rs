//! Attacks by somebody with every right on the database. The checkpoint shows each of them, with the first position that differs.

use rusqlite::Connection;
use tempfile::TempDir;
use tlog::{Tile, TileId, TreeHead};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use transparency::{PublishedLog, TreeDiffers, verify};

use crate::ledger::{Ledger, Publishing, keys, published};

const EVENTS: u64 = 600;

/// Changes a ledger by these statements, without its triggers.
fn change(ledger: &Ledger, statements: &str) {
    let db = Connection::open(ledger.file()).expect("the database");
    let mut triggers = db.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").expect("triggers");
    let names: Vec<String> =
        triggers.query_map([], |row| row.get(0)).expect("names").collect::<Result<_, _>>().expect("names");
    for name in names {
        db.execute_batch(&format!("DROP TRIGGER {name}")).expect("dropped");
    }
    db.execute_batch(statements).expect("changed");
}

/// A ledger that was published, and then changed by these statements, without its triggers.
async fn changed(statements: &str) -> (Ledger, TempDir, Result<u64, TreeDiffers>) {
    let (ledger, folder) = (Ledger::with_events(EVENTS).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(EVENTS).await;
    publishing.stop();
    change(&ledger, statements);
    let found = verified(&ledger, &published(folder.path())).await;
    (ledger, folder, found)
}

async fn verified(ledger: &Ledger, log: &PublishedLog) -> Result<u64, TreeDiffers> {
    verified_with(ledger, log, Proofs::Unasked, &[]).await
}

/// Whether the published log is asked if checkpoints of more events than there are continue these.
#[derive(Clone, Copy)]
enum Proofs {
    Asked,
    Unasked,
}

async fn verified_with(
    ledger: &Ledger,
    log: &PublishedLog,
    proofs: Proofs,
    kept: &[TreeHead],
) -> Result<u64, TreeDiffers> {
    let checkpoint = log.unchecked_checkpoint().await.expect("readable").expect("published");
    let head = keys(7).read(&checkpoint.bytes).expect("signed");
    let mut tiles = Vec::new();
    for index in 0..head.size.div_ceil(256) {
        let id = TileId::in_tree(head.size, 0, index).expect("an id");
        let bytes = log.tree(head).tile(id).await.expect("readable").expect("published");
        tiles.push(Tile::parse(id, &bytes).expect("a tile"));
    }
    let proof = |old, new| match proofs {
        Proofs::Asked => block_in_place(|| Handle::current().block_on(log.tree(head).consistency_proof(old, new)).ok()),
        Proofs::Unasked => None,
    };
    let tile = |index| tiles.get(usize::try_from(index).ok()?).cloned();
    verify(&*ledger.reader(), head, tile, proof, kept, &mut |_, _| {})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_nobody_changed_is_the_one_that_was_published() {
    let (.., found) = changed("").await;
    assert!(matches!(found, Ok(EVENTS)), "{found:?}");
}

/// Holds: log.published-changes
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_an_event_is_found_at_its_position() {
    for (statements, position) in [
        ("UPDATE events SET payload = replace(payload, 'UNAUTHENTICATED', 'FORBIDDEN') WHERE position = 17", 17),
        ("UPDATE events SET payload = replace(payload, '\"count\":300', '\"count\":301') WHERE position = 300", 300),
        ("UPDATE events SET metadata = replace(metadata, 'gateway', 'operator') WHERE position = 256", 256),
        ("UPDATE events SET recorded_at = recorded_at + 1 WHERE position = 600", 600),
        ("UPDATE events SET sequence = 1000 WHERE position = 257", 257),
        ("UPDATE events SET aggregate_id = 'key_1' WHERE position = 1", 1),
        ("UPDATE events SET payload = (SELECT payload FROM events WHERE position = 511) WHERE position = 510", 510),
    ] {
        let (.., found) = changed(statements).await;
        match found {
            Err(TreeDiffers::OtherEvent { position: at }) => assert_eq!(at, position, "{statements}"),
            other => panic!("{statements}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_was_cut_is_found() {
    let (.., found) = changed("DELETE FROM events WHERE position > 590").await;
    assert!(matches!(found, Err(TreeDiffers::Short { published: EVENTS, found: 590 })), "{found:?}");
}

/// A ledger with the first events of one whose checkpoints are these: of 200 events, and of 600.
async fn beginning(events: u64, statement: &str) -> (Ledger, PublishedLog, [TreeHead; 2], TempDir) {
    let (ledger, folder) = (Ledger::with_events(200).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path());
    publishing.reaches(200).await;
    let log = published(folder.path());
    let early = log.unchecked_checkpoint().await.expect("readable").expect("published").head;
    ledger.record_in(&publishing.log, EVENTS - 200).await;
    publishing.reaches(EVENTS).await;
    let late = log.unchecked_checkpoint().await.expect("readable").expect("published").head;
    publishing.stop();
    change(&ledger, &format!("DELETE FROM events WHERE position > {events}; {statement}"));
    (ledger, log, [early, late], folder)
}

/// An archive is minutes behind, and a checkpoint that was kept may be of now.
#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_agrees_with_a_kept_checkpoint_of_more_events_that_continues_it() {
    let (ledger, log, [early, late], _folder) = beginning(400, "").await;
    let found = verified_with(&ledger, &log, Proofs::Asked, &[early, late]).await;
    assert!(matches!(found, Ok(400)), "{found:?}");
    let other = TreeHead { root: early.root, ..late };
    let found = verified_with(&ledger, &log, Proofs::Asked, &[early, other]).await;
    assert!(matches!(found, Err(TreeDiffers::OtherCheckpoint { after: 200, size: EVENTS })), "{found:?}");
    let found = verified_with(&ledger, &log, Proofs::Unasked, &[late]).await;
    assert!(matches!(found, Err(TreeDiffers::Short { published: EVENTS, found: 400 })), "{found:?}");
}

/// Holds: log.published-changes
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_found_at_its_position_also_with_checkpoints_that_were_kept() {
    for (events, kept) in [(EVENTS, 0), (EVENTS, 1), (400, 1)] {
        let changed = "UPDATE events SET recorded_at = recorded_at + 1 WHERE position = 5";
        let (ledger, log, heads, _folder) = beginning(events, changed).await;
        let found = verified_with(&ledger, &log, Proofs::Asked, &heads[kept..=kept]).await;
        assert!(matches!(found, Err(TreeDiffers::OtherEvent { position: 5 })), "{events} {kept}: {found:?}");
    }
}
