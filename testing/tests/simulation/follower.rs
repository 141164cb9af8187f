//! The simulated views: they follow the log, get events twice, die with the process, and lose their last transactions or their
//! whole file.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use events::event::Recorded;
use events_log::{Follower, Log, Reader};
use projections::views::replay::{ReplayRequest, replay};
use projections::views::snapshot_maker::make;
use projections::views::{Store, StoreError, VIEWS_FILE, View};
use rusqlite::Connection;
use tokio::runtime::Handle;

use super::books::{Checked, must};
use super::dice::Dice;
use super::facts::start;

/// Events per page: few, so that views that are far behind read several pages.
const PAGE: usize = 50;

pub struct SimulatedViews {
    folder: PathBuf,
    views: Store,
    log: Follower,
    /// A rebuild that is not in place yet, and its position.
    rebuild: Option<(Store, u64)>,
}

impl SimulatedViews {
    /// Opens the views of a folder, and continues from their position.
    pub fn open(folder: &Path, log: &Log, reader: &dyn Reader) -> Self {
        let views = Store::of_log(folder, reader).expect("the views open");
        let positions = View::ALL.iter().map(|view| views.checkpoint(*view).expect("a checkpoint").position);
        let position = positions.min().expect("views");
        Self { folder: folder.to_owned(), views, log: log.follow(position, PAGE), rebuild: None }
    }

    pub fn position(&self) -> u64 {
        self.log.position()
    }

    /// Applies everything that was recorded, in one transaction, so that the trace does not depend on batches and pages.
    pub fn follow(&mut self) -> Checked {
        let mut events = Vec::new();
        loop {
            let followed = if self.log.is_behind() {
                Handle::current().block_on(self.log.next()).map_err(|error| format!("follow the log: {error}"))?
            } else {
                self.log.try_next()
            };
            match followed {
                Some(followed) => events.extend_from_slice(followed.events()),
                None if self.log.is_behind() => {}
                None => return self.apply(&events),
            }
        }
    }

    /// Applies some of the last events again.
    pub fn redeliver(&mut self, reader: &dyn Reader, dice: &mut Dice) -> Checked {
        let back = u64::try_from(dice.below(12)).expect("a small number");
        let position = self.position();
        let mut events = read(reader, position.saturating_sub(back));
        events.retain(|recorded| recorded.position <= position);
        self.apply(&events)
    }

    /// Begins to rebuild some views from a part of the log; or, if a rebuild has begun, brings it to the log's head and puts it
    /// in place. A process that dies in between loses the rebuild.
    pub fn rebuild(&mut self, reader: &dyn Reader, dice: &mut Dice) -> Checked {
        let failed = |error: StoreError| format!("a rebuild: {error}");
        let Some((mut next, position)) = self.rebuild.take() else {
            let drawn: Vec<View> = View::ALL.iter().copied().filter(|_| dice.percent(50)).collect();
            let mut next = Store::create_next(&self.folder, View::projectors(&drawn)).map_err(failed)?;
            let mut events = read(reader, 0);
            events.truncate(dice.below(events.len() + 1));
            next.apply(&events).map_err(failed)?;
            self.rebuild = Some((next, events.last().map_or(0, |last| last.position)));
            return Ok(());
        };
        next.apply(&read(reader, position)).map_err(failed)?;
        self.views.swap_in(next).map_err(failed)
    }

    fn apply(&mut self, events: &[Arc<Recorded>]) -> Checked {
        self.views.apply(events).map_err(|error| format!("the views: {error}"))?;
        for view in View::ALL {
            let checkpoint = self.views.checkpoint(*view).map_err(|error| error.to_string())?;
            must(checkpoint.error.is_none(), || format!("a view stopped: {:?}", checkpoint.error))?;
        }
        Ok(())
    }

    /// Checks that views built from the whole log at once have the same rows.
    pub fn must_equal_rebuilt(&mut self, folder: &Path, fresh: &Path, log: &Log, reader: &dyn Reader) -> Checked {
        self.follow()?;
        super::disk::Image::empty().1.put(fresh, VIEWS_FILE);
        Self::open(fresh, log, reader).follow()?;
        compare(&folder.join(VIEWS_FILE), &fresh.join(VIEWS_FILE)).map_err(|error| error.to_string())?
    }
}

/// Checks that the views as of a position are those of a process that saw the events up to it, in some batches, and no others: also
/// if they were built from a snapshot on.
pub fn must_be_replayed(folder: &Path, reader: &dyn Reader, position: u64, dice: &mut Dice) -> Checked {
    let (replayed, stopped) = (folder.join("replayed.sqlite"), folder.join(VIEWS_FILE));
    let request = ReplayRequest { position, as_of: "a position", version: "0", made_at: start(), snapshots: &[] };
    let made = replay(&replayed, reader, &request, &mut |_, _| ControlFlow::Continue(()))
        .map_err(|error| error.to_string())?;
    super::disk::Image::empty().1.put(folder, VIEWS_FILE);
    let mut store = Store::of_log(folder, reader).map_err(|error| error.to_string())?;
    let events = read(reader, 0);
    let mut left = events.get(..usize::try_from(position).expect("a short log")).expect("a position of the log");
    while !left.is_empty() {
        let (batch, rest) = left.split_at(1 + dice.below(left.len().min(PAGE)));
        store.apply(batch).map_err(|error| error.to_string())?;
        left = rest;
    }
    drop(store);
    compare(&stopped, &replayed).map_err(|error| error.to_string())??;
    let from_a_snapshot = must_go_on_from_a_snapshot(folder, reader, &request)?;
    compare(&stopped, &from_a_snapshot).map_err(|error| error.to_string())??;
    let recorded = events.iter().find(|recorded| recorded.position == position).map(|recorded| recorded.recorded_at);
    must(made.recorded_at == recorded, || format!("position {position} was recorded at {recorded:?}, not {made:?}"))
}

/// Builds the same views from a snapshot half way on. Returns their file.
fn must_go_on_from_a_snapshot(
    folder: &Path,
    reader: &dyn Reader,
    request: &ReplayRequest<'_>,
) -> Result<PathBuf, String> {
    let (snapshots, file) = (folder.join("snapshots"), folder.join("from-a-snapshot.sqlite"));
    let earlier = ReplayRequest { position: request.position / 2, ..*request };
    if earlier.position > 0 {
        make(&snapshots, reader, &earlier, &mut |_, _| ControlFlow::Continue(())).map_err(|error| error.to_string())?;
    }
    let request = ReplayRequest { snapshots: &[&snapshots], ..*request };
    let made =
        replay(&file, reader, &request, &mut |_, _| ControlFlow::Continue(())).map_err(|error| error.to_string())?;
    // The disk of the simulation does not know of them.
    let _ = std::fs::remove_dir_all(&snapshots);
    must(made.began_at == earlier.position, || format!("it began at {}, not at {}", made.began_at, earlier.position))?;
    Ok(file)
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
