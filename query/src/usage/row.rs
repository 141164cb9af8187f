//! The rows of a response.

use std::collections::BTreeSet;

use events::money::NanoUsdSum;
use projections::views::usage_by_hour::{COUNTS, Dimension, GroupSums, Sums, Totals};

use super::question::Question;
use super::report::{GroupDimension, UsageGroup, ValueName, is_named};
use crate::record::{Cell, Record};

/// The ids in these groups.
pub fn ids(rows: &[GroupSums], question: &Question) -> BTreeSet<String> {
    let is_named = |dimension| question.selection.groups_by(dimension) && is_named(dimension);
    let values = rows.iter().flat_map(|row| Dimension::ALL.iter().zip(&row.key.dimensions));
    let ids = values.filter(|(dimension, id)| is_named(**dimension) && !id.is_empty());
    ids.map(|(_, id)| id.clone()).collect()
}

/// The row of a group: its values, names and sums.
pub fn shown(group: &UsageGroup<'_>) -> Record {
    let mut record = Record::default();
    for GroupDimension { dimension, value, name } in &group.dimensions {
        record.put(dimension.as_str(), *value);
        match name {
            ValueName::None => {}
            ValueName::Unknown => record.put(format!("{dimension}_name"), None::<&str>),
            ValueName::Known(name) => record.put(format!("{dimension}_name"), *name),
        }
    }
    for (name, value) in &group.metadata {
        record.put(format!("metadata.{name}"), *value);
    }
    put_sums(&mut record, group.sums);
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
