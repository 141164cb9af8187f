//! Which rows of a list: newest first, a page at a time.

/// A page: the newest rows below a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBounds {
    pub before: i64,
    /// Rows on the page.
    pub limit: usize,
}

impl PageBounds {
    /// For `LIMIT`: one more than the page, which says whether there is another.
    pub fn rows(self) -> i64 {
        i64::try_from(self.limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
    }
}
