//! `POST /v1/admin/models/{id}/explain`: in which order the targets of a model would be tried for a request now, and why. Nothing is
//! sent, held or recorded. It asks what a request asks (`TargetOrder`), with what this node knows of the targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, Path, Request, State};
use bytes::Bytes;
use dialects::{ClientRequest, Surface};
use events::event::admin::Model;
use events::event::{ResourceState, StreamKind};
use events::ids::{ModelId, ProviderId};
use events::refusal::{ErrorCode, Refusal};
use events::routing::{CanaryPlace, ChosenBy, LeftOut, Strategy};
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::caller::Caller;
use projections::tables::Tables;
use serde_json::{Map, Value, json};

use crate::admin::{AdminContext, AdminRequest, AdminState, CommandError, FieldError, Fields, described, terms};
use crate::inference::{Gateway, NodeKnowledge, TargetOrder};
use crate::tokens::{self, CountedPrompt};

/// The explainer of models.
pub struct ModelExplainer {
    admin: AdminState,
    gateway: Arc<Gateway>,
}

impl ModelExplainer {
    pub fn new(admin: AdminState, gateway: Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self { admin, gateway })
    }
}

/// The longest path of a surface is far below.
const PATH_LEN_MAX: usize = 100;
/// The surface of a request for which none is named.
const NATIVE_PATH: &str = "/v1/inference/chat";

pub fn routes(explainer: Arc<ModelExplainer>) -> Api {
    Api::of(Entrance::Administration).post("/v1/admin/models/{id}/explain", explain, described).with_state(explainer)
}

fn described() -> Operation {
    let body = object()
        .required_as("request", object().open(), "The body of a request; its model is that of the path")
        .optional_as("path", schema::text(PATH_LEN_MAX), "Where it would be sent; /v1/inference/chat if absent")
        .optional_as("terms", terms::required_shape(), "What its headers would require of each target")
        .optional_as(
            "strategy",
            schema::one_of_names(Strategy::CHOOSABLE),
            "The strategy that its header would ask for",
        );
    let example = json!({ "request": { "messages": [{ "role": "user", "content": "Hello" }] } });
    described::request("explain_model", "Says in which order the targets of a model would be tried")
        .says(
            "Nothing is sent or recorded. It is decided with what the answering node knows now: prices, open breakers, how fast targets \
             have been. For a model that all tenants share, the tenant is the caller's, or the one that X-Tenant-ID names.",
        )
        .path("id", schema::id(ModelId::PREFIX), "Id of the model")
        .takes(body.closed(), example)
        .refuses(&[ErrorCode::NotFound])
        .answers(StatusCode::OK, Answer::json("The order", schema::reference("ExplainedOrder")))
        .defines("ExplainedOrder", shape())
}

fn shape() -> Shape {
    let target = object()
        .required("provider_id", schema::id(ProviderId::PREFIX))
        .required("provider", schema::nullable(schema::string()))
        .required("model", schema::string())
        .required_as("rank", schema::nullable(schema::count()), "From 1; null if it would not be called")
        .required_as("reason", schema::string(), "What its place follows from")
        .required_as("left_out", schema::left_out(), "Why it would not be called, or only after all others")
        .open();
    object()
        .required("model", schema::string())
        .required_as("stands_for", schema::nullable(schema::string()), "For an alias: the model that it stands for now")
        .required("strategy", schema::string())
        .required_as("chosen_by", schema::one_of(ChosenBy::words()), "Who chose the strategy")
        .required_as("rule", schema::nullable(schema::count()), "The rule that holds, from 0")
        .required_as("features", schema::nullable(object().open()), "What the rules go by")
        .required_as("terms", schema::nullable(object().open()), "What the tenant and the request require of each target")
        .required_as("canary", schema::nullable(object().open()), "The model's canary; is_first says whether the request would be in its share, which is drawn anew each time if by is request")
        .required("targets", schema::list(target, None))
        .required("in_words", schema::string())
        .open()
}

