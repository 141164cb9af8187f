//! `GET /v1/events`: the log itself, as canonical JSON: pages of lines, or a stream that follows the log. Reads the log,
//! not a view. A caller below the platform gets the events of its partner or tenant.
//!
//! A page reads a bounded part of the log: it may be short or empty and not be the last. If there is more, a header has the
//! next page's `after`.

mod stream;
pub mod tail;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use events::canonical;
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::event::{Event, Recorded};
use events::nearest_name::nearest_name;
use events::refusal::Refusal;
use events_log::EventFilter;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use openapi::schema;
use openapi::{Answer, Api, Entrance, Operation};
use projections::caller::Caller;
use projections::visible::Visible;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::page::{AS_OF_POSITION_HEADER, NEXT_CURSOR_HEADER, PageMeta};
use crate::parameters::Parameters;
use crate::query_context::QueryContext;
use stream::ServerSent;
use tail::{EventTail, Extent, TailFormat};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/events", events, described_events)
}

fn described_events() -> Operation {
    let known = known_types();
    let types = schema::one_of(known.iter().map(String::as_str));
    let limit = schema::defaulting(schema::whole(1, LIMIT_MAX as u64), LIMIT_DEFAULT.into());
    let answer = Answer::of("One event per line", "application/x-ndjson", schema::string())
        .or("text/event-stream", schema::event())
        .with_header(AS_OF_POSITION_HEADER)
        .with_header(NEXT_CURSOR_HEADER);
    let list = described::permitted("list_events", "Log", "The log itself", Permission::EventsRead)
        .says(
            "Lines of canonical JSON; with `Accept: text/event-stream` a stream that follows the log, in which `id` is the \
             position. A page reads a bounded part of the log: it may be short or empty and still have a next cursor, which \
             is the `after` of the next page. A caller below the platform gets the events of its partner or tenant. A stream \
             with `to` ends once something was recorded at that time or later.",
        )
        .query("after", schema::count(), "Only events after this position; default: 0, the beginning")
        .query_list("types", types, "Only these types, comma-separated")
        .query("limit", limit, "Maximum number of events on a page; streams ignore it")
        .header("last-event-id", schema::string(), "Position after which a stream resumes; pages ignore it")
        .answers(StatusCode::OK, answer);
    described::between(list)
}

/// With `Accept: text/event-stream` a stream, which `Last-Event-ID` resumes.
///
/// Errors: 429 if the key or its tenant has the maximum of queries or streams.
async fn events(mut context: QueryContext, headers: HeaderMap) -> Result<Response, QueryError> {
    let (mut parameters, _) = context.begin(Permission::EventsRead)?;
    let (wanted, after) = selected(&mut parameters)?;
    let limit = parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    parameters.finish()?;
    if wants_stream(&headers) {
        let after = last_event_id(&headers)?.unwrap_or(after);
        let tail: EventTail<ServerSent> = open_tail(context, wanted, after, Extent::Following).await?;
        return Ok(stream::answer(tail));
    }
    page(context, wanted, after, limit).await
}

/// A tail of the log for callers that do not come over HTTP. The parameters are those of `/v1/events` without `limit`.
///
/// Errors: as of `/v1/events`.
pub async fn event_tail<F: TailFormat>(
    state: QueryState,
    caller: Arc<Caller>,
    parameters: impl IntoIterator<Item = (String, String)>,
    extent: Extent,
) -> Result<EventTail<F>, QueryError> {
    let mut context = QueryContext::new(state, caller, String::new());
    let (mut parameters, _) = context.begin_with(Permission::EventsRead, parameters).await?;
    let (wanted, after) = selected(&mut parameters)?;
    parameters.finish()?;
    open_tail(context, wanted, after, extent).await
}

/// Which events are read, and after which position.
fn selected(parameters: &mut Parameters) -> Result<(EventFilter, u64), Refusal> {
    let after = parameters.number("after")?.unwrap_or(0);
    let types = types(parameters.text("types").as_deref())?;
    let (from, to) = (parameters.time("from")?, parameters.time("to")?);
    Ok((EventFilter { types, from, to, ..EventFilter::default() }, after))
}

/// A tail is one read, when it begins, however long it lasts: an event for each minute of it would be among the events that
/// it follows.
async fn open_tail<F: TailFormat>(
    mut context: QueryContext,
    wanted: EventFilter,
    after: u64,
    extent: Extent,
) -> Result<EventTail<F>, QueryError> {
    let permit = context.state.concurrency.open_stream(context.caller.requester()).await?;
    context.look_up_again()?;
    let filter = narrowed(wanted, Visible::for_caller(&context.caller));
    (context.state.reads)(&context.caller, ReadKind::Events);
    Ok(EventTail::new(context.state, context.caller, filter, after, extent, permit))
}

