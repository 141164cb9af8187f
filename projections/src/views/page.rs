//! The bounds of a page: lists are read newest first, a page at a time.

/// A page: the newest rows below a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBounds {
    pub before: i64,
    /// Rows on the page.
    pub limit: usize,
}

impl PageBounds {
    /// The value for `LIMIT`: one more than the page, to see whether there is another.
    pub fn rows(self) -> i64 {
        one_more_than(self.limit)
    }
}

/// The value for `LIMIT` if one row more tells that there are too many.
pub fn one_more_than(max: usize) -> i64 {
    i64::try_from(max).map_or(i64::MAX, |max| max.saturating_add(1))
}
