//! `GET /v1/inferences` and `/v1/inferences/{request_id}`: requests with all their events, from admission or refusal to
//! the end of the hold. Reads the view `inferences`, which has the positions of the events, and then the log.

mod request_json;
mod route_json;
mod shortfalls;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::slice;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use events::event::Recorded;
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::ids::RequestId;
use events::recorded_route::RouteDetail;
use events::refusal::Refusal;
use http::StatusCode;
use openapi::schema;
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::views::inferences::{InferenceFilter, InferenceList, OneInference, Status, StoredRequest};
use serde_json::Value;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::format::{self, Format, Lines};
use crate::lookup;
use crate::names::{self, Names};
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX, PageMeta, PageRequest};
use crate::parameters::Parameters;
use crate::query_context::{PermittedQuery, QueryContext};
use crate::record::Record;
use crate::request_rights::RequestRights;
use request_json::EventsByPosition;
use route_json::{model_of, model_version};

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/inferences", list, described_list).get(
        "/v1/inferences/{request_id}",
        one,
        described_one,
    )
}

/// The most versions of models that a list holds at once.
const VERSIONS_AT_ONCE: usize = 16;

const TAG: &str = "Usage";

/// The name that a 404 gives the missing request. A client asks here about every id that it got, and most refusals are not recorded one by
/// one.
pub const REQUEST: &str = "request: only requests that were admitted are shown, and refusals that were recorded one by one; rate \
                       limits, invalid keys and missing permissions are recorded only as counts, malformed requests not at all";

fn described_list() -> Operation {
    let list =
        described::permitted("list_inferences", TAG, "Inference requests with their events", Permission::UsageRead);
    let answer = Answer::json("Newest first", described::page(schema::reference("InferenceLife")));
    described::formatted(described::of_dimensions(described::between(list)))
        .says("A CSV row has the fields that fit into one.")
        .query("status", schema::one_of(Status::words()), "Only requests with this status")
        .query(
            "shadow_of",
            schema::id(RequestId::PREFIX),
            "Only copies of this request, which went to the shadow of its model",
        )
        .paged(LIMIT_DEFAULT, LIMIT_MAX)
        .answers(StatusCode::OK, described::in_lines(answer))
        .defines("InferenceLife", request_json::shape())
}

fn described_one() -> Operation {
    described::permitted("get_inference", TAG, "One inference request with its events", Permission::UsageRead)
        .path("request_id", schema::id(RequestId::PREFIX), "Id of the request")
        .answers(StatusCode::OK, Answer::json("The request", schema::reference("InferenceLife")))
        .defines("InferenceLife", request_json::shape())
}

/// Newest first. A page reads a bounded number of requests: it may be short or empty and still have a cursor.
async fn list(mut context: QueryContext) -> Result<Response, QueryError> {
    let (mut parameters, min_position) = context.begin(Permission::UsageRead)?;
    let format = Format::take(&mut parameters)?;
    names::resolve_owners(&mut context, &mut parameters).await?;
    let filter = filter(&mut parameters)?;
    let requested = PageRequest::take(&mut parameters, "inferences")?;
    parameters.finish()?;
    let list = |visible| InferenceList { visible, filter, page: requested.bounds };
    let (query, answer) = context.ask(min_position, list).await?;
    let (requests, next_cursor) = requested.page(answer.value.rows, answer.value.until, |request| request.position);
    let events = events(&query, &requests).await?;
    let rights = RequestRights::of(&query.caller);
    let details = details_by_version(&query, &events, rights).await?;
    let without_model = rights.route_detail(None, &query.state.tables.load());
    let version = |one: &StoredRequest| model_version(events.get(&one.position)?);
    let told =
        |one: &StoredRequest| version(one).and_then(|version| details.get(&version).copied()).unwrap_or(without_model);
    let told: Vec<RouteDetail> = requests.iter().map(told).collect();
    let items = query.permit.run(move || {
        let told = requests.iter().zip(told);
        told.map(|(one, told)| item(one, &events, rights, told)).collect::<Result<Vec<Value>, _>>()
    });
    let mut items = items.await??;
    Names::put_beside(&query, items.iter_mut().collect(), &OWNERS).await?;
    query.record_read(ReadKind::Inferences);
    let meta = PageMeta { as_of_position: answer.position, next_cursor };
    query.permit.run(move || render(items, meta, format)).await?
}

fn render(items: Vec<Value>, meta: PageMeta, format: Format) -> Result<Response, QueryError> {
    match format {
        Format::Json => Ok(Json(meta.page(items)).into_response()),
        Format::Lines(Lines::Ndjson) => format::ndjson(meta.headers(), &items),
        Format::Lines(Lines::Csv) => {
            let rows: Vec<Record> = items.iter().map(table::row).collect();
            format::csv(meta.headers(), &table::row(&Value::Null), &rows)
        }
    }
}

