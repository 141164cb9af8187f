//! The rows of a response.

use std::collections::BTreeSet;

use events::money::NanoUsdSum;
use projections::views::usage_by_hour::{COUNTS, Dimension, GroupKey, Sums, Totals};

use super::question::Question;
use crate::names::Names;
use crate::record::{Cell, Record};

/// Dimensions that are ids, beside which there are names.
const NAMED: [Dimension; 4] = [Dimension::Partner, Dimension::Tenant, Dimension::User, Dimension::Key];

/// The ids in these groups.
pub fn ids(rows: &[(GroupKey, Sums)], question: &Question) -> BTreeSet<String> {
    let is_named = |dimension| question.selection.groups_by(dimension) && NAMED.contains(&dimension);
    let values = rows.iter().flat_map(|(key, _)| Dimension::ALL.iter().zip(&key.dimensions));
    let ids = values.filter(|(dimension, id)| is_named(**dimension) && !id.is_empty());
    ids.map(|(_, id)| id.clone()).collect()
}

/// The row of a group: its values, names and sums.
pub fn shown(key: &GroupKey, sums: &Sums, question: &Question, names: &Names) -> Record {
    let mut record = Record::default();
    for (dimension, value) in Dimension::ALL.iter().zip(&key.dimensions) {
        if !question.selection.groups_by(*dimension) {
            continue;
        }
        // The view has an empty text for an unknown value.
        let known = Some(value.as_str()).filter(|value| !value.is_empty());
        record.put(dimension.as_str(), known);
        if NAMED.contains(dimension) {
            record.put(format!("{dimension}_name"), known.and_then(|id| names.get(id)));
        }
    }
    for (place, name) in question.by_metadata.iter().enumerate() {
        let value = key.metadata.get(place).and_then(Option::as_deref);
        record.put(format!("metadata.{name}"), value);
    }
    put_sums(&mut record, sums);
    record
}

/// The totals of all groups.
pub fn totals(sums: &Sums) -> Record {
    let mut record = Record::default();
    put_sums(&mut record, sums);
    record
}

/// The row as a line: with totals, a field `row` says which line they are.
pub fn line(kind: &'static str, shown: Record, question: &Question) -> Record {
    if question.selection.totals == Totals::Never { shown } else { shown.prefixed("row", kind) }
}

fn put_sums(record: &mut Record, sums: &Sums) {
    for (name, number) in COUNTS.into_iter().zip(sums.amounts.counts) {
        record.put(name, Cell::Whole(number));
    }
    record.put("cost_usd", Cell::Usd(NanoUsdSum::new(sums.amounts.cost_nanos)));
    record.put("adjusted_usd", Cell::Usd(NanoUsdSum::new(sums.amounts.adjusted_nanos)));
    record.put("latency_ms_p50", sums.latencies.percentile(50));
    record.put("latency_ms_p95", sums.latencies.percentile(95));
}
