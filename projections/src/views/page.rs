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
        one_more_than(self.limit)
    }
}

/// For `LIMIT`, where one row more says that there are too many.
pub fn one_more_than(max: usize) -> i64 {
    i64::try_from(max).map_or(i64::MAX, |max| max.saturating_add(1))
}
