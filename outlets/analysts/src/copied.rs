//! The state of the copy of each view, and the next step to copy.

use projections::views::{Checkpoint, RowsId, TrackedView, View};

use crate::error::CopyError;

/// How far a view is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedView {
    pub view: View,
    /// The version of its rows; 0 before the first copy.
    pub version: u32,
    pub position: u64,
    /// When the event at `position` was recorded, in microseconds since 1970.
    pub recorded_at_micros: i64,
    pub rows: RowsId,
}

impl CopiedView {
    pub fn checkpoint(&self) -> Checkpoint {
        let Self { version, position, recorded_at_micros, .. } = *self;
        Checkpoint { version, position, recorded_at_micros, error: None }
    }
}

/// Which rows of a view are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Those that changed after this position.
    ChangedAfter(u64),
    All,
}

/// The rows of a view that are copied in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewStep {
    /// The position that the copy has to be at.
    pub from: u64,
    pub to: CopiedView,
    pub rows: Rows,
}

/// The next step of copying a view; `None` if the copy has it all.
///
/// Errors: a newer version of the program wrote the copy.
pub fn step(view: &TrackedView, copied: &CopiedView) -> Result<Option<ViewStep>, CopyError> {
    if copied.version > view.version {
        return Err(CopyError::NewerRows(view.view));
    }
    let TrackedView { view: of, version, position, recorded_at_micros, rows, since } = view.clone();
    let is_replaced = copied.rows.file == rows.file && copied.rows.swaps != rows.swaps;
    let is_known = copied.version == version && !is_replaced;
    if is_known && (copied.position > position || (copied.position == position && copied.rows == rows)) {
        // The views of this node may be behind those that were copied.
        return Ok(None);
    }
    let rows_to_copy =
        if is_known && since <= copied.position { Rows::ChangedAfter(copied.position) } else { Rows::All };
    let to = CopiedView { view: of, version, position, recorded_at_micros, rows };
    Ok(Some(ViewStep { from: copied.position, to, rows: rows_to_copy }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(file: &str, swaps: i64) -> RowsId {
        RowsId { file: file.to_owned(), swaps }
    }

    fn tracked(position: u64, since: u64, rows: RowsId) -> TrackedView {
        TrackedView { view: View::Audit, version: 2, position, recorded_at_micros: 7, rows, since }
    }

    fn copied(version: u32, position: u64, rows: RowsId) -> CopiedView {
        CopiedView { view: View::Audit, version, position, recorded_at_micros: 7, rows }
    }

    fn copies(view: &TrackedView, copied: &CopiedView) -> Option<Rows> {
        step(view, copied).expect("no newer rows").map(|step| step.rows)
    }

    #[test]
    fn changed_rows_are_copied_as_long_as_every_change_is_known() {
        let one = || rows("one", 0);
        let at_five = copied(2, 5, one());
        assert_eq!(copies(&tracked(5, 0, one()), &at_five), None);
        assert_eq!(copies(&tracked(9, 5, one()), &at_five), Some(Rows::ChangedAfter(5)));
        assert_eq!(copies(&tracked(9, 6, one()), &at_five), Some(Rows::All), "the changes at 6 are not known");
        assert_eq!(copies(&tracked(5, 5, rows("one", 1)), &at_five), Some(Rows::All), "a rebuild replaced the rows");
        assert_eq!(copies(&tracked(4, 0, one()), &at_five), None, "this node is behind");
        // The views of two nodes have the same rows.
        assert_eq!(copies(&tracked(9, 5, rows("two", 3)), &at_five), Some(Rows::ChangedAfter(5)));
        assert_eq!(copies(&tracked(5, 5, rows("two", 3)), &at_five), Some(Rows::ChangedAfter(5)), "its file is noted");
    }

    #[test]
    fn rows_of_an_older_version_are_replaced_and_those_of_a_newer_one_are_left() {
        let one = || rows("one", 0);
        assert_eq!(copies(&tracked(9, 0, one()), &copied(1, 9, one())), Some(Rows::All));
        assert_eq!(copies(&tracked(9, 0, one()), &copied(0, 0, rows("", 0))), Some(Rows::All));
        let newer = step(&tracked(9, 0, one()), &copied(3, 5, one()));
        assert!(matches!(newer, Err(CopyError::NewerRows(View::Audit))));
    }
}