/// Errors: 404 for a model that the caller does not manage or that has ended; `INVALID_REQUEST` for a request that would be refused
/// before a target is chosen.
async fn explain(
    State(explainer): State<Arc<ModelExplainer>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, CommandError> {
    let request = AdminRequest::from_request(request, &explainer.admin).await?;
    let cx = AdminContext::new(&explainer.admin, &request.caller)?;
    let not_found = || CommandError::NotFound { kind: StreamKind::Model };
    let id: ModelId = id.parse().map_err(|_| not_found())?;
    let entry = cx.tables.model(id).filter(|entry| entry.is_live()).ok_or_else(not_found)?;
    let named = &entry.value;
    let owner = named.tenant_id.map(|tenant| cx.tables.chain_of_tenant(tenant).ok_or_else(not_found)).transpose()?;
    cx.require_visible(Model::KIND, &owner.unwrap_or_default())?;
    let Some(resolved) = cx.tables.resolve_alias(entry, cx.now) else {
        return Err(FieldError::new("id", "is an alias of a model that does not exist").into());
    };
    let model = &resolved.serving.value;
    if !named.tenant_id.is_some_and(|tenant| cx.tables.is_on_providers_of(tenant, model)) {
        cx.require_platform(SHARED_PROVIDERS)?;
    }
    let asked = asked(request.fields()?, named)?;
    let caller = Caller { chain: owner.unwrap_or(cx.caller.chain), ..Caller::clone(&cx.caller) };
    let order_with = |counted: Option<&CountedPrompt>| {
        let node = NodeKnowledge::of(&explainer.gateway, counted);
        TargetOrder::of(&cx.tables, &caller, model, &asked, request.request_id, cx.now, node)
    };
    let mut ordered = order_with(None);
    if !ordered.uncounted.is_empty() {
        let to_count = std::mem::take(&mut ordered.uncounted).of_body(asked.body().clone());
        ordered = order_with(Some(&tokens::prompt(caller.chain.tenant, to_count).await));
    }
    let mut shown = shown(model, &ordered, &cx.tables);
    shown["model"] = named.name.as_str().into();
    shown["stands_for"] = resolved.alias().map(|_| model.name.as_str()).into();
    Ok(Json(shown))
}

/// The platform alone sees the cost, the speed and the failures of a shared provider.
const SHARED_PROVIDERS: &str =
    "only the platform may explain a model that has a target on a provider that all tenants share";

/// The request of a body, for this model.
fn asked(mut fields: Fields, model: &Model) -> Result<ClientRequest, CommandError> {
    let path = fields.optional("path", |field| field.text(PATH_LEN_MAX))?;
    let mut body: Map<String, Value> = fields.required("request", |field| field.members())?;
    let terms = fields.optional("terms", terms::read_required)?.unwrap_or_default();
    let strategy = fields.optional("strategy", |field| field.one_of(Strategy::CHOOSABLE))?;
    fields.finish()?;
    let path = path.as_deref().unwrap_or(NATIVE_PATH);
    let is_there = |surface: &&Surface| surface.spec().paths.iter().any(|(there, _)| *there == path);
    let Some(surface) = Surface::ALL.iter().find(is_there) else {
        return Err(FieldError::new("path", "is no path that requests for models are sent to").into());
    };
    body.insert("model".to_owned(), json!(model.name));
    let parsed = ClientRequest::parse(*surface, Bytes::from(Value::Object(body).to_string()));
    let mut parsed = parsed.map_err(|refusal| in_body(&refusal))?;
    let of_body = std::mem::take(&mut parsed.facts.directives.required_terms);
    let contradicts = || FieldError::new("terms.residency", "contradicts terms.residency of the request");
    parsed.facts.directives.required_terms = of_body.and(terms).ok_or_else(contradicts)?;
    parsed.facts.directives.strategy = strategy;
    Ok(parsed)
}

/// A refusal of the request, as one of the field that has it.
fn in_body(refusal: &Refusal) -> FieldError {
    let detail = |name: &str| refusal.details.get(name).and_then(Value::as_str);
    match (detail("field").filter(|field| !field.is_empty()), detail("reason")) {
        (Some(field), Some(reason)) => FieldError::new(format!("request.{field}"), reason),
        _ => FieldError::new("request", &*refusal.message),
    }
}

fn shown(model: &Model, ordered: &TargetOrder<'_>, tables: &Tables) -> Value {
    let order = &ordered.decision.order;
    let called: Vec<usize> = ordered.decision.called().collect();
    let left_out: BTreeMap<usize, LeftOut> = order.left_out().collect();
    let rank = |at: usize| called.iter().position(|called| *called == at).map(|place| place + 1);
    let others = order.all().filter(|at| !called.contains(at));
    let target = |at: usize| {
        let target = ordered.targets.get(at)?.inputs.target;
        let reason = order.reason(at)?;
        Some(json!({
            "provider_id": target.provider_id.to_string(),
            "provider": tables.provider(target.provider_id).map(|provider| &provider.value.name),
            "model": target.model,
            "rank": rank(at),
            "reason": reason.to_string(),
            "left_out": left_out.get(&at).map(|why| why.recorded()),
        }))
    };
    let by_rules = ordered.source.by_rules();
    json!({
        "model": model.name,
        "strategy": order.strategy.as_str(),
        "chosen_by": ordered.source.chosen_by().as_str(),
        "rule": by_rules.and_then(|(rule, _)| rule),
        "features": by_rules.map(|(_, features)| features),
        "terms": (!ordered.required.are_none())
            .then(|| json!({ "tenant": ordered.required.tenant, "request": ordered.required.request })),
        "canary": model.canary.as_ref().map(|canary| json!({
            "provider_id": canary.provider_id,
            "model": canary.model,
            "share_percent": canary.share_percent,
            "by": canary.by,
            "is_first": ordered.decision.canary == Some(CanaryPlace::First),
        })),
        "targets": called.iter().copied().chain(others).filter_map(target).collect::<Vec<_>>(),
        "in_words": ordered.in_words(tables).to_string(),
    })
}