/// Errors: 404 if the caller cannot see it.
async fn one(mut context: QueryContext, Path(request): Path<String>) -> Result<Json<Value>, QueryError> {
    let (query, _, request) = find(&mut context, Permission::UsageRead, &request).await?;
    let events = events(&query, slice::from_ref(&request)).await?;
    let rights = RequestRights::of(&query.caller);
    let model = model(&query, &request, &events).await?;
    let tables = query.state.tables.load();
    let told = rights.route_detail(model.as_ref().and_then(model_of), &tables);
    let mut item = item(&request, &events, rights, told)?;
    let provider_name = |id| tables.provider(id).map(|provider| provider.value.name.clone());
    route_json::put_in_words(&mut item, &request, &events, model.as_ref(), told, provider_name);
    drop(tables);
    Names::put_beside(&query, vec![&mut item], &OWNERS).await?;
    query.record_read(ReadKind::Inferences);
    Ok(Json(item))
}

/// The request that is asked for alone, by its id, with the query's permit to read more. Errors: 404 if the caller cannot see it.
pub async fn find(
    context: &mut QueryContext,
    permission: Permission,
    id: &str,
) -> Result<(PermittedQuery, RequestId, StoredRequest), QueryError> {
    let (parameters, min_position) = context.begin(permission)?;
    parameters.finish()?;
    let request: RequestId = id.parse().map_err(|_| QueryError::NotFound(REQUEST))?;
    let found = lookup::find(context, min_position, |visible| OneInference { visible, request }).await?;
    let (query, stored) = found.ok_or(QueryError::NotFound(REQUEST))?;
    Ok((query, request, stored))
}

/// The owners whose names are beside their ids.
const OWNERS: [&str; 4] = ["partner", "tenant", "user", "key"];

/// The events of these requests, as far as the view has applied the log: it has no positions of later ones. With them, those of
/// the observing budgets that they name, which say whose the budgets are.
pub async fn events(query: &PermittedQuery, requests: &[StoredRequest]) -> Result<EventsByPosition, QueryError> {
    let positions: Vec<u64> = requests.iter().flat_map(StoredRequest::positions).collect();
    let read = query.read(move |reader| {
        let mut events = reader.at(&positions)?;
        let observing: Vec<u64> = events.values().flat_map(shortfalls::versions).collect();
        events.extend(reader.at(&observing)?);
        Ok(events)
    });
    Ok(read.await?)
}

/// How much of a route the caller is told, by the version of the model that a request went by. Empty if that is the same for all models.
/// Versions can be large, so only a few are in memory at once.
async fn details_by_version(
    query: &PermittedQuery,
    events: &EventsByPosition,
    rights: RequestRights,
) -> Result<HashMap<u64, RouteDetail>, QueryError> {
    if !rights.depend_on_model() {
        return Ok(HashMap::new());
    }
    let versions: BTreeSet<u64> = events.values().filter_map(model_version).collect();
    let (versions, tables) = (Vec::from_iter(versions), query.state.tables.load());
    let read = query.read(move |reader| {
        let mut details = HashMap::new();
        for chunk in versions.chunks(VERSIONS_AT_ONCE) {
            let found = reader.at(chunk)?;
            let of = |(version, model): (&u64, &Recorded)| (*version, rights.route_detail(model_of(model), &tables));
            details.extend(found.iter().map(of));
        }
        Ok(details)
    });
    Ok(read.await?)
}

/// The version of its model that a request went by.
async fn model(
    query: &PermittedQuery,
    request: &StoredRequest,
    events: &EventsByPosition,
) -> Result<Option<Recorded>, QueryError> {
    let Some(version) = events.get(&request.position).and_then(model_version) else { return Ok(None) };
    Ok(query.read(move |reader| Ok(reader.at(&[version])?.remove(&version))).await?)
}

fn item(
    request: &StoredRequest,
    events: &EventsByPosition,
    rights: RequestRights,
    told: RouteDetail,
) -> Result<Value, QueryError> {
    request_json::json(request, events, rights, told)?
        .ok_or_else(|| QueryError::Answer(format!("the log has no event at {}", request.position)))
}

/// The filter of the list.
fn filter(parameters: &mut Parameters) -> Result<InferenceFilter, Refusal> {
    Ok(InferenceFilter {
        from: parameters.time("from")?,
        to: parameters.time("to")?,
        requests: parameters.request_filter()?,
        status: parameters.word("status", Status::NAMED)?,
        shadow_of: parameters.id("shadow_of")?,
    })
}
