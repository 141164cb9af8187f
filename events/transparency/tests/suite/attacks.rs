//! What somebody with every right on the database can do, and that the checkpoint shows it, with the first position that differs.

use rusqlite::Connection;
use tempfile::TempDir;
use tlog::{Tile, TileId};
use transparency::{PublishedLog, TreeDiffers, verify};

use crate::ledger::{Ledger, Publishing, keys, published};

const EVENTS: u64 = 600;

/// A ledger that was published, and then changed by these statements, without its triggers.
async fn changed(statements: &str) -> (Ledger, TempDir, Result<u64, TreeDiffers>) {
    let (ledger, folder) = (Ledger::with_events(EVENTS).await, TempDir::new().expect("a folder"));
    let publishing = Publishing::start(&ledger, folder.path(), 7);
    publishing.reaches(EVENTS).await;
    publishing.stop();
    let db = Connection::open(ledger.file()).expect("the database");
    let mut triggers = db.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").expect("triggers");
    let names: Vec<String> =
        triggers.query_map([], |row| row.get(0)).expect("names").collect::<Result<_, _>>().expect("names");
    drop(triggers);
    for name in names {
        db.execute_batch(&format!("DROP TRIGGER {name}")).expect("dropped");
    }
    db.execute_batch(statements).expect("changed");
    drop(db);
    let found = verified(&ledger, &published(folder.path())).await;
    (ledger, folder, found)
}

async fn verified(ledger: &Ledger, log: &PublishedLog) -> Result<u64, TreeDiffers> {
    let checkpoint = log.checkpoint().await.expect("readable").expect("published");
    let head = keys(7).read(&checkpoint.bytes).expect("signed");
    let mut tiles = Vec::new();
    for index in 0..head.size.div_ceil(256) {
        let id = TileId::in_tree(head.size, 0, index).expect("an id");
        let bytes = log.tile(id).await.expect("readable").expect("published");
        tiles.push(Tile::parse(id, &bytes).expect("a tile"));
    }
    verify(
        &*ledger.reader(),
        head,
        |index| tiles.get(usize::try_from(index).ok()?).cloned(),
        |_| None,
        &[],
        &mut |_, _| {},
    )
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
