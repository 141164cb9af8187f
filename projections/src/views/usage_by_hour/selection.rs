//! The selection of usage: the requests, their grouping and the page.

use std::collections::BTreeSet;

use events::ids::TenantId;
use events::named;
use serde::{Deserialize, Serialize};

use super::range::Range;
use crate::views::RequestFilter;

named! {
    /// A dimension to group by. The order is that of the columns, and of sorting: times first.
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
        Payer = "payer",
    }
}

/// The values of a group. They sort as groups are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// In the order of [`Dimension::ALL`]; empty if not grouped by, or unknown.
    pub dimensions: [String; Dimension::ALL.len()],
    /// Values of metadata, in the order of the question; `None` if the requests have no such name.
    pub metadata: Vec<Option<String>>,
}

/// A page of groups of the requests in a range.
#[derive(Clone, Debug)]
pub struct Selection {
    pub group_by: Vec<Dimension>,
    pub range: Range,
    pub requests: RequestFilter,
    /// Those whose requests are left out.
    pub without_tenants: BTreeSet<TenantId>,
    /// The last group of the page before; `None` for the first page.
    pub after: Option<GroupKey>,
    pub limit: usize,
    pub totals: Totals,
}

/// The pages that include the totals of all groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Totals {
    Never,
    OnEveryPage,
    OnTheLastPage,
}

impl Selection {
    pub fn groups_by(&self, dimension: Dimension) -> bool {
        self.group_by.contains(&dimension)
    }

    /// Whether the page includes totals.
    pub const fn has_totals(&self, is_last: bool) -> bool {
        match self.totals {
            Totals::Never => false,
            Totals::OnEveryPage => true,
            Totals::OnTheLastPage => is_last,
        }
    }

    /// The same selection as one group.
    pub(super) fn ungrouped(&self) -> Self {
        Self { group_by: Vec::new(), after: None, limit: 1, ..self.clone() }
    }
}
