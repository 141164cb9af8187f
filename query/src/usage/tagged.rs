//! Usage by metadata, which no view has: the requests are found in the view `inferences`, and what they were tagged with,
//! used and took is read from their events, one by one. So many are counted, out of so many that are looked at, and no
//! more: who asks for more is told to narrow the question. What was refused has no metadata; it counts where that is not known, out of `usage_by_hour`.

use std::collections::BTreeMap;

use events::event::inference::InferenceEnded;
use events::event::{Event, Inference};
use events::log::Reader;
use events::time::from_micros;
use events::wire::Refusal;
use projections::views::ViewsError;
use projections::views::exact::Exact;
use rusqlite::{Connection, Row};

use super::cursor::GroupKey;
use super::question::{Dimension, Question};
use super::range::calendar;
use super::row::{self, Sums};
use crate::error::QueryError;
use crate::inferences::Filter;
use crate::inferences::search::{self, Columns, LOOKED_AT_MAX, Reading};
use crate::page::Cut;
use projections::views::SearchResult;
use projections::visible::Visible;

/// Requests that are counted one by one, with those refused, which stand beside them: two seconds where their events are in memory.
pub const REQUESTS_MAX: usize = 50_000;
/// Requests whose events are read at a time, so that others have their turn at the log.
pub const CHUNK: usize = 500;
const REFUSED: &str = "refused";

/// A request as it stands in the view.
#[derive(Debug)]
pub struct Counted {
    pub position: u64,
    pub outcome: Option<u64>,
    key: GroupKey,
    cost_nanos: Exact,
    is_refused: bool,
}

/// Groups in the order in which they are listed.
pub type Groups = BTreeMap<GroupKey, Sums>;

/// The requests that the question is about, without their metadata. The inner error: they are too many.
pub fn requests(
    db: &Connection,
    visible: Visible,
    question: &Question,
) -> Result<Result<Vec<Counted>, Refusal>, ViewsError> {
    let filter = Filter {
        from: question.range.from,
        to: question.range.to,
        partner: question.partner.clone(),
        tenant: question.tenant.clone(),
        user: question.user.clone(),
        key: question.key.clone(),
        model: question.model.clone(),
        provider: question.provider.clone(),
        backend: question.backend.clone(),
        ..Filter::all(Cut { list: "usage", before: i64::MAX, limit: REQUESTS_MAX })
    };
    let looked = search::look(db, visible, &filter, filter.cut.rows(), &Reading { columns: Columns::Counted, read })?;
    let SearchResult { rows, until } = looked;
    if rows.len() > REQUESTS_MAX || until.is_some() {
        return Ok(Err(too_many()));
    }
    let mut requests = rows;
    requests.retain(|request| !request.is_refused);
    requests.iter_mut().for_each(|request| request.key.leave_out(question));
    Ok(Ok(requests))
}

pub fn too_many() -> Refusal {
    let reason = format!(
        "metadata is read from the requests one by one: at most {REQUESTS_MAX}, refused ones among them, out of fewer than \
         {LOOKED_AT_MAX} in the time and of the partner, tenant or key that is asked about: narrow these"
    );
    Refusal::invalid("from", reason)
}

fn read(row: &Row<'_>) -> Result<Counted, rusqlite::Error> {
    let text = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.unwrap_or_default());
    let at = from_micros(row.get(1)?);
    let [hour, day, week, month] = calendar(at);
    let dimensions = [hour, day, week, month, text(2)?, text(3)?, text(4)?, text(5)?, text(6)?, text(7)?, text(8)?];
    Ok(Counted {
        position: row.get(0)?,
        outcome: row.get(11)?,
        key: GroupKey { dimensions, metadata: Vec::new() },
        cost_nanos: row.get(10)?,
        is_refused: row.get_ref(9)?.as_str()? == REFUSED,
    })
}

impl GroupKey {
    /// Empties what is not grouped by.
    fn leave_out(&mut self, question: &Question) {
        for (value, dimension) in self.dimensions.iter_mut().zip(Dimension::ALL) {
            if !question.groups_by(*dimension) {
                value.clear();
            }
        }
    }
}

