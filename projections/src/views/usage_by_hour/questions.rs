//! Questions about usage: sums by group, with latency histograms, and refused requests.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, Row, ToSql};

use super::latency::Histogram;
use super::range::{Parts, Span};
use super::selection::{Dimension, GroupKey, Selection};
use super::statements::UsageStatements;
use super::sums::{Amounts, COUNTS, GroupSums, Groups, Sums};
use crate::views::exact::{self, Exact};
use crate::views::inferences::search::TIME_SEARCH;
use crate::views::page::one_more_than;
use crate::views::{Question, View, ViewsError};
use crate::visible::Visible;

/// The sums of groups of requests. For a part of an hour, its requests are counted one by one.
pub struct Usage {
    pub visible: Visible,
    pub selection: Arc<Selection>,
}

/// Refused requests by group, for at most one more than `groups_max` groups.
pub struct Refused {
    pub visible: Visible,
    pub selection: Arc<Selection>,
    pub groups_max: usize,
}

/// The first column after those of the dimensions.
const SUMMED: usize = Dimension::ALL.len();
/// Histograms by group, for the groups on the page.
type Histograms<'a> = HashMap<&'a GroupKey, &'a mut Histogram>;

/// The hours, and for parts of an hour the requests as well.
fn views_of(selection: &Selection) -> &'static [View] {
    if selection.range.parts().has_partial_hours() { Usage::VIEWS } else { &[View::UsageByHour] }
}

impl Question for Usage {
    type Answer = Groups;
    const VIEWS: &'static [View] = &[View::UsageByHour, View::Inferences];

    fn views(&self) -> &'static [View] {
        views_of(&self.selection)
    }

    fn answer(self, db: &Connection) -> Result<Groups, ViewsError> {
        let Self { visible, selection } = self;
        let rows = page(db, visible, &selection)?;
        let is_last = rows.len() <= selection.limit;
        let is_whole = is_last && selection.after.is_none();
        let totals = match selection.has_totals(is_last) {
            false => None,
            true if is_whole => Sums::of_all(rows.iter().map(|row| &row.sums)),
            // Without grouping there is a single group.
            true => Some(page(db, visible, &selection.ungrouped())?.pop().map(|row| row.sums).unwrap_or_default()),
        };
        Ok(Groups { rows, totals })
    }
}

/// How many requests of a group were refused.
pub struct RefusedRequests {
    pub key: GroupKey,
    pub number: i128,
}

impl Question for Refused {
    type Answer = Vec<RefusedRequests>;
    const VIEWS: &'static [View] = Usage::VIEWS;

    fn views(&self) -> &'static [View] {
        views_of(&self.selection)
    }

    fn answer(self, db: &Connection) -> Result<Vec<RefusedRequests>, ViewsError> {
        let Self { visible, selection, groups_max } = self;
        let mut statement = db.prepare_cached(UsageStatements::of(visible, &selection).refused)?;
        bind(&mut statement, visible, &selection, &PartialHours::find(db, &selection)?)?;
        bind_one(&mut statement, ":rows", one_more_than(groups_max))?;
        let read = |row: &Row<'_>| Ok(RefusedRequests { key: group(row)?, number: exact::sums::<1>(row, SUMMED)?[0] });
        statement.raw_query().and_then(read).collect()
    }
}

fn page(db: &Connection, visible: Visible, selection: &Selection) -> Result<Vec<GroupSums>, ViewsError> {
    let statements = UsageStatements::of(visible, selection);
    let edges = PartialHours::find(db, selection)?;
    let mut statement = db.prepare_cached(statements.sums)?;
    bind(&mut statement, visible, selection, &edges)?;
    bind_one(&mut statement, ":rows", one_more_than(selection.limit))?;
    let after = selection.after.as_ref();
    bind_one(&mut statement, ":continues", after.is_some())?;
    let after = after.map(|key| key.dimensions.clone()).unwrap_or_default();
    for (index, value) in after.iter().enumerate() {
        bind_one(&mut statement, &format!(":after_{index}"), value)?;
    }
    let groups = statement.raw_query().mapped(|row| Ok(GroupSums { key: group(row)?, sums: sums(row)? }));
    let mut groups = groups.collect::<Result<Vec<_>, _>>()?;
    let mut histograms: Histograms<'_> =
        groups.iter_mut().map(|group| (&group.key, &mut group.sums.latencies)).collect();
    let mut statement = db.prepare_cached(statements.latencies)?;
    bind(&mut statement, visible, selection, &edges)?;
    add_latencies(&mut statement, &mut histograms, merge)?;
    if let Some(single) = statements.single_latencies {
        let mut statement = db.prepare_cached(single)?;
        bind(&mut statement, visible, selection, &edges)?;
        add_latencies(&mut statement, &mut histograms, count)?;
    }
    Ok(groups)
}

/// Adds each row's latencies to its group, if the group is among these.
fn add_latencies(
    statement: &mut CachedStatement<'_>,
    histograms: &mut Histograms<'_>,
    add: fn(&mut Histogram, &Row<'_>) -> Result<(), rusqlite::Error>,
) -> Result<(), ViewsError> {
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if let Some(histogram) = histograms.get_mut(&group(row)?) {
            add(histogram, row)?;
        }
    }
    Ok(())
}

