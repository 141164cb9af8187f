//! Which usage is asked for, and how it is grouped.

use events::named;
use serde::{Deserialize, Serialize};

use super::range::Range;
use crate::views::RequestFilter;

named! {
    /// What rows are grouped by. In the order of columns, and of what groups are listed by: times first.
    pub enum Dimension {
        Hour = "hour",
        Day = "day",
        Week = "week",
        Month = "month",
        Partner = "partner",
        Tenant = "tenant",
        User = "user",
        Key = "key",
        Model = "model",
        Provider = "provider",
        Backend = "backend",
    }
}

/// A group by its values, in the order in which groups are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// In the order of [`Dimension::ALL`]; empty where it is not grouped by or not known.
    pub dimensions: [String; Dimension::ALL.len()],
    /// Values of metadata, in the order of the question; `None` where a request has none of that name.
    pub metadata: Vec<Option<String>>,
}

/// A page of groups of the requests in a time.
#[derive(Clone, Debug)]
pub struct Selection {
    pub group_by: Vec<Dimension>,
    pub range: Range,
    pub requests: RequestFilter,
    /// Groups behind this one; `None` from the first on.
    pub after: Option<GroupKey>,
    pub limit: usize,
    pub totals: Totals,
}

/// Where what all groups sum up to is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Totals {
    Nowhere,
    OnEveryPage,
    OnTheLastPage,
}

impl Selection {
    pub fn groups_by(&self, dimension: Dimension) -> bool {
        self.group_by.contains(&dimension)
    }

    /// Whether a page has them that is the last, or is not.
    pub const fn has_totals(&self, is_last: bool) -> bool {
        match self.totals {
            Totals::Nowhere => false,
            Totals::OnEveryPage => true,
            Totals::OnTheLastPage => is_last,
        }
    }

    /// The same of all groups together.
    pub(super) fn ungrouped(&self) -> Self {
        Self { group_by: Vec::new(), after: None, limit: 1, ..self.clone() }
    }
}
