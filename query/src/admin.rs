//! `GET /v1/admin/…`: lists of resources, and single ones. Reads the view `catalogue` once it has applied everything that was
//! recorded before the request, so that callers read their own writes. Names and e-mail addresses of users are joined from
//! the erasable side table.

mod callers;
mod canary;
mod fields;
mod keys;
mod one_model;
mod resources;

use axum::extract::Path;
use events::event::StreamKind;
use events::event::admin::Permission;
use events::ids::{PartnerId, ProviderId, TenantId, UserId};
use http::{HeaderMap, StatusCode};
use openapi::schema;
use openapi::{Answer, Api, Json, Operation};
use projections::views::View;
use projections::views::catalogue::{OneResource, ResourceList};
use projections::visible::Visible;
use serde_json::Value;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::names::name_scopes;
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX, Page, PageRequest};
use crate::query_context::{PermittedQuery, QueryContext};

/// Path segment, kind, and the word for one.
const PATHS: [(&str, StreamKind, &str); 12] = [
    ("partners", StreamKind::Partner, "partner"),
    ("tenants", StreamKind::Tenant, "tenant"),
    ("users", StreamKind::User, "user"),
    ("teams", StreamKind::Team, "team"),
    ("keys", StreamKind::Key, "key"),
    ("providers", StreamKind::Provider, "provider"),
    ("provider-keys", StreamKind::ProviderKey, "provider key"),
    ("models", StreamKind::Model, "model"),
    ("prices", StreamKind::Price, "price"),
    ("budgets", StreamKind::Budget, "budget"),
    ("rate-limits", StreamKind::RateLimit, "rate limit"),
    ("audit-searches", StreamKind::AuditSearch, "saved search"),
];

pub fn routes() -> Api<QueryState> {
    let of_models = callers::routes().merge(canary::routes());
    PATHS.into_iter().fold(of_models, |router, (segment, kind, what)| {
        let many = move |context| list(segment, kind, context);
        let single = move |context, id| one(kind, what, context, id);
        router.get(&format!("/v1/admin/{segment}"), many, move || described_list(segment, kind, what)).get(
            &format!("/v1/admin/{segment}/{{id}}"),
            single,
            move || described_one(kind, what),
        )
    })
}

/// The permission to read resources of a kind. Reading saved searches takes `audit:read`.
const fn permission(kind: StreamKind) -> Permission {
    match kind {
        StreamKind::AuditSearch => Permission::AuditRead,
        _ => Permission::AdminAccess,
    }
}

const TAG: &str = "Administration";

fn described_list(segment: &str, kind: StreamKind, what: &str) -> Operation {
    let id = format!("list_{}", segment.replace('-', "_"));
    let list = described::permitted(&id, TAG, &format!("Every {what} within reach"), permission(kind))
        .query("partner_id", schema::id(PartnerId::PREFIX), "Only of this partner")
        .query("tenant_id", schema::id(TenantId::PREFIX), "Only of this tenant")
        .query("user_id", schema::id(UserId::PREFIX), "Only of this user")
        .query("name", schema::parameter(), "Only with this name")
        .query("include_ended", schema::boolean(), "Include ended ones")
        .paged(LIMIT_DEFAULT, LIMIT_MAX);
    let list = described::as_of(list);
    let list = match kind {
        StreamKind::Partner | StreamKind::Tenant | StreamKind::User | StreamKind::Team => list
            .query("slug", schema::parameter(), "Only with this slug")
            .query("external_id", schema::parameter(), "Only with this external id"),
        StreamKind::ProviderKey => list.query("provider_id", schema::id(ProviderId::PREFIX), "Only of this provider"),
        StreamKind::Price => list.query("provider_id", schema::id(ProviderId::PREFIX), "Only of this provider").query(
            "model",
            schema::parameter(),
            "Only of this model of the provider",
        ),
        _ => list,
    };
    described::answers_page(list, "Newest first", &schema::resource_name(kind.as_str()))
}

fn described_one(kind: StreamKind, what: &str) -> Operation {
    let (id, name) = (format!("get_{}", kind.as_str()), schema::resource_name(kind.as_str()));
    let one = described::permitted(&id, TAG, &format!("One {what}"), permission(kind));
    described::as_of(one)
        .says("Returns ended ones as well.")
        .path("id", schema::string(), &format!("Id of the {what}"))
        .answers(
            StatusCode::OK,
            described::as_of_answer(Answer::json(&format!("The {what}"), schema::reference(&name))),
        )
}

/// Newest first; ended ones, or those whose owner has ended, only with `include_ended=true`.
async fn list(segment: &'static str, kind: StreamKind, mut context: QueryContext) -> Result<Json<Page>, QueryError> {
    let (mut parameters, min_position) = context.begin_as_of(permission(kind)).await?;
    let filter = resources::filter(&mut parameters, kind)?;
    let requested = PageRequest::take(&mut parameters, segment)?;
    parameters.finish()?;
    let query = admit(&mut context, min_position).await?;
    let visible = Visible::within_reach(&query.caller);
    let answer = query.ask(ResourceList { visible, kind, filter, page: requested.bounds }).await?;
    let (rows, next_cursor) = requested.page(answer.value, None, |resource| resource.position);
    let mut items: Vec<Value> = rows.into_iter().map(|resource| resources::item(resource, kind)).collect();
    complete(&query, kind, items.iter_mut().collect()).await?;
    Ok(Json(Page { as_of_position: answer.position, items, next_cursor }))
}

/// One resource, also if it has ended. Errors: 404 if the caller cannot see it.
async fn one(
    kind: StreamKind,
    what: &'static str,
    mut context: QueryContext,
    Path(id): Path<String>,
) -> Result<(HeaderMap, Json<Value>), QueryError> {
    let (parameters, min_position) = context.begin_as_of(permission(kind)).await?;
    parameters.finish()?;
    let query = admit(&mut context, min_position).await?;
    let answer = query.ask(OneResource { visible: Visible::within_reach(&query.caller), kind, id }).await?;
    let mut resource = resources::item(answer.value.ok_or(QueryError::NotFound(what))?, kind);
    complete(&query, kind, vec![&mut resource]).await?;
    Ok((query.as_of_header(), Json(resource)))
}

/// Adds the fields that come from outside of the catalogue.
async fn complete(query: &PermittedQuery, kind: StreamKind, mut resources: Vec<&mut Value>) -> Result<(), QueryError> {
    match kind {
        StreamKind::User => fields::put_people(query, resources).await,
        StreamKind::Key => keys::complete(query, resources).await,
        StreamKind::Provider => {
            fields::put_api_key_set(query, &mut resources).await?;
            fields::put_own_key_state(&query.provider_tables(), &mut resources);
            Ok(())
        }
        StreamKind::ProviderKey => {
            fields::put_key_state(&query.provider_tables(), &mut resources);
            fields::put_api_key_set(query, &mut resources).await
        }
        StreamKind::Budget | StreamKind::RateLimit => name_scopes(query, resources).await,
        StreamKind::Price => {
            fields::put_in_force(&query.provider_tables(), query.at(), resources);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Waits until the catalogue has applied everything that was recorded before the request, and for a permit to read.
async fn admit(context: &mut QueryContext, min_position: u64) -> Result<PermittedQuery, QueryError> {
    let written = context.state.log.head().position;
    context.wait_for(View::Catalogue, written.max(min_position)).await?;
    context.admit().await
}