/// Adds these requests to the groups, with what their events say.
pub fn add(groups: &mut Groups, requests: Vec<Counted>, question: &Question, log: &Reader) -> Result<(), QueryError> {
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
        let key = GroupKey { metadata, ..request.key };
        let outcome = request.outcome.and_then(|position| events.get(&position)).map(|recorded| &recorded.event);
        groups.entry(key).or_default().add(request.cost_nanos, outcome).ok_or_else(overflow)?;
    }
    Ok(())
}

/// Adds refusals, which have no metadata.
pub fn add_refused(groups: &mut Groups, refused: Vec<(GroupKey, i128)>, question: &Question) -> Result<(), QueryError> {
    for (key, number) in refused {
        let key = GroupKey { metadata: vec![None; question.by_metadata.len()], ..key };
        groups.entry(key).or_default().count(1, number).ok_or_else(overflow)?;
    }
    Ok(())
}

fn overflow() -> QueryError {
    QueryError::Answer("a sum does not fit 127 bits".to_owned())
}

impl Sums {
    fn count(&mut self, index: usize, number: i128) -> Option<()> {
        let sum = self.counts.get_mut(index)?;
        *sum = sum.checked_add(number)?;
        Some(())
    }

    fn add(&mut self, Exact(cost_nanos): Exact, outcome: Option<&Event>) -> Option<()> {
        self.count(0, 1)?;
        self.cost_nanos = self.cost_nanos.checked_add(cost_nanos)?;
        match outcome {
            Some(Event::Inference(Inference::Failed(ended))) => {
                self.count(2, 1)?;
                self.end(ended)
            }
            Some(Event::Inference(Inference::Completed(ended) | Inference::Aborted(ended))) => self.end(ended),
            Some(_) | None => Some(()),
        }
    }

    fn end(&mut self, ended: &InferenceEnded) -> Option<()> {
        if let Some(latency_ms) = ended.latency_ms {
            self.latencies.count(latency_ms);
        }
        let Some(usage) = &ended.usage else { return Some(()) };
        usage.tokens.each().into_iter().enumerate().try_for_each(|(index, number)| self.count(index + 3, number.into()))
    }
}

/// The question's page of groups.
pub fn page(groups: Groups, question: &Question) -> row::Groups {
    let totals = Sums::of_all(groups.values());
    let behind = groups.into_iter().filter(|(key, _)| question.limits.after.as_ref().is_none_or(|after| key > after));
    let rows: Vec<_> = behind.take(question.limits.limit.saturating_add(1)).collect();
    let is_last = rows.len() <= question.limits.limit;
    row::Groups { totals: totals.filter(|_| question.has_totals(is_last)), rows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asker::QueryString;
    use crate::format::Format;
    use crate::parameters::Parameters;

    const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0004_inferences.sql");

    /// What is said to a question about so many requests, of which the first so many are of the model that is asked about.
    fn said(number: i64, of_the_model: i64) -> Result<usize, Refusal> {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                    INSERT INTO inferences (position, request_id, recorded_at, status, model, cost_nanos)
                    SELECT i, i, i, iif(i = 1, 'refused', 'completed'), iif(i <= ?2, 'ours', 'other'), 0 FROM n";
        db.execute(rows, [number, of_the_model]).expect("rows");
        let query = QueryString("group_by=metadata.team&model=ours".to_owned());
        let question =
            Question::take(Parameters::parse(&query).expect("parameters"), Format::Json).expect("a question");
        requests(&db, Visible::Platform, &question).expect("it is read").map(|requests| requests.len())
    }

    #[test]
    fn more_requests_than_are_counted_or_looked_at_are_refused() {
        let counted_max = i64::try_from(REQUESTS_MAX).expect("a number");
        assert_eq!(said(LOOKED_AT_MAX - 1, counted_max), Ok(REQUESTS_MAX - 1), "one of them was refused");
        for (number, of_the_model) in [(counted_max + 1, counted_max + 1), (LOOKED_AT_MAX, 5)] {
            let refusal = said(number, of_the_model).expect_err("too many");
            assert_eq!(refusal.details["field"], "from");
            let bounds = ["at most 50000, refused ones among them", "fewer than 100000"];
            assert!(bounds.iter().all(|bound| refusal.message.contains(bound)), "{}", refusal.message);
        }
    }
}
