//! `GET /v1/access-log`: the newest requests that this node answered. Reads the view of the access log, which is not made from events.

use access_log::{Filter, List, ListedRequest, StatusRange};
use axum::response::{IntoResponse, Response};
use events::event::admin::Permission;
use events::ids::{RequestId, TenantId};
use events::refusal::Refusal;
use events::time::rfc3339;
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::visible::Visible;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::format::Format;
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX, PageMeta, PageRequest};
use crate::parameters::Parameters;
use crate::query_context::QueryContext;
use crate::record::Record;

/// Expects a state that has the view.
pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/access-log", list, described_list)
}

fn described_list() -> Operation {
    let text = schema::string;
    let entry = object()
        .required("answered_at", schema::time())
        .required("request_id", schema::id(RequestId::PREFIX))
        .required("method", text())
        .required_as("route", schema::nullable(text()), "`/v1/keys/{id}`; null for a path without a route")
        .required("status", schema::count())
        .required_as("code", schema::nullable(text()), "The code of a refusal")
        .required_as("actor", schema::nullable(text()), "Null if it was refused before its key was known")
        .required("tenant_id", described::nullable_id(TenantId::PREFIX))
        .required_as("latency_us", schema::count(), "From the head to the last byte of the response")
        .open();
    let answer =
        described::in_lines(Answer::json("Newest first", described::page(schema::reference("AccessLogEntry"))));
    let list = described::permitted(
        "list_access_log",
        "Audit",
        "The newest requests that this node answered",
        Permission::AuditRead,
    );
    described::formatted(described::between(list))
        .says("Only with `LEDGERWAY_ACCESS_LOG=view` or `both`.")
        .query("request_id", schema::id(RequestId::PREFIX), "This request alone")
        .query("actor", schema::parameter(), "`key_…` or `operator`")
        .query("method", schema::parameter(), "`GET`")
        .query("route", schema::parameter(), "The pattern of a path: `/v1/keys/{id}`")
        .query("status", schema::parameter(), "`503`, or `5xx` for all of a class")
        .paged(LIMIT_DEFAULT, LIMIT_MAX)
        .answers(StatusCode::OK, answer)
        .defines("AccessLogEntry", entry)
}

/// Newest first. A page reads a bounded number of entries: it may be short or empty and still have a cursor.
async fn list(mut context: QueryContext) -> Result<Response, QueryError> {
    let (mut parameters, _) = context.begin(Permission::AuditRead)?;
    let format = Format::take(&mut parameters)?;
    let filter = filter(&mut parameters)?;
    let requested = PageRequest::take(&mut parameters, "access")?;
    parameters.finish()?;
    let view = context.state.access_log.clone().ok_or(QueryError::NotFound("access log"))?;
    let query = context.admit().await?;
    let as_of_position = query.state.log.head().position;
    let list = List { visible: Visible::for_caller(&query.caller), filter, page: requested.bounds };
    query
        .permit
        .run(move || {
            let found = view.ask(&list)?;
            let (entries, next_cursor) = requested.page(found.rows, found.until, |entry| entry.id);
            render(entries, PageMeta { as_of_position, next_cursor }, format)
        })
        .await?
}

fn render(entries: Vec<ListedRequest>, meta: PageMeta, format: Format) -> Result<Response, QueryError> {
    let items: Vec<Record> = entries.into_iter().map(item).collect();
    match format {
        Format::Json => Ok(Json(meta.page(items)).into_response()),
        Format::Lines(lines) => lines.answer(meta.headers(), &item(ListedRequest::default()), &items),
    }
}

fn item(entry: ListedRequest) -> Record {
    let mut item = Record::default();
    item.put("answered_at", rfc3339(entry.answered_at));
    item.put("request_id", entry.request_id);
    item.put("method", entry.method);
    item.put("route", entry.route);
    item.put("status", entry.status);
    item.put("code", entry.code);
    item.put("actor", entry.actor);
    item.put("tenant_id", entry.tenant_id);
    item.put("latency_us", entry.latency_us);
    item
}

fn filter(parameters: &mut Parameters) -> Result<Filter, Refusal> {
    let request_id = parameters.id::<RequestId>("request_id")?.map(|id| id.to_string());
    let status = parameters.text("status").map(|text| {
        let reason = "must be a status such as 503, or a class such as 5xx";
        StatusRange::parse(&text).ok_or_else(|| Refusal::invalid("status", reason))
    });
    Ok(Filter {
        from: parameters.time("from")?,
        to: parameters.time("to")?,
        request_id,
        actor: parameters.text("actor"),
        method: parameters.text("method"),
        route: parameters.text("route"),
        status: status.transpose()?,
    })
}
