//! Reads what has to be copied, in one snapshot of the views, on a thread for blocking work. Rows come in pieces through a bounded
//! channel, so that a copy of any size takes the same memory.

use blocking_work::OUTLETS;
use projections::views::{CopySnapshot, CopySource};
use rusqlite::{Params, Row};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::copied::{CopiedView, Rows, ViewStep, step};
use crate::error::CopyError;
use crate::table::{TABLES, Table};
use crate::value::Values;

/// The rows in a piece.
const PIECE_ROWS: usize = 1000;
/// The pieces that wait to be written.
const PIECES_MAX: usize = 2;

/// Rows of a table.
pub struct Piece {
    pub table: &'static Table,
    pub rows: Vec<Values>,
    /// The keys of rows that there are no more.
    pub deleted: Vec<Values>,
}

impl Piece {
    const fn of(table: &'static Table) -> Self {
        Self { table, rows: Vec::new(), deleted: Vec::new() }
    }

    fn len(&self) -> usize {
        self.rows.len() + self.deleted.len()
    }
}

/// A snapshot that is being read. If this is dropped, reading ends soon.
pub struct Reading {
    steps: oneshot::Receiver<Vec<ViewStep>>,
    pieces: mpsc::Receiver<Piece>,
    thread: JoinHandle<(CopySource, Result<(), CopyError>)>,
}

impl Reading {
    /// Begins to read what the copy lacks.
    pub async fn start(mut source: CopySource, copied: Vec<CopiedView>) -> Self {
        let ((tell_steps, steps), (sender, pieces)) = (oneshot::channel(), mpsc::channel(PIECES_MAX));
        let thread = OUTLETS.turn(None).await.start(move || {
            let read = source.read(|snapshot| {
                let steps = steps_of(snapshot, &copied)?;
                let rows: Vec<_> = steps.iter().map(|step| (step.to.view, step.rows)).collect();
                tell_steps.send(steps).map_err(|_| CopyError::Interrupted)?;
                rows.into_iter().try_for_each(|(view, rows)| {
                    let tables = TABLES.iter().filter(|table| table.view == view);
                    tables.into_iter().try_for_each(|table| send_rows(snapshot, table, rows, &sender))
                })
            });
            (source, read)
        });
        Self { steps, pieces, thread }
    }

    /// The steps that are going to be copied; `None` if reading failed.
    pub async fn steps(&mut self) -> Option<Vec<ViewStep>> {
        (&mut self.steps).await.ok()
    }

    /// The next piece; `None` after the last one.
    pub async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }

    /// Whether everything was read, and the source for the next time.
    pub async fn finish(self) -> Result<CopySource, CopyError> {
        let (source, read) = self.thread.await.map_err(|_| CopyError::Interrupted)?;
        read.map(|()| source)
    }
}

fn steps_of(snapshot: &CopySnapshot<'_>, copied: &[CopiedView]) -> Result<Vec<ViewStep>, CopyError> {
    let of = |copied: &CopiedView| Some((snapshot.views.iter().find(|view| view.view == copied.view)?, copied.clone()));
    let steps = copied.iter().filter_map(of).map(|(view, copied)| step(view, &copied));
    steps.filter_map(Result::transpose).collect()
}

fn send_rows(
    snapshot: &CopySnapshot<'_>,
    table: &'static Table,
    rows: Rows,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), CopyError> {
    match rows {
        Rows::All => send(snapshot, table, table.all, [], sender),
        Rows::ChangedAfter(position) => send(snapshot, table, table.touched, [position], sender),
    }
}

fn send(
    snapshot: &CopySnapshot<'_>,
    table: &'static Table,
    statement: &str,
    parameters: impl Params,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), CopyError> {
    let mut statement = snapshot.connection.prepare_cached(statement)?;
    let (mut rows, mut piece) = (statement.query(parameters)?, Piece::of(table));
    while let Some(row) = rows.next()? {
        if row.get(0)? {
            piece.rows.push(values(table, row)?)
        } else {
            piece.deleted.push(key(table, row)?)
        }
        if piece.len() == PIECE_ROWS {
            let full = std::mem::replace(&mut piece, Piece::of(table));
            sender.blocking_send(full).map_err(|_| CopyError::Interrupted)?;
        }
    }
    if piece.len() > 0 {
        sender.blocking_send(piece).map_err(|_| CopyError::Interrupted)?;
    }
    Ok(())
}

/// The values of a row that a statement of the table selected.
pub fn values(table: &Table, row: &Row<'_>) -> Result<Values, rusqlite::Error> {
    (1..).zip(table.columns).map(|(index, column)| column.kind.read(row, index)).collect()
}

fn key(table: &Table, row: &Row<'_>) -> Result<Values, rusqlite::Error> {
    (1..).zip(table.key_columns()).map(|(index, column)| column.kind.read(row, index)).collect()
}
