//! The views while everything around them fails: they follow the tail where they can and the database where they must,
//! are given events twice, die with the process, lose their last transactions or their whole file.

use std::path::Path;
use std::sync::Arc;

use events::event::Recorded;
use events::log::{Log, Reader};
use rusqlite::Connection;
use tokio::sync::broadcast;

use super::books::{Checked, must};
use super::dice::Dice;
use crate::views::store::{Store, StoreError, VIEWS_FILE};
use crate::views::{View, is_checkpoint_of};

pub struct SimulatedViews {
    store: Store,
    tail: broadcast::Receiver<Arc<[Arc<Recorded>]>>,
    /// Last position given to the views.
    position: u64,
    /// New rows that are not in place yet, and how far they go.
    building: Option<(Store, u64)>,
}

impl SimulatedViews {
    /// Goes on from what the folder has of them.
    pub fn open(folder: &Path, log: &Log, reader: &dyn Reader) -> Self {
        let tail = log.tail();
        let projectors = View::ALL.iter().map(|view| view.projector()).collect();
        let store =
            Store::open(folder, projectors, |checkpoint| is_checkpoint_of(reader, checkpoint)).expect("the views open");
        let positions = View::ALL.iter().map(|view| store.checkpoint(*view).expect("a checkpoint").position);
        let position = positions.min().expect("views");
        Self { store, tail, position, building: None }
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes in what the tail has, or where that does not follow on what came before, what the database has.
    pub fn follow(&mut self, reader: &dyn Reader) -> Checked {
        let mut events = Vec::new();
        while let Ok(batch) = self.tail.try_recv() {
            events.extend(batch.iter().filter(|recorded| recorded.position > self.position).cloned());
        }
        let follows = (self.position + 1..).zip(&events).all(|(position, recorded)| recorded.position == position);
        if !follows || events.is_empty() {
            events = read(reader, self.position);
        }
        self.apply(&events)
    }

    /// Gives the views some of the last events once more.
    pub fn redeliver(&mut self, reader: &dyn Reader, dice: &mut Dice) -> Checked {
        let back = u64::try_from(dice.below(12)).expect("a small number");
        let position = self.position;
        let mut events = read(reader, position.saturating_sub(back));
        events.retain(|recorded| recorded.position <= position);
        self.apply(&events)?;
        self.position = position;
        Ok(())
    }

    /// Begins to build some views anew, of a part of the log; or brings what was begun to the log's head and puts it in
    /// place. Who dies between the two has begun nothing.
    pub fn rebuild(&mut self, folder: &Path, reader: &dyn Reader, dice: &mut Dice) -> Checked {
        let failed = |error: StoreError| format!("a rebuild: {error}");
        let Some((mut next, position)) = self.building.take() else {
            let drawn = View::ALL.iter().filter(|_| dice.percent(50));
            let mut next = Store::create_next(folder, drawn.map(|view| view.projector()).collect()).map_err(failed)?;
            let mut events = read(reader, 0);
            events.truncate(dice.below(events.len() + 1));
            next.apply(&events).map_err(failed)?;
            self.building = Some((next, events.last().map_or(0, |last| last.position)));
            return Ok(());
        };
        next.apply(&read(reader, position)).map_err(failed)?;
        self.store.swap_in(next, folder).map_err(failed)
    }

    fn apply(&mut self, events: &[Arc<Recorded>]) -> Checked {
        self.store.apply(events).map_err(|error| format!("the views: {error}"))?;
        if let Some(last) = events.last() {
            self.position = last.position;
        }
        for view in View::ALL {
            let checkpoint = self.store.checkpoint(*view).map_err(|error| error.to_string())?;
            must(checkpoint.error.is_none(), || format!("a view stopped: {:?}", checkpoint.error))?;
        }
        Ok(())
    }

    /// Whether views that are made of the whole log at once are the same, row for row.
    pub fn must_come_out_the_same(&mut self, folder: &Path, fresh: &Path, log: &Log, reader: &dyn Reader) -> Checked {
        self.follow(reader)?;
        super::disk::Image::pristine().1.put(fresh, VIEWS_FILE);
        Self::open(fresh, log, reader).follow(reader)?;
        compare(&folder.join(VIEWS_FILE), &fresh.join(VIEWS_FILE)).map_err(|error| error.to_string())?
    }
}

fn read(reader: &dyn Reader, position: u64) -> Vec<Arc<Recorded>> {
    reader.after(position, 100_000).expect("the log reads").into_iter().map(Arc::new).collect()
}

fn compare(followed: &Path, rebuilt: &Path) -> rusqlite::Result<Checked> {
    let connection = Connection::open(followed)?;
    connection.execute("ATTACH ?1 AS rebuilt", [rebuilt.to_string_lossy()])?;
    let mut tables = connection.prepare("SELECT name FROM main.sqlite_master WHERE type = 'table'")?;
    let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for table in tables {
        let differing = format!(
            "SELECT (SELECT count(*) FROM (SELECT * FROM main.{table} EXCEPT SELECT * FROM rebuilt.{table}))
                  + (SELECT count(*) FROM (SELECT * FROM rebuilt.{table} EXCEPT SELECT * FROM main.{table}))
                  + abs((SELECT count(*) FROM main.{table}) - (SELECT count(*) FROM rebuilt.{table}))"
        );
        let rows: u64 = connection.query_row(&differing, [], |row| row.get(0))?;
        if rows > 0 {
            return Ok(Err(format!("{rows} rows of {table} are not what the log makes of them")));
        }
    }
    Ok(Ok(()))
}
