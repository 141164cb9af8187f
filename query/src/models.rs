//! `GET /v1/models` and `/v1/models/{name}`: OpenAI's list, with what our clients want to know beside it. Only what the
//! key may use. A name may have slashes in it, as they are or encoded.
//!
//! Clients ask for it before they do anything else, and keep asking: it is answered from the tables in memory, and takes
//! nobody's turn to read.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::event::admin::{Model, Permission, Provider, Target};
use events::money::Rates;
use events::refusal::{ErrorCode, Refusal};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use openapi::refusals::Wording;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Operation};
use projections::caller::Caller;
use projections::tables::{Entry, Offer, Tables, model_not_found};
use projections::views::VIEW_WAIT_MAX;
use serde_json::{Value, json};

use crate::QueryState;
use crate::error::QueryError;
use crate::parameters::min_position_among_others;
use crate::query_caller::{QueryCaller, QueryString};

/// What follows on a write that the client knows of may be behind it for no longer than this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `openai`: how refusals are worded to OpenAI's clients.
pub fn routes(openai: Wording) -> Api<QueryState> {
    Api::of(Entrance::Key)
        .get("/v1/models", list, move || described_list("list_usable_models", openai))
        .get("/oai/v1/models", list, move || described_list("list_usable_models_oai", openai))
        .get("/v1/models/{*name}", one, move || described_one("get_usable_model", openai))
        .get("/oai/v1/models/{*name}", one, move || described_one("get_usable_model_oai", openai))
}

fn described_list(id: &str, openai: Wording) -> Operation {
    let data = schema::list(schema::reference("Model.Listed"), None);
    let list = object().required("object", schema::one_of(["list"])).required("data", data).open();
    Operation::new(id, "Inference", "The models that the key may use")
        .min_position()
        .needs(Permission::ModelsUse)
        .worded(openai)
        .answers(StatusCode::OK, Answer::json("OpenAI's list, with prices", list))
        .defines("Model.Listed", shape())
}

fn described_one(id: &str, openai: Wording) -> Operation {
    Operation::new(id, "Inference", "One model that the key may use")
        .min_position()
        .says("Slashes in the name may stand as they are.")
        .needs(Permission::ModelsUse)
        .worded(openai)
        .path("name", schema::string(), "Of the model")
        .refuses(&[ErrorCode::ModelNotFound])
        .answers(StatusCode::OK, Answer::json("The model, with its price", schema::reference("Model.Listed")))
        .defines("Model.Listed", shape())
}

fn shape() -> Shape {
    let tokens = || schema::nullable(schema::count());
    let price = object()
        .required("input_usd_per_mtok", schema::money())
        .required("output_usd_per_mtok", schema::money())
        .required("cache_read_usd_per_mtok", schema::money())
        .required("cache_write_usd_per_mtok", schema::money())
        .required("reasoning_usd_per_mtok", schema::money())
        .required("request_usd", schema::money());
    object()
        .required("id", schema::string())
        .required("object", schema::one_of(["model"]))
        .required("created", schema::count())
        .required("owned_by", schema::string())
        .required("provider", schema::string())
        .required("context_window", tokens())
        .required("max_output_tokens", tokens())
        .required("price", price.open())
        .open()
}

/// Errors: 400 where `min_position` is beyond the log's end; 503 `VIEW_BEHIND` when the tables do not get there in time.
async fn list(
    State(state): State<QueryState>,
    query_caller: QueryCaller,
    query: QueryString,
) -> Result<Response, QueryError> {
    let models = listed(&state, query_caller, &query).await?;
    Ok(answered(&json!({ "object": "list", "data": models })))
}

/// Errors: those of the list, and 404 `MODEL_NOT_FOUND` for what is not in it.
async fn one(
    State(state): State<QueryState>,
    query_caller: QueryCaller,
    Path(name): Path<String>,
    query: QueryString,
) -> Result<Response, QueryError> {
    let models = listed(&state, query_caller, &query).await?;
    match models.iter().find(|model| model["id"] == name.as_str()) {
        Some(model) => Ok(answered(model)),
        None => Err(model_not_found(&name).into()),
    }
}

async fn listed(state: &QueryState, query_caller: QueryCaller, query: &QueryString) -> Result<Vec<Value>, QueryError> {
    let caller: Arc<Caller> = query_caller.into_caller();
    caller.require(Permission::ModelsUse)?;
    if let Some(position) = min_position_among_others(query)? {
        wait_for(state, position).await?;
    }
    let tables = state.tables.load();
    let caller = caller.looked_up_again(&tables, state.clock.now())?;
    caller.require(Permission::ModelsUse)?;
    // The time of what would be appended now: a clock that was put back brings no old price back.
    let now = state.log.head().time_after(state.clock.now());
    Ok(usable(&tables, &caller, now).iter().map(Usable::item).collect())
}

async fn wait_for(state: &QueryState, position: u64) -> Result<(), Refusal> {
    state.log.head().require(position)?;
    if state.tables.wait_for(position, VIEW_WAIT_MAX).await {
        return Ok(());
    }
    let refusal = Refusal::new(ErrorCode::ViewBehind, format!("the models are not yet those at {position}"));
    Err(refusal.with("min_position", position).retry_after(RETRY_AFTER))
}

fn answered(body: &Value) -> Response {
    let mut response = Response::new(format!("{body}\n").into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A model that a caller may use, and who is tried first.
pub struct Usable<'a> {
    pub model: &'a Entry<Model>,
    target: &'a Target,
    provider: &'a Provider,
    rates: &'a Rates,
}

/// All that somebody serves to this caller at a price.
pub fn usable<'a>(tables: &'a Tables, caller: &Caller, now: DateTime<Utc>) -> Vec<Usable<'a>> {
    let tenant = caller.chain.tenant;
    let allowed = tables.models_for(tenant).into_iter().filter(|model| caller.allows_model(&model.value.name));
    let offered = |model: &'a Entry<Model>| {
        let (target, Offer { provider, price }) = tables.first_offer(tenant, &model.value, now)?;
        Some(Usable { model, target, provider, rates: &price.value.rates })
    };
    allowed.filter_map(offered).collect()
}

impl Usable<'_> {
    /// The figures are those of the target that is tried first.
    fn item(&self) -> Value {
        json!({
            "id": self.model.value.name,
            "object": "model",
            "created": self.model.created_at.timestamp(),
            "owned_by": self.provider.name,
            "provider": self.provider.name,
            "context_window": self.target.context_window,
            "max_output_tokens": self.target.max_output_tokens,
            "price": self.rates,
        })
    }
}
