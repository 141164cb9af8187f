//! `GET /v1/usage`: requests, tokens, cost and latencies, grouped and filtered by any dimension. Reads the view
//! `usage_by_hour`, and for parts of an hour the view `inferences`. Where metadata is asked for, the requests themselves are
//! counted, see [`tagged`].

mod cursor;
mod published;
mod question;
mod range;
mod row;
mod statements;
mod sums;
mod tagged;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::concurrency::QueryPermit;
use events::event::admin::Permission;
use http::{HeaderName, HeaderValue};
use openapi::Api;
use projections::views::{AsOf, View, ViewsError};
use projections::visible::Visible;
use rusqlite::Connection;
use serde::Serialize;

use crate::QueryState;
use crate::asker::{Asker, QueryString};
use crate::error::QueryError;
use crate::format::Format;
use crate::names::{self, Names};
use crate::page::Place;
use crate::parameters::Parameters;
use crate::record::Record;
use cursor::GroupKey;
use question::Question;
use row::{Groups, Line, Sums};

pub fn routes() -> Api<QueryState> {
    Api::new().get("/v1/usage", usage, published::described)
}

/// A page as it goes out.
#[derive(Debug, Serialize)]
struct UsagePage {
    as_of_position: u64,
    /// The time that the answer is for; null where it has no beginning, or no end.
    from: Option<String>,
    to: Option<String>,
    items: Vec<Record>,
    totals: Option<Record>,
    next_cursor: Option<String>,
}

/// A row a group; times first, then names in the order of their texts, then metadata. `requests` counts what was admitted,
/// `refused` is not among them, `failed` is. A dimension that is not known (a request under way has no backend yet) is
/// null, and so is metadata that a request does not have. `totals`: of all groups, on whatever page they are.
/// Errors: 400 for what is no parameter, and for metadata of more requests than are counted one by one; 403 without
/// `usage:read`; 503 `VIEW_BEHIND`.
async fn usage(State(state): State<QueryState>, mut asker: Asker, query: QueryString) -> Result<Response, QueryError> {
    asker.require(Permission::UsageRead)?;
    let mut parameters = Parameters::parse(&query)?;
    let min_position = parameters.min_position(&state.log)?;
    let format = Format::take(&mut parameters)?;
    names::resolve_owners(&state, &mut asker, &mut parameters).await?;
    let question = Question::take(parameters, format)?;
    let question = Arc::new(question);
    wait(&state, &question, min_position).await?;
    let permit = state.admit(&mut asker).await?;
    let visible = Visible::to(&asker);
    let found = if question.is_about_metadata() {
        by_metadata(&state, &permit, visible, &question).await?
    } else {
        let asked = Arc::clone(&question);
        read(&state, &permit, &question, move |db| sums::of(db, visible, &asked)).await?
    };
    let Groups { mut rows, totals } = found.value;
    let more = rows.len() > question.limits.limit;
    rows.truncate(question.limits.limit);
    let last = rows.last().filter(|_| more).map(|(key, _)| cursor::write(&question.names(), key)).transpose();
    let next_cursor = last.map_err(|error| QueryError::Answer(error.to_string()))?;
    let names = Names::find(&state, &permit, &asker, row::ids(&rows, &question)).await?;
    let place = Place { as_of_position: found.position, next_cursor };
    permit.run(move || answer(&Groups { rows, totals }, &names, &question, (place, format))).await?
}

fn answer(
    Groups { rows, totals }: &Groups,
    names: &Names,
    question: &Question,
    (Place { as_of_position, next_cursor }, format): (Place, Format),
) -> Result<Response, QueryError> {
    let [from, to] = question.range.shown();
    match format {
        Format::Json => {
            let items = rows.iter().map(|(key, sums)| row::shown(key, sums, question, names)).collect();
            let totals = totals.as_ref().map(row::totals);
            Ok(Json(UsagePage { as_of_position, from, to, items, totals, next_cursor }).into_response())
        }
        Format::Lines(lines) => {
            let nothing = (GroupKey::default(), Sums::default());
            let line = |of, key, sums| row::line(of, row::shown(key, sums, question, names), question);
            let columns = line(Line::Group, &nothing.0, &nothing.1);
            let groups = rows.iter().map(|(key, sums)| line(Line::Group, key, sums));
            let totals = totals.iter().map(|totals| line(Line::Total, &nothing.0, totals));
            let records: Vec<Record> = groups.chain(totals).collect();
            let mut headers = Place { as_of_position, next_cursor }.headers();
            headers.extend(range_headers([from, to]));
            lines.answer(headers, &columns, &records)
        }
    }
}

/// What a page says in `from` and `to`; absent where it has no beginning or no end.
fn range_headers(bounds: [Option<String>; 2]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let named = [published::FROM, published::TO].into_iter().zip(bounds);
    named.filter_map(|((name, ..), bound)| Some((HeaderName::from_static(name), HeaderValue::try_from(bound?).ok()?)))
}

/// Waits for all that is read.
async fn wait(state: &QueryState, question: &Question, min_position: u64) -> Result<(), QueryError> {
    let parts = question.range.parts();
    if question.is_about_metadata() || parts.has_edges() {
        state.views.wait_for(View::Inferences, min_position).await?;
    }
    if question.counts_refused() {
        state.views.wait_for(View::UsageByHour, min_position).await?;
    }
    Ok(())
}

/// Reads what the question is about: the hours, and for parts of an hour the requests as well.
async fn read<T: Send + 'static>(
    state: &QueryState,
    permit: &QueryPermit,
    question: &Question,
    work: impl FnOnce(&Connection) -> Result<T, ViewsError> + Send + 'static,
) -> Result<AsOf<T>, ViewsError> {
    if question.range.parts().has_edges() {
        return state.views.read_together(permit, [View::UsageByHour, View::Inferences], work).await;
    }
    state.views.read(permit, View::UsageByHour, work).await
}

async fn by_metadata(
    state: &QueryState,
    permit: &QueryPermit,
    visible: Visible,
    question: &Arc<Question>,
) -> Result<AsOf<Groups>, QueryError> {
    let asked = Arc::clone(question);
    let found = state.views.read(permit, View::Inferences, move |db| tagged::requests(db, visible, &asked)).await?;
    let mut requests = found.value?.into_iter();
    let mut groups = tagged::Groups::new();
    loop {
        let chunk: Vec<tagged::Counted> = requests.by_ref().take(tagged::CHUNK).collect();
        if chunk.is_empty() {
            break;
        }
        let asked = Arc::clone(question);
        let read = state.log.read(permit, move |reader| {
            let mut groups = groups;
            let added = tagged::add(&mut groups, chunk, &asked, reader);
            Ok((groups, added))
        });
        let (so_far, added) = read.await?;
        added?;
        groups = so_far;
    }
    if question.counts_refused() {
        let asked = Arc::clone(question);
        let refused = move |db: &Connection| sums::refused(db, visible, &asked, tagged::REQUESTS_MAX);
        let refused = read(state, permit, question, refused).await?.value;
        if refused.len() > tagged::REQUESTS_MAX {
            return Err(tagged::too_many().into());
        }
        tagged::add_refused(&mut groups, refused, question)?;
    }
    Ok(AsOf { position: found.position, value: tagged::page(groups, question) })
}
