//! `GET /v1/usage`: requests, tokens, cost and latencies, grouped and filtered by any dimension. Reads the view
//! `usage_by_hour`, and for parts of an hour the view `inferences`. For metadata, requests are counted one by one
//! ([`tagged`]).

mod cursor;
mod published;
mod question;
mod range;
pub mod report;
mod row;
mod tagged;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::refusal::Refusal;
use http::{HeaderName, HeaderValue};
use openapi::{Api, Entrance, Json};
use projections::caller::Caller;
use projections::views::inferences::CountedRequest;
use projections::views::usage_by_hour::{GroupKey, Groups, Refused, Sums, Usage};
use projections::views::{AsOf, View};
use projections::visible::Visible;
use serde::Serialize;

use crate::QueryState;
use crate::error::QueryError;
use crate::format::Format;
use crate::names::{self, Names};
use crate::page::PageMeta;
use crate::parameters::Parameters;
use crate::query_context::{PermittedQuery, QueryContext};
use crate::record::Record;
use question::Question;
use report::{UsageGroup, UsageReport};

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/usage", usage, published::described)
}

/// The response as JSON.
#[derive(Debug, Serialize)]
struct UsagePage {
    as_of_position: u64,
    /// The time range; null where it is open.
    from: Option<String>,
    to: Option<String>,
    items: Vec<Record>,
    totals: Option<Record>,
    next_cursor: Option<String>,
}

/// One row per group; times first, then names in alphabetical order, then metadata. `requests` counts admitted requests,
/// including `failed`, without `refused`. An unknown dimension (a request in progress has no backend yet) is null, and so is
/// metadata that a request does not have. `totals` are of all groups, whatever their page.
///
/// Errors: 400 for an unknown parameter, and for metadata of more requests than are counted one by one; 403 without
/// `usage:read`; 503 `VIEW_BEHIND`.
async fn usage(mut context: QueryContext) -> Result<Response, QueryError> {
    let (mut parameters, min_position) = context.begin_as_of(Permission::UsageRead).await?;
    let format = Format::take(&mut parameters)?;
    let report = find(&mut context, parameters, min_position, format).await?;
    report.permit.clone().run(move || render(&report, format)).await?
}

/// A report of usage for callers that do not come over HTTP. The parameters are those of `/v1/usage` without `format`.
/// `render` is called on the thread of the query.
///
/// Errors: as of `/v1/usage`.
pub async fn usage_report<T: Send + 'static>(
    state: QueryState,
    caller: Arc<Caller>,
    parameters: impl IntoIterator<Item = (String, String)>,
    render: fn(&UsageReport) -> Result<T, Refusal>,
) -> Result<T, QueryError> {
    let mut context = QueryContext::new(state, caller, String::new());
    let (parameters, min_position) = context.begin_with(Permission::UsageRead, parameters).await?;
    let report = find(&mut context, parameters, min_position, Format::Json).await?;
    Ok(report.permit.clone().run(move || render(&report)).await??)
}

async fn find(
    context: &mut QueryContext,
    mut parameters: Parameters,
    min_position: u64,
    format: Format,
) -> Result<UsageReport, QueryError> {
    names::resolve_owners(context, &mut parameters).await?;
    let question = Arc::new(Question::take(parameters, format)?);
    wait(context, &question, min_position).await?;
    let query = context.admit().await?;
    let visible = Visible::for_caller(&query.caller);
    let answer = if question.is_about_metadata() {
        by_metadata(&query, visible, &question).await?
    } else {
        query.ask(Usage { visible, selection: Arc::clone(&question.selection) }).await?
    };
    let AsOf { position: as_of_position, value: mut groups } = answer;
    let more = groups.rows.len() > question.selection.limit;
    groups.rows.truncate(question.selection.limit);
    let last = groups.rows.last().filter(|_| more);
    let next_cursor = last.map(|last| cursor::write(&question.names(), &last.key)).transpose()?;
    let names = Names::find(&query, row::ids(&groups.rows, &question)).await?;
    query.record_read(ReadKind::Usage);
    Ok(UsageReport { as_of_position, next_cursor, groups, names, question, permit: query.permit })
}

fn render(report: &UsageReport, format: Format) -> Result<Response, QueryError> {
    let [from, to] = report.range();
    let (as_of_position, next_cursor) = (report.as_of_position, report.next_cursor.clone());
    match format {
        Format::Json => {
            let items = report.groups().map(|group| row::shown(&group)).collect();
            let totals = report.totals().map(row::totals);
            Ok(Json(UsagePage { as_of_position, from, to, items, totals, next_cursor }).into_response())
        }
        Format::Lines(lines) => {
            let question = &report.question;
            let nothing = (GroupKey::default(), Sums::default());
            let line = |kind, group: &UsageGroup<'_>| row::line(kind, row::shown(group), question);
            let ungrouped = |sums| UsageGroup::new(&nothing.0, sums, question, &report.names);
            let columns = line("group", &ungrouped(&nothing.1));
            let groups = report.groups().map(|group| line("group", &group));
            let totals = report.totals().map(|totals| line("total", &ungrouped(totals)));
            let records: Vec<Record> = groups.chain(totals).collect();
            let mut headers = PageMeta { as_of_position, next_cursor }.headers();
            headers.extend(range_headers([from, to]));
            lines.answer(headers, &columns, &records)
        }
    }
}

/// Headers for `from` and `to`; absent where the range is open.
fn range_headers(bounds: [Option<String>; 2]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let named = [published::FROM, published::TO].into_iter().zip(bounds);
    named.filter_map(|((name, ..), bound)| Some((HeaderName::from_static(name), HeaderValue::try_from(bound?).ok()?)))
}

/// Waits for the views that are read.
async fn wait(context: &mut QueryContext, question: &Question, min_position: u64) -> Result<(), QueryError> {
    let parts = question.selection.range.parts();
    if question.is_about_metadata() || parts.has_partial_hours() {
        context.wait_for(View::Inferences, min_position).await?;
    }
    if question.counts_refused() {
        context.wait_for(View::UsageByHour, min_position).await?;
    }
    Ok(())
}

async fn by_metadata(
    query: &PermittedQuery,
    visible: Visible,
    question: &Arc<Question>,
) -> Result<AsOf<Groups>, QueryError> {
    let answer = query.ask(tagged::candidates(visible, question)).await?;
    let mut requests = tagged::admitted(answer.value)?.into_iter();
    let mut groups = tagged::Groups::new();
    loop {
        let chunk: Vec<CountedRequest> = requests.by_ref().take(tagged::CHUNK).collect();
        if chunk.is_empty() {
            break;
        }
        let question_for_read = Arc::clone(question);
        let read = query.read(move |reader| {
            let mut groups = groups;
            let added = tagged::add(&mut groups, &chunk, &question_for_read, reader);
            Ok((groups, added))
        });
        let (so_far, added) = read.await?;
        added?;
        groups = so_far;
    }
    if question.counts_refused() {
        let selection = Arc::clone(&question.selection);
        let refused = Refused { visible, selection, groups_max: tagged::REQUESTS_MAX };
        tagged::add_refused(&mut groups, query.ask(refused).await?.value, question)?;
    }
    Ok(AsOf { position: answer.position, value: tagged::page(groups, question) })
}