async fn page(
    mut context: QueryContext,
    wanted: EventFilter,
    after: u64,
    limit: usize,
) -> Result<Response, QueryError> {
    let query = context.admit().await?;
    let filter = narrowed(wanted, Visible::for_caller(&query.caller));
    // Rendered on the thread that reads, because it takes about as long; threads that serve requests stay free.
    let read = query.read(move |reader| {
        let found = reader.filtered(&filter, after, limit)?;
        let next_cursor = found.has_more().then(|| found.until.to_string());
        let line = |recorded| Ok::<_, QueryError>(envelope(recorded)? + "\n");
        let lines: Result<String, _> = found.events.iter().map(line).collect();
        Ok((lines, PageMeta { as_of_position: found.head, next_cursor }))
    });
    let (lines, meta) = read.await?;
    let lines = lines?;
    query.record_read(ReadKind::Events);
    Ok((meta.headers(), [(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// The canonical JSON of an event.
fn envelope(recorded: &Recorded) -> Result<String, QueryError> {
    canonical::envelope(recorded).map_err(|error| QueryError::Answer(error.to_string()))
}

/// The filter, narrowed to what the caller may see.
fn narrowed(wanted: EventFilter, visible: Visible) -> EventFilter {
    match visible {
        Visible::Platform => wanted,
        Visible::Partner(id) => EventFilter { partner: Some(id), ..wanted },
        Visible::Tenant(id) => EventFilter { tenant: Some(id), ..wanted },
    }
}

/// Parses `budget.settled.v1,key.created.v1`. Unknown types are refused, so that a typo is not an empty response.
fn types(names: Option<&str>) -> Result<Option<Vec<(String, u32)>>, Refusal> {
    names.map(|names| names.split(',').map(|name| event_type(name.trim())).collect()).transpose()
}

fn event_type(text: &str) -> Result<(String, u32), Refusal> {
    let parts = text.rsplit_once(".v").and_then(|(name, version)| Some((name, version.parse().ok()?)));
    let known = parts.filter(|parts| Event::types().any(|known| known == *parts));
    let known = known.ok_or_else(|| unknown_type(text))?;
    Ok((known.0.to_owned(), known.1))
}

/// The refusal with the nearest type: most often, only the version is missing.
fn unknown_type(text: &str) -> Refusal {
    let known = known_types();
    let hint = match nearest_name(text, known.iter().map(String::as_str)) {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => "; /openapi.json lists them, with their versions, such as budget.settled.v1".to_owned(),
    };
    Refusal::invalid("types", format!("{text:?} is not an event type{hint}"))
}

fn known_types() -> Vec<String> {
    Event::types().map(|(name, version)| format!("{name}.v{version}")).collect()
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|media| {
        let media = media.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case("text/event-stream")
    })
}

/// The position after which a client resumes.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    position.map(Some).ok_or_else(|| Refusal::invalid("Last-Event-ID", "must be a position"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_with_their_version() {
        let parsed = types(Some("budget.settled.v1,rate_limit.created.v1")).expect("known types");
        assert_eq!(parsed, Some(vec![("budget.settled".to_owned(), 1), ("rate_limit.created".to_owned(), 1)]));
        for wrong in ["budget.settled", "budget.settled.v9", "budget.vanished.v1", ""] {
            assert_eq!(types(Some(wrong)).expect_err("unknown").details["field"], "types");
        }
        let reason = |wrong| types(Some(wrong)).expect_err("unknown").details["reason"].clone();
        assert_eq!(
            reason("budget.settled"),
            "\"budget.settled\" is not an event type; did you mean budget.settled.v1?"
        );
        assert_eq!(
            reason("settlement"),
            "\"settlement\" is not an event type; /openapi.json lists them, with their versions, such as budget.settled.v1"
        );
    }

    #[test]
    fn a_stream_is_asked_for_by_its_media_type() {
        let asks = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, http::HeaderValue::from_static(accept));
            wants_stream(&headers)
        };
        assert!(asks("text/event-stream") && asks("application/json;q=0.5, Text/Event-Stream; q=1"));
        assert!(!asks("*/*") && !asks("application/x-ndjson"));
    }
}
