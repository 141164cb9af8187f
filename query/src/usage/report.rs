//! The answer to a question about usage, before it is written in any format.

use std::sync::Arc;

use events_log::concurrency::QueryPermit;
use projections::views::usage_by_hour::{Dimension, GroupKey, Groups, Sums};

use super::question::Question;
use super::range;
use crate::names::Names;

/// Dimensions that are ids, beside which there are names.
const NAMED: [Dimension; 4] = [Dimension::Partner, Dimension::Tenant, Dimension::User, Dimension::Key];

/// A page of groups with their names.
pub struct UsageReport {
    pub as_of_position: u64,
    pub next_cursor: Option<String>,
    pub(super) groups: Groups,
    pub(super) names: Names,
    pub(super) question: Arc<Question>,
    /// The right to work on the report.
    pub(super) permit: QueryPermit,
}

/// One group of requests.
pub struct UsageGroup<'a> {
    /// The dimensions that the requests are grouped by, in order.
    pub dimensions: Vec<GroupDimension<'a>>,
    /// Names of metadata that the requests are grouped by, with their values; `None` if the requests have no such name.
    pub metadata: Vec<(&'a str, Option<&'a str>)>,
    pub sums: &'a Sums,
}

/// The value of one dimension.
pub struct GroupDimension<'a> {
    pub dimension: Dimension,
    /// `None` if it is unknown.
    pub value: Option<&'a str>,
    pub name: ValueName<'a>,
}

/// The name for the value of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueName<'a> {
    /// The value is no id.
    None,
    /// The value is an id, and its name is unknown to the caller.
    Unknown,
    Known(&'a str),
}

impl UsageReport {
    /// The time range as RFC 3339 times; `None` where it is open.
    pub fn range(&self) -> [Option<String>; 2] {
        range::shown(self.question.selection.range)
    }

    pub fn groups(&self) -> impl Iterator<Item = UsageGroup<'_>> {
        self.groups.rows.iter().map(|row| UsageGroup::new(&row.key, &row.sums, &self.question, &self.names))
    }

    /// The sums of all groups, on whatever page they are; `None` if they were not asked for.
    pub const fn totals(&self) -> Option<&Sums> {
        self.groups.totals.as_ref()
    }
}

impl<'a> UsageGroup<'a> {
    pub(super) fn new(key: &'a GroupKey, sums: &'a Sums, question: &'a Question, names: &'a Names) -> Self {
        let asked = Dimension::ALL.iter().zip(&key.dimensions).filter(|(one, _)| question.selection.groups_by(**one));
        let dimensions = asked.map(|(dimension, value)| {
            // The view has an empty text for an unknown value.
            let value = Some(value.as_str()).filter(|value| !value.is_empty());
            let name = match value.and_then(|id| names.get(id)) {
                _ if !NAMED.contains(dimension) => ValueName::None,
                Some(name) => ValueName::Known(name),
                None => ValueName::Unknown,
            };
            GroupDimension { dimension: *dimension, value, name }
        });
        let value = |place: usize| key.metadata.get(place).and_then(Option::as_deref);
        let metadata = question.by_metadata.iter().enumerate().map(|(place, name)| (name.as_str(), value(place)));
        Self { dimensions: dimensions.collect(), metadata: metadata.collect(), sums }
    }
}

/// True if the values are ids, beside which there are names.
pub fn is_named(dimension: Dimension) -> bool {
    NAMED.contains(&dimension)
}
