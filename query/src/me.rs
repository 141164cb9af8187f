//! `GET /v1/me`: who a key is, what it may do and use, and what is left of its limits and budgets.

use chrono::{DateTime, Utc};
use events::event::Chain;
use events::event::admin::{Handles, Partner, Permission, Reach, Tenant};
use events::ids::{KeyId, PartnerId, TenantId, UserId};
use events::time::rfc3339;
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::caller::Caller;
use projections::tables::Tables;
use projections::views::budgets::Each;
use projections::views::{AsOf, View};
use projections::visible::Visible;
use serde::Serialize;
use serde_json::{Value, json};

use crate::QueryState;
use crate::budgets;
use crate::described;
use crate::error::QueryError;
use crate::models;
use crate::names::name_scopes;
use crate::query_context::QueryContext;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/me", me, described_me)
}

fn described_me() -> Operation {
    described::question("me", "Models", "Who the key is, what it may use, and what is left of its limits and budgets")
        .says("Any key may call this. It does not count against limits.")
        .answers(StatusCode::OK, Answer::json("The caller", shape()))
        .defines("BudgetStanding", budgets::shape())
}

fn shape() -> Shape {
    let key = object()
        .required("id", schema::id(KeyId::PREFIX))
        .required("name", schema::string())
        .required("created_at", schema::time());
    let reach = schema::either([schema::one_of(["platform"]), owner_of(&["partner_id", "tenant_id"])]);
    object()
        .required_as("actor", schema::string(), "As in events: `key_…` or `operator`")
        .optional_as("key", key.open(), "Absent for the operator")
        .required("user_id", described::nullable_id(UserId::PREFIX))
        .required("tenant", schema::nullable(owner(TenantId::PREFIX)))
        .required("partner", schema::nullable(owner(PartnerId::PREFIX)))
        .required("permissions", schema::list(schema::one_of(Permission::words()), None))
        .required_as("scope", reach, "How far every permission reaches")
        .required("models", schema::list(schema::string(), None))
        .required_as("deprecated_models", schema::list(deprecated(), None), "Those of them that are deprecated")
        .required("limits", schema::list(limit(), None))
        .required("budgets", schema::list(schema::reference("BudgetStanding"), None))
        .required("expires_at", described::nullable_time())
        .required_as("as_of_position", schema::count(), "The log position that the budgets reflect")
        .open()
}

fn deprecated() -> Shape {
    models::with_retirement(object().required("id", schema::string())).open()
}

fn owner(prefix: &str) -> Shape {
    object()
        .required("id", schema::id(prefix))
        .required("name", schema::string())
        .optional("slug", schema::string())
        .optional("external_id", schema::string())
        .open()
}

/// An object with one of these fields.
fn owner_of(levels: &[&str]) -> Shape {
    levels.iter().fold(object(), |fields, level| fields.optional(level, schema::string())).open()
}

fn limit() -> Shape {
    let name = "`lim_…`, or `default` for the configured limit of every key";
    object()
        .required_as("limit_id", schema::string(), name)
        .required("scope", owner_of(&["partner_id", "tenant_id", "team_id", "user_id", "key_id"]))
        .required("measure", schema::string())
        .required_each(["limit", "remaining"], schema::count())
        .required("resets_at", described::nullable_time())
        .open()
}

/// The response.
#[derive(Debug, Serialize)]
struct Me {
    /// The id as in events: `key_…` or `operator`.
    actor: String,
    /// Absent for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<OwnKey>,
    user_id: Option<UserId>,
    tenant: Option<Owner<TenantId>>,
    partner: Option<Owner<PartnerId>>,
    permissions: Vec<&'static str>,
    /// How far every permission reaches: `platform`, `{"partner_id"}` or `{"tenant_id"}`.
    scope: Reach,
    /// Names of the models that it may use.
    models: Vec<String>,
    /// Those of them that are deprecated, with what is planned.
    deprecated_models: Vec<Value>,
    /// The rate limits that bind it, one item per measure, with what is left now.
    limits: Vec<Value>,
    /// The budgets that its requests are charged to, with what is left in the current window.
    budgets: Vec<Value>,
    expires_at: Option<String>,
    /// The log position that the budgets reflect.
    as_of_position: u64,
}

#[derive(Debug, Serialize)]
struct OwnKey {
    id: KeyId,
    name: String,
    created_at: String,
}

#[derive(Debug, Serialize)]
struct Owner<I> {
    id: I,
    name: String,
    #[serde(flatten)]
    handles: Handles,
}

async fn me(mut context: QueryContext) -> Result<Json<Me>, QueryError> {
    let (parameters, min_position) = context.parameters()?;
    parameters.finish()?;
    context.state.views.wait_for(View::Budgets, min_position).await?;
    let query = context.admit().await?;
    let (caller, tables, now) = (&query.caller, query.state.tables.load(), query.state.clock.now());
    let binding =
        tables.budgets_for(&caller.chain, Visible::owners_of_narrowed(caller, tables.teams_of(&caller.chain)));
    let binding = binding.into_iter().map(|budget| budget.value.budget_id).collect();
    let AsOf { position, value } = query.ask(Each { budgets: binding, at: now }).await?;
    let mut budgets: Vec<Value> = value.into_iter().map(budgets::item).collect();
    name_scopes(&query, budgets.iter_mut().collect()).await?;
    let limits = (query.state.limits_left)(caller);
    let models = UsableModels::of(caller, &tables, now);
    Ok(Json(render(caller, &tables, models, limits, AsOf { position, value: budgets })))
}

/// The models that `/v1/models` lists.
#[derive(Default)]
struct UsableModels {
    names: Vec<String>,
    deprecated: Vec<Value>,
}

impl UsableModels {
    fn of(caller: &Caller, tables: &Tables, now: DateTime<Utc>) -> Self {
        let mut models = Self::default();
        if !caller.may(Permission::ModelsUse) {
            return models;
        }
        for usable in models::usable(tables, caller, now) {
            let model = &usable.model.value;
            if usable.retirement().deprecated_since(now).is_some() {
                let mut item = json!({ "id": model.name });
                models::put_retirement(&mut item, usable.retirement());
                models.deprecated.push(item);
            }
            models.names.push(model.name.clone());
        }
        models
    }
}

fn render(caller: &Caller, tables: &Tables, models: UsableModels, limits: Vec<Value>, budgets: AsOf<Vec<Value>>) -> Me {
    let Chain { partner, tenant, user, key } = caller.chain;
    let key = key.and_then(|id| tables.key(id));
    Me {
        actor: caller.actor.to_string(),
        user_id: user,
        tenant: tenant.and_then(|id| tables.tenant(id)).map(|entry| {
            let Tenant { tenant_id, name, handles, .. } = Tenant::clone(&entry.value);
            Owner { id: tenant_id, name, handles }
        }),
        partner: partner.and_then(|id| tables.partner(id)).map(|entry| {
            let Partner { partner_id, name, handles, .. } = Partner::clone(&entry.value);
            Owner { id: partner_id, name, handles }
        }),
        permissions: caller.permissions.iter().map(|permission| permission.as_str()).collect(),
        scope: caller.reach,
        models: models.names,
        deprecated_models: models.deprecated,
        limits,
        budgets: budgets.value,
        expires_at: key.and_then(|entry| entry.key.expires_at).map(rfc3339),
        key: key.map(|entry| OwnKey {
            id: entry.key.key_id,
            name: entry.key.name.clone(),
            created_at: rfc3339(entry.created_at),
        }),
        as_of_position: budgets.position,
    }
}
