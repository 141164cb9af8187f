//! Sums over the view, and percentiles from its histogram.

use std::collections::HashMap;

use events::money::NanoUsd;
use projections::views::ViewsError;
use projections::views::latency::Histogram;
use rusqlite::{CachedStatement, Connection, Row, ToSql};
use serde_json::{Map, Value};

use super::cursor::GroupKey;
use super::question::{Dimension, Question};
use crate::visible::Visible;

const SUMS: &str =
    concat!(include_str!("select.sql"), include_str!("rows.sql"), include_str!("where.sql"), include_str!("page.sql"));
const REFUSED: &str = concat!(
    include_str!("select.sql"),
    include_str!("refused.sql"),
    include_str!("where.sql"),
    include_str!("refused_page.sql")
);
/// A row for each hour and all of its dimensions: histograms are added up here, not by SQL.
const LATENCIES: &str = concat!(include_str!("select.sql"), include_str!("latencies.sql"), include_str!("where.sql"));

pub const COUNTS: [&str; 8] = [
    "requests",
    "refused",
    "failed",
    "input_uncached_tokens",
    "input_cache_read_tokens",
    "input_cache_write_tokens",
    "output_text_tokens",
    "output_reasoning_tokens",
];

/// Values of the ten dimensions; `None` for those that are not grouped by.
type Group = Vec<Option<String>>;

/// The question's page of groups, and one more where there is another page; each with its place in the list.
pub fn of(db: &Connection, visible: Visible, question: &Question) -> Result<Vec<(GroupKey, Value)>, ViewsError> {
    let mut groups: Vec<(Group, Map<String, Value>)> = Vec::new();
    let mut statement = db.prepare_cached(SUMS)?;
    bind(&mut statement, visible, question)?;
    put(&mut statement, ":rows", rows(question))?;
    let after = question.limits.after.as_ref();
    put(&mut statement, ":continues", after.is_some())?;
    let after = after.map(|key| key.dimensions.clone()).unwrap_or_default();
    for (index, value) in after.iter().enumerate() {
        put(&mut statement, &format!(":after_{index}"), value)?;
    }
    let mut found = statement.raw_query();
    while let Some(row) = found.next()? {
        let group = group(row)?;
        let item = sums(row, &group, question)?;
        groups.push((group, item));
    }
    drop(found);
    let latencies = latencies(db, visible, question, groups.iter().map(|(group, _)| group))?;
    let items = groups.into_iter().enumerate().map(|(index, (group, mut item))| {
        put_latencies(&mut item, latencies.get(index));
        (key_of(&group), Value::Object(item))
    });
    Ok(items.collect())
}

pub fn put_latencies(item: &mut Map<String, Value>, counted: Option<&Histogram>) {
    let percentile = |percent| counted.and_then(|counted| counted.percentile(percent));
    item.insert("latency_ms_p50".to_owned(), percentile(50).into());
    item.insert("latency_ms_p95".to_owned(), percentile(95).into());
}

/// Times first, as groups are listed.
fn key_of(group: &Group) -> GroupKey {
    let value = |index: usize| group.get(index).cloned().flatten().unwrap_or_default();
    GroupKey { dimensions: [7, 8, 9, 0, 1, 2, 3, 4, 5, 6].map(value), metadata: Vec::new() }
}

/// Refused requests by group, of at most so many groups and one more.
pub fn refused(
    db: &Connection,
    visible: Visible,
    question: &Question,
    groups_max: usize,
) -> Result<Vec<(GroupKey, i64)>, ViewsError> {
    let mut statement = db.prepare_cached(REFUSED)?;
    bind(&mut statement, visible, question)?;
    put(&mut statement, ":rows", i64::try_from(groups_max).map_or(i64::MAX, |max| max.saturating_add(1)))?;
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((key_of(&group(row)?), row.get(Dimension::ALL.len())?));
    }
    Ok(found)
}

/// For each group, its histogram.
fn latencies<'a>(
    db: &Connection,
    visible: Visible,
    question: &Question,
    groups: impl Iterator<Item = &'a Group>,
) -> Result<Vec<Histogram>, ViewsError> {
    let places: HashMap<&Group, usize> = groups.zip(0..).collect();
    let mut histograms = vec![Histogram::default(); places.len()];
    let mut statement = db.prepare_cached(LATENCIES)?;
    bind(&mut statement, visible, question)?;
    let mut found = statement.raw_query();
    while let Some(row) = found.next()? {
        let histogram = places.get(&group(row)?).and_then(|place| histograms.get_mut(*place));
        if let Some(histogram) = histogram {
            let column = Dimension::ALL.len();
            let encoded = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?;
            histogram.add_encoded(encoded).ok_or(rusqlite::Error::InvalidColumnType(
                column,
                "histogram".to_owned(),
                rusqlite::types::Type::Blob,
            ))?;
        }
    }
    Ok(histograms)
}

fn group(row: &Row<'_>) -> Result<Group, rusqlite::Error> {
    (0..Dimension::ALL.len()).map(|column| row.get(column)).collect()
}

fn sums(row: &Row<'_>, group: &Group, question: &Question) -> Result<Map<String, Value>, rusqlite::Error> {
    let mut item = Map::new();
    for (dimension, value) in Dimension::ALL.iter().zip(group) {
        if question.groups_by(*dimension) {
            // What is not known stands as an empty text in the view.
            let known = value.as_deref().filter(|value| !value.is_empty());
            item.insert(dimension.as_str().to_owned(), known.into());
        }
    }
    let mut column = Dimension::ALL.len();
    for name in COUNTS {
        item.insert(name.to_owned(), row.get::<_, i64>(column)?.into());
        column += 1;
    }
    item.insert("cost_usd".to_owned(), NanoUsd::new(row.get(column)?).to_string().into());
    Ok(item)
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
