//! Usage by metadata, which no view has: the view `inferences` has the requests, and their metadata, usage and latency
//! are read from their events, one by one. The number of requests that are read and counted is bounded; a query for more
//! is refused. Refusals have no metadata; they count as unknown, from the view `usage_by_hour`.

use std::collections::BTreeMap;

use events::event::{Event, Inference};
use events::refusal::Refusal;
use events::time::from_micros;
use events_log::Reader;
use projections::views::inferences::{Counted, CountedRequest, InferenceFilter, ROWS_SCANNED_MAX};
use projections::views::usage_by_hour::{self, Dimension, GroupKey, GroupSums, RefusedRequests, Sums, calendar};
use projections::views::{PageBounds, SearchResult};
use projections::visible::Visible;

use super::question::Question;
use crate::error::QueryError;

/// The most requests that are counted one by one, including refused ones: two seconds if their events are in memory.
pub const REQUESTS_MAX: usize = 50_000;
/// Requests whose events are read at a time, so that other readers of the log are not kept waiting.
pub const CHUNK: usize = 500;

/// Groups in the order of the response.
pub type Groups = BTreeMap<GroupKey, Sums>;

/// The question to the view for the requests that may count.
pub fn candidates(visible: Visible, question: &Question) -> Counted {
    let selection = &question.selection;
    let filter = InferenceFilter {
        from: selection.range.from.map(from_micros),
        to: selection.range.to.map(from_micros),
        requests: selection.requests.clone(),
        status: None,
        shadow_of: None,
    };
    Counted { visible, filter, page: PageBounds { before: i64::MAX, limit: REQUESTS_MAX } }
}

/// The admitted ones of these requests.
///
/// Errors: there are too many, or the view has more.
pub fn admitted(found: SearchResult<CountedRequest>) -> Result<Vec<CountedRequest>, Refusal> {
    let SearchResult { rows: mut requests, until } = found;
    if requests.len() > REQUESTS_MAX || until.is_some() {
        return Err(too_many());
    }
    requests.retain(|request| !request.is_refused);
    Ok(requests)
}

fn too_many() -> Refusal {
    let reason = format!(
        "metadata is read from the requests one by one: at most {REQUESTS_MAX}, including refused ones, out of fewer than \
         {ROWS_SCANNED_MAX} in the time range of the partner, tenant or key: narrow these"
    );
    Refusal::invalid("from", reason)
}

/// A request's dimensions; empty if they are not grouped by.
fn dimensions(request: &CountedRequest, question: &Question) -> [String; Dimension::ALL.len()] {
    let values = calendar(request.recorded_at).into_iter().chain(request.dimensions.iter().cloned());
    let mut dimensions = <[String; Dimension::ALL.len()]>::default();
    for ((place, value), dimension) in dimensions.iter_mut().zip(values).zip(Dimension::ALL) {
        if question.selection.groups_by(*dimension) {
            *place = value;
        }
    }
    dimensions
}

/// Adds these requests to the groups, with the usage from their events.
pub fn add(
    groups: &mut Groups,
    requests: &[CountedRequest],
    question: &Question,
    log: &dyn Reader,
) -> Result<(), QueryError> {
    let positions: Vec<u64> =
        requests.iter().flat_map(|request| std::iter::once(request.position).chain(request.outcome)).collect();
    let events = log.at(&positions)?;
    for request in requests {
        let admitted = events.get(&request.position).map(|recorded| &recorded.event);
        let Some(Event::Inference(Inference::Admitted(admitted))) = admitted else {
            return Err(QueryError::Answer(format!("the log has no admission at {}", request.position)));
        };
        let value = |name: &String| admitted.metadata.get(name);
        if question.metadata.iter().any(|(name, wanted)| value(name) != Some(wanted)) {
            continue;
        }
        let metadata = question.by_metadata.iter().map(|name| value(name).cloned()).collect();
        let key = GroupKey { dimensions: dimensions(request, question), metadata };
        let outcome = request.outcome.and_then(|position| events.get(&position)).map(|recorded| &recorded.event);
        groups.entry(key).or_default().add_request(request, outcome).ok_or_else(overflow)?;
    }
    Ok(())
}

/// Adds refusals, which have no metadata.
///
/// Errors: there are too many groups.
pub fn add_refused(groups: &mut Groups, refused: Vec<RefusedRequests>, question: &Question) -> Result<(), QueryError> {
    if refused.len() > REQUESTS_MAX {
        return Err(too_many().into());
    }
    for RefusedRequests { key, number } in refused {
        let key = GroupKey { metadata: vec![None; question.by_metadata.len()], ..key };
        groups.entry(key).or_default().add_refused(number).ok_or_else(overflow)?;
    }
    Ok(())
}

fn overflow() -> QueryError {
    QueryError::Answer("a sum does not fit 127 bits".to_owned())
}

/// The requested page of groups.
pub fn page(groups: Groups, question: &Question) -> usage_by_hour::Groups {
    let selection = &question.selection;
    let totals = Sums::of_all(groups.values());
    let behind = groups.into_iter().filter(|(key, _)| selection.after.as_ref().is_none_or(|after| key > after));
    let behind = behind.map(|(key, sums)| GroupSums { key, sums });
    let rows: Vec<_> = behind.take(selection.limit.saturating_add(1)).collect();
    let is_last = rows.len() <= selection.limit;
    usage_by_hour::Groups { totals: totals.filter(|_| selection.has_totals(is_last)), rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many requests, of which the first was refused, and where the search for them ended.
    fn found(number: usize, until: Option<u64>) -> SearchResult<CountedRequest> {
        let request = |index| CountedRequest {
            position: 1,
            recorded_at: from_micros(0),
            dimensions: Default::default(),
            is_refused: index == 0,
            cost_nanos: 0,
            adjusted_nanos: 0,
            outcome: None,
        };
        SearchResult { rows: (0..number).map(request).collect(), until }
    }

    #[test]
    fn more_requests_than_are_counted_or_looked_at_are_refused() {
        let counted = admitted(found(REQUESTS_MAX, None)).map(|requests| requests.len());
        assert_eq!(counted, Ok(REQUESTS_MAX - 1), "one of them was refused");
        for (number, until) in [(REQUESTS_MAX + 1, None), (5, Some(7))] {
            let refusal = admitted(found(number, until)).expect_err("too many");
            assert_eq!(refusal.details["field"], "from");
            let bounds = ["at most 50000, including refused ones", "fewer than 100000"];
            assert!(bounds.iter().all(|bound| refusal.message.contains(bound)), "{}", refusal.message);
        }
    }
}