fn merge(histogram: &mut Histogram, row: &Row<'_>) -> Result<(), rusqlite::Error> {
    let [milliseconds, requests] = [SUMMED, SUMMED + 1].map(|column| row.get_ref(column));
    let (milliseconds, requests) = (milliseconds?.as_str()?, requests?.as_str()?);
    let is_none = || rusqlite::Error::InvalidColumnType(SUMMED, "latency_ms".to_owned(), rusqlite::types::Type::Text);
    histogram.add_json(milliseconds, requests).ok_or_else(is_none)
}

fn count(histogram: &mut Histogram, row: &Row<'_>) -> Result<(), rusqlite::Error> {
    let Exact(milliseconds) = row.get(SUMMED)?;
    histogram.count(u64::try_from(milliseconds).unwrap_or(u64::MAX));
    Ok(())
}

fn group(row: &Row<'_>) -> Result<GroupKey, rusqlite::Error> {
    let mut key = GroupKey::default();
    for (column, value) in key.dimensions.iter_mut().enumerate() {
        *value = row.get(column)?;
    }
    Ok(key)
}

fn sums(row: &Row<'_>) -> Result<Sums, rusqlite::Error> {
    // A correction counts when it was made, not with its request.
    let [counts @ .., cost, adjusted_nanos, corrected]: [i128; COUNTS.len() + 3] = exact::sums(row, SUMMED)?;
    let amounts = Amounts { counts, cost_nanos: cost.saturating_sub(corrected), adjusted_nanos };
    Ok(Sums { amounts, latencies: Histogram::default() })
}

/// The parts of hours at both ends of the range, and the positions of their requests.
struct PartialHours {
    parts: Parts,
    /// Positions in the view `inferences`.
    positions: [Span; 2],
}

impl PartialHours {
    fn find(db: &Connection, selection: &Selection) -> Result<Self, rusqlite::Error> {
        let parts = selection.range.parts();
        let mut positions = [Span::default(); 2];
        for (span, edge) in positions.iter_mut().zip(parts.edges).filter(|(_, edge)| !edge.is_empty()) {
            *span = Span {
                from: TIME_SEARCH.first_position_since(db, &edge.from)?,
                to: TIME_SEARCH.first_position_since(db, &edge.to)?,
            };
        }
        Ok(Self { parts, positions })
    }
}

/// Binds the parameters that the statements share. Bounds that a statement does not have are skipped.
fn bind(
    statement: &mut CachedStatement<'_>,
    visible: Visible,
    selection: &Selection,
    edges: &PartialHours,
) -> Result<(), rusqlite::Error> {
    for dimension in Dimension::ALL {
        bind_one(statement, &format!(":by_{}", dimension.as_str()), selection.groups_by(*dimension))?;
    }
    let PartialHours { parts: Parts { hours, edges: [early, late] }, positions: [early_at, late_at] } = edges;
    for (from, to, span) in [
        (":from", ":to", hours),
        (":early_from", ":early_to", early),
        (":late_from", ":late_to", late),
        (":early_first", ":early_end", early_at),
        (":late_first", ":late_end", late_at),
    ] {
        bind_if_present(statement, from, span.from)?;
        bind_if_present(statement, to, span.to)?;
    }
    let requests = &selection.requests;
    let without = || selection.without_tenants.iter().map(ToString::to_string).collect::<serde_json::Value>();
    let texts = [
        (":visible_partner", &visible.partner()),
        (":visible_tenant", &visible.tenant()),
        (":partner", &requests.partner.map(|id| id.to_string())),
        (":tenant", &requests.tenant.map(|id| id.to_string())),
        (":user", &requests.user.map(|id| id.to_string())),
        (":key", &requests.key.map(|id| id.to_string())),
        (":model", &requests.model),
        (":provider", &requests.provider),
        (":backend", &requests.backend),
        (":payer", &requests.payer.map(|payer| payer.as_str().to_owned())),
        (":without_tenants", &(!selection.without_tenants.is_empty()).then(|| without().to_string())),
    ];
    for (name, text) in texts {
        bind_one(statement, name, text)?;
    }
    Ok(())
}

/// Binds a parameter. An unbound one would be NULL, which filters nothing.
/// Errors: the statement has no such parameter.
fn bind_one(statement: &mut CachedStatement<'_>, name: &str, value: impl ToSql) -> Result<(), rusqlite::Error> {
    let index =
        statement.parameter_index(name)?.ok_or_else(|| rusqlite::Error::InvalidParameterName(name.to_owned()))?;
    statement.raw_bind_parameter(index, value)
}

/// Binds a parameter if the statement has it: not every statement has every bound of the range.
fn bind_if_present(statement: &mut CachedStatement<'_>, name: &str, value: impl ToSql) -> Result<(), rusqlite::Error> {
    statement.parameter_index(name)?.map_or(Ok(()), |index| statement.raw_bind_parameter(index, value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Range, Totals};
    use super::*;
    use crate::views::RequestFilter;

    #[test]
    fn parts_of_an_hour_are_asked_of_both_views_and_whole_hours_of_one() {
        let hour = 3_600_000_000;
        for (to, views) in
            [(2 * hour, &[View::UsageByHour][..]), (2 * hour + 1, &[View::UsageByHour, View::Inferences])]
        {
            let selection = Arc::new(Selection {
                group_by: Vec::new(),
                range: Range { from: Some(hour), to: Some(to) },
                requests: RequestFilter::default(),
                without_tenants: BTreeSet::new(),
                after: None,
                limit: 1,
                totals: Totals::Never,
            });
            let visible = Visible::Platform;
            assert_eq!(Usage { visible, selection: Arc::clone(&selection) }.views(), views);
            assert_eq!(Refused { visible, selection, groups_max: 1 }.views(), views);
        }
    }
}
