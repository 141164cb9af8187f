//! `GET /v1/audit`: who changed what, who was refused, and who read what. Reads the view `audit`; addresses of clients are joined from the
//! erasable side table.

mod entries;
mod format;
mod saved_search;

use axum::response::{IntoResponse, Response};
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::ids::{AuditSearchId, RequestId};
use events::refusal::ErrorCode;
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::views::audit::{AuditEntry, AuditFilter, AuditList, Category, Severity};

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::format::Format;
use crate::names::{self, Names};
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX, PageMeta, PageRequest};
use crate::query_context::{PermittedQuery, QueryContext};
use crate::record::Record;
use entries::Origins;
use format::{AuditFormat, siem_lines};
use saved_search::SEARCH;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/audit", list, described_list)
}

fn described_list() -> Operation {
    let text = schema::string;
    let entry = object()
        .required("position", schema::count())
        .required("recorded_at", schema::time())
        .required("actor", text())
        .required_as("action", text(), "The event's type without its version")
        .required_as("resource", text(), "`key/key_…`")
        .required("category", categories())
        .required("severity", severities())
        .required("outcome", text())
        .required("request_id", described::nullable_id(RequestId::PREFIX))
        .optional_as("actor_name", schema::nullable(text()), "Name of the key that did it")
        .optional_as("resource_name", schema::nullable(text()), "Null if it has none, or you may not see it")
        .required("changes", schema::any())
        .required_each(["ip", "user_agent"], schema::nullable(text()))
        .open();
    let answer = described::in_lines(Answer::json("Newest first", described::page(schema::reference("AuditEntry"))))
        .or("text/plain", schema::string());
    let list = described::permitted(
        "list_audit",
        "Audit",
        "Who changed what, who was refused, and who read what",
        Permission::AuditRead,
    );
    described::between(list)
        .query(
            "format",
            schema::one_of(AuditFormat::names()),
            "Default: `json`. `ocsf` has an event of OCSF 1.3.0 per line, `cef` one of the Common Event Format",
        )
        .query("actor", schema::parameter(), "`key_…` or the name of a key, `operator` or `system:NAME`")
        .query("action", schema::parameter(), "An event type without its version: `key.created`. Others are a 400")
        .query(
            "resource",
            schema::parameter(),
            "With its kind (`key/key_…`) or without; a slug, an external id or a name instead of the id works as well",
        )
        .says("If `actor` or `resource` matches several, the response is a 400 with their number as `matches`.")
        .query_list(
            "category",
            categories(),
            "Only these categories, comma-separated; default: all but `reads`, and with an `action` all",
        )
        .query("severity", severities(), "Only this severity")
        .query(
            "q",
            schema::parameter(),
            "Text to find in actor, action, resource or changes; ignores the case of ASCII letters",
        )
        .query(
            SEARCH,
            schema::id(AuditSearchId::PREFIX),
            "Only what this saved search finds, by the filter that it has now. A filter that it sets cannot be given beside it",
        )
        .refuses(&[ErrorCode::NotFound])
        .paged(LIMIT_DEFAULT, LIMIT_MAX)
        .answers(StatusCode::OK, answer)
        .defines("AuditEntry", entry)
}

fn categories() -> openapi::Shape {
    schema::one_of(Category::words())
}

fn severities() -> openapi::Shape {
    schema::one_of(Severity::words())
}

/// Newest first. A page reads a bounded number of entries: it may be short or empty and still have a cursor.
async fn list(mut context: QueryContext) -> Result<Response, QueryError> {
    let (mut parameters, min_position) = context.begin(Permission::AuditRead)?;
    let format = AuditFormat::take(&mut parameters)?;
    saved_search::apply_saved_search(&mut context, &mut parameters).await?;
    names::resolve_actor_and_resource(&mut context, &mut parameters).await?;
    let filter = AuditFilter::read(|name| parameters.text(name))?;
    let requested = PageRequest::take(&mut parameters, "audit")?;
    parameters.finish()?;
    let list = |visible| AuditList { visible, filter, page: requested.bounds };
    let (query, answer) = context.ask(min_position, list).await?;
    let (entries, next_cursor) = requested.page(answer.value.rows, answer.value.until, |entry| entry.position);
    let origins = origins(&query, &entries).await?;
    let names = Names::find(&query, entries.iter().flat_map(entries::ids).collect()).await?;
    query.record_read(ReadKind::Audit);
    let meta = PageMeta { as_of_position: answer.position, next_cursor };
    query.permit.run(move || render(&entries, &origins, &names, meta, format)).await?
}

fn render(
    entries: &[AuditEntry],
    origins: &Origins,
    names: &Names,
    meta: PageMeta,
    format: AuditFormat,
) -> Result<Response, QueryError> {
    let items = || -> Vec<Record> { entries.iter().map(|entry| entries::item(entry, origins, names)).collect() };
    match format {
        AuditFormat::Of(Format::Json) => Ok(Json(meta.page(items())).into_response()),
        AuditFormat::Of(Format::Lines(lines)) => {
            let columns = entries::item(&AuditEntry::default(), &Origins::new(), &Names::default());
            lines.answer(meta.headers(), &columns, &items())
        }
        AuditFormat::Siem(format) => Ok(siem_lines(format, meta.headers(), entries, origins, names)),
    }
}

async fn origins(query: &PermittedQuery, entries: &[AuditEntry]) -> Result<Origins, QueryError> {
    let requests: Vec<RequestId> = entries.iter().filter_map(|entry| entry.request_id).collect();
    if requests.is_empty() {
        return Ok(Origins::new());
    }
    Ok(query.read(move |reader| reader.client_addresses(&requests)).await?)
}
