//! Sums over the view, and percentiles from its histogram.

use std::collections::HashMap;

use projections::views::latency::Histogram;
use projections::views::{ViewsError, exact};
use rusqlite::{CachedStatement, Connection, Row, ToSql};

use super::cursor::GroupKey;
use super::question::{Dimension, Question};
use super::row::{COUNTS, Sums};
use crate::visible::Visible;

const SUMS: &str =
    concat!(include_str!("select.sql"), include_str!("rows.sql"), include_str!("where.sql"), include_str!("page.sql"));
const REFUSED: &str = concat!(
    include_str!("select.sql"),
    include_str!("refused.sql"),
    include_str!("where.sql"),
    include_str!("refused_page.sql")
);
/// The column behind those of the dimensions.
const SUMMED: usize = Dimension::ALL.len();
/// A row for each hour and all of its dimensions: histograms are added up here, not by SQL.
const LATENCIES: &str = concat!(include_str!("select.sql"), include_str!("latencies.sql"), include_str!("where.sql"));

/// The question's page of groups, and one more where there is another page.
pub fn of(db: &Connection, visible: Visible, question: &Question) -> Result<Vec<(GroupKey, Sums)>, ViewsError> {
    let mut statement = db.prepare_cached(SUMS)?;
    bind(&mut statement, visible, question)?;
    put(&mut statement, ":rows", rows(question))?;
    let after = question.limits.after.as_ref();
    put(&mut statement, ":continues", after.is_some())?;
    let after = after.map(|key| key.dimensions.clone()).unwrap_or_default();
    for (index, value) in after.iter().enumerate() {
        put(&mut statement, &format!(":after_{index}"), value)?;
    }
    let mut groups = Vec::new();
    let mut found = statement.raw_query();
    while let Some(row) = found.next()? {
        groups.push((group(row)?, sums(row)?));
    }
    drop(found);
    add_latencies(db, visible, question, &mut groups)?;
    Ok(groups)
}

/// Refused requests by group, of at most so many groups and one more.
pub fn refused(
    db: &Connection,
    visible: Visible,
    question: &Question,
    groups_max: usize,
) -> Result<Vec<(GroupKey, i128)>, ViewsError> {
    let mut statement = db.prepare_cached(REFUSED)?;
    bind(&mut statement, visible, question)?;
    put(&mut statement, ":rows", i64::try_from(groups_max).map_or(i64::MAX, |max| max.saturating_add(1)))?;
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let [refused] = exact::sums(row, SUMMED)?;
        found.push((group(row)?, refused));
    }
    Ok(found)
}

/// Gives each of these groups its histogram.
fn add_latencies(
    db: &Connection,
    visible: Visible,
    question: &Question,
    groups: &mut [(GroupKey, Sums)],
) -> Result<(), ViewsError> {
    let mut histograms: HashMap<&GroupKey, &mut Histogram> =
        groups.iter_mut().map(|(key, sums)| (&*key, &mut sums.latencies)).collect();
    let mut statement = db.prepare_cached(LATENCIES)?;
    bind(&mut statement, visible, question)?;
    let mut found = statement.raw_query();
    while let Some(row) = found.next()? {
        if let Some(histogram) = histograms.get_mut(&group(row)?) {
            let encoded = row.get_ref(SUMMED)?.as_blob().map_err(rusqlite::Error::from)?;
            histogram.add_encoded(encoded).ok_or(rusqlite::Error::InvalidColumnType(
                SUMMED,
                "histogram".to_owned(),
                rusqlite::types::Type::Blob,
            ))?;
        }
    }
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
    let [counts @ .., cost_nanos]: [i128; COUNTS.len() + 1] = exact::sums(row, SUMMED)?;
    Ok(Sums { counts, cost_nanos, latencies: Histogram::default() })
}

fn rows(question: &Question) -> i64 {
    i64::try_from(question.limits.limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
}

/// What all statements have in common.
fn bind(statement: &mut CachedStatement<'_>, visible: Visible, question: &Question) -> Result<(), rusqlite::Error> {
    for dimension in Dimension::ALL {
        put(statement, &format!(":by_{}", dimension.as_str()), question.groups_by(*dimension))?;
    }
    for (name, hour) in [(":from", question.hours.from), (":to", question.hours.to)] {
        put(statement, name, hour)?;
    }
    let texts = [
        (":visible_partner", &visible.partner()),
        (":visible_tenant", &visible.tenant()),
        (":partner", &question.partner),
        (":tenant", &question.tenant),
        (":user", &question.user),
        (":key", &question.key),
        (":model", &question.model),
        (":provider", &question.provider),
        (":backend", &question.backend),
    ];
    for (name, text) in texts {
        put(statement, name, text)?;
    }
    Ok(())
}

fn put(statement: &mut CachedStatement<'_>, name: &str, value: impl ToSql) -> Result<(), rusqlite::Error> {
    let index = statement.parameter_index(name)?;
    let index = index.ok_or_else(|| rusqlite::Error::InvalidParameterName(name.to_owned()))?;
    statement.raw_bind_parameter(index, value)
}
