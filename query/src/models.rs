//! `GET /v1/models` and `/v1/models/{name}`: OpenAI's list of the models that the key may use, with provider and price. A
//! name may contain slashes, plain or encoded. Clients of Anthropic's API, which send its version in a header, get its form.
//!
//! Both are answered from the tables in memory. The list can be long, so it needs a permit to read, as every answer of such a
//! size; one model is looked up by its name and needs none.

use axum::extract::Path;
use chrono::{DateTime, SecondsFormat, Utc};
use events::event::admin::{Model, Permission, Provider, Retirement, Target};
use events::money::Tariff;
use events::refusal::{ErrorCode, Refusal};
use events::refused_parameters::RefusedParameter;
use events::terms::{RequiredTerms, Requirements};
use events::time::rfc3339;
use http::{HeaderMap, StatusCode};
use openapi::refusals::Wording;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::caller::Caller;
use projections::tables::{Entry, NamedModel, Offer, Tables, TargetLimits, model_not_found};
use projections::views::VIEW_WAIT_MAX;
use serde_json::{Value, json};

use crate::error::QueryError;
use crate::parameters::{min_position_among_others, refuse_as_of_among_others, require_recorded};
use crate::query_context::{PermittedQuery, QueryContext};
use crate::{Capabilities, QueryState};

/// The header of clients of Anthropic's API.
const ANTHROPIC_VERSION: &str = "anthropic-version";

const CAPABILITIES: &str = "capabilities";
const CAPABILITIES_MEANING: &str = "What the model is known to be capable of, such as tools, vision or reasoning; absent if the catalogue does not know the model";

const IN_ANTHROPICS_FORM: &str = "With the header anthropic-version, the answer has Anthropic's form: data, has_more, first_id and \
                                  last_id, and a model has type, id, display_name and created_at.";

/// The routes. `openai`: the error format of OpenAI's clients.
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
        .says(IN_ANTHROPICS_FORM)
        .worded(openai)
        .answers(StatusCode::OK, Answer::json("OpenAI's list, with prices", list))
        .defines("Model.Listed", shape())
}

fn described_one(id: &str, openai: Wording) -> Operation {
    Operation::new(id, "Inference", "One model that the key may use")
        .min_position()
        .says("Slashes in the name need no encoding.")
        .says(IN_ANTHROPICS_FORM)
        .needs(Permission::ModelsUse)
        .worded(openai)
        .path("name", schema::string(), "Name of the model")
        .refuses(&[ErrorCode::ModelNotFound])
        .answers(StatusCode::OK, Answer::json("The model, with its price", schema::reference("Model.Listed")))
        .defines("Model.Listed", shape())
}

fn shape() -> Shape {
    let tokens = || schema::nullable(schema::count());
    let price = object()
        .required_each(["input_usd_per_mtok", "output_usd_per_mtok", "cache_read_usd_per_mtok"], schema::money())
        .required_each(["cache_write_usd_per_mtok", "reasoning_usd_per_mtok"], schema::money())
        .required("request_usd", schema::money());
    let price = Tariff::left_out_where_absent().fold(price, |price, name| price.optional(name, schema::money()));
    let price = price.optional("tiers", schema::list(object().open(), None));
    let item = object()
        .required("id", schema::string())
        .required("object", schema::one_of(["model"]))
        .required("created", schema::count())
        .required_each(["owned_by", "provider"], schema::string())
        .required_each(["context_window", "max_output_tokens"], tokens())
        .required("price", price.open())
        .optional_as(CAPABILITIES, schema::list(schema::string(), None), CAPABILITIES_MEANING)
        .optional_as(
            "abilities",
            object().open(),
            "What is stated of the target that is tried first: what is absent is unknown",
        )
        .optional_as(
            "refused_parameters",
            schema::list(schema::one_of(RefusedParameter::words()), None),
            "The parameters that it is not sent, since its model refuses them; absent if there are none",
        );
    let stands_for = schema::described(schema::string(), "For an alias: the model that it stands for now");
    with_retirement(item).optional("stands_for", stands_for).open()
}

/// Errors: 400 if `min_position` is beyond the end of the log; 503 `VIEW_BEHIND` if the tables do not reach it in time.
async fn list(headers: HeaderMap, mut context: QueryContext) -> Result<Json<Value>, QueryError> {
    let form = Form::of(&headers);
    begin(&mut context).await?;
    let PermittedQuery { state, caller, permit: _permit, .. } = context.admit().await?;
    let tables = state.tables.load();
    let models = usable(&tables, &caller, now(&state));
    let models: Vec<Value> = models.iter().map(|model| model.item(form, &state.capabilities)).collect();
    Ok(Json(match form {
        Form::OpenAi => json!({ "object": "list", "data": models }),
        Form::Anthropic => {
            let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
            let (first, last) = (id(models.first()), id(models.last()));
            json!({ "data": models, "has_more": false, "first_id": first, "last_id": last })
        }
    }))
}

/// Errors: those of the list, and 404 `MODEL_NOT_FOUND` for a model that is not in it.
async fn one(
    headers: HeaderMap,
    mut context: QueryContext,
    Path(name): Path<String>,
) -> Result<Json<Value>, QueryError> {
    begin(&mut context).await?;
    context.look_up_again()?;
    let QueryContext { state, caller, .. } = &context;
    let tables = state.tables.load();
    let (model, now) =
        (tables.route(caller.chain.tenant, &name).filter(|_| caller.may_use_model(&tables, &name)), now(state));
    if let Some(named) = model.and_then(|model| tables.resolve_alias(model, now)) {
        named.require_not_retired(now)?;
    }
    let model = model.and_then(|model| Usable::of(&tables, model, caller, now));
    let item = model.map(|model| model.item(Form::of(&headers), &state.capabilities));
    item.map(Json).ok_or_else(|| model_not_found(&name).into())
}

/// Checks the permission, and waits for the tables to reach the `min_position`.
async fn begin(context: &mut QueryContext) -> Result<(), QueryError> {
    context.require(Permission::ModelsUse)?;
    refuse_as_of_among_others(&context.query_string, "/v1/admin/models")?;
    if let Some(position) = min_position_among_others(&context.query_string)? {
        wait_for(&context.state, position).await?;
    }
    Ok(())
}

/// The time that an event recorded now would have: a clock that was set back must not bring old prices back.
fn now(state: &QueryState) -> DateTime<Utc> {
    state.log.head().time_after(state.clock.now())
}

/// The form of an entry.
#[derive(Clone, Copy)]
enum Form {
    OpenAi,
    Anthropic,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(ANTHROPIC_VERSION) { Self::Anthropic } else { Self::OpenAi }
    }
}

async fn wait_for(state: &QueryState, position: u64) -> Result<(), Refusal> {
    require_recorded(state.log.head(), position)?;
    if state.tables.wait_for(position, VIEW_WAIT_MAX).await {
        return Ok(());
    }
    let refusal = Refusal::new(
        ErrorCode::ViewBehind,
        format!("the list of models has not reached position {position} yet; try again"),
    );
    Err(refusal.with("min_position", position).try_again())
}

/// A model that a caller may use, and the target that is tried first.
pub struct Usable<'a> {
    pub model: &'a Entry<Model>,
    /// With the one that it stands for.
    named: NamedModel<'a>,
    target: &'a Target,
    provider: &'a Provider,
    limits: TargetLimits,
    tariff: &'a Tariff,
}

/// The models that this caller may use: those with a provider and a price that are not retired, and with a target that meets the
/// tenant's terms.
pub fn usable<'a>(tables: &'a Tables, caller: &Caller, now: DateTime<Utc>) -> Vec<Usable<'a>> {
    let tenant = caller.chain.tenant;
    let allowed = tables.models_for(tenant).into_iter().filter(|model| caller.may_use_model(tables, &model.value.name));
    allowed.filter_map(|model| Usable::of(tables, model, caller, now)).collect()
}

impl<'a> Usable<'a> {
    fn of(tables: &'a Tables, model: &'a Entry<Model>, caller: &Caller, now: DateTime<Utc>) -> Option<Self> {
        let named = tables.resolve_alias(model, now)?.require_not_retired(now).ok()?;
        let serving = named.serving;
        let tenant = caller.chain.tenant;
        let required = Requirements { tenant: tables.required_terms(tenant), request: &RequiredTerms::NONE };
        let (target, Offer { provider, price, limits }) = tables.first_offer(tenant, &serving.value, now, required)?;
        Some(Self { model, named, target, provider, limits, tariff: &price.value.tariff })
    }

    /// The planned end of its life, or else that of the model that it stands for.
    pub fn retirement(&self) -> &Retirement {
        self.named.retirement()
    }

    /// The entry of the list; its figures are those of the target that is tried first.
    fn item(&self, form: Form, capabilities: &Capabilities) -> Value {
        if let Form::Anthropic = form {
            return json!({
                "type": "model",
                "id": self.model.value.name,
                "display_name": self.model.value.name,
                "created_at": self.model.created_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            });
        }
        let mut item = json!({
            "id": self.model.value.name,
            "object": "model",
            "created": self.model.created_at.timestamp(),
            "owned_by": self.provider.name,
            "provider": self.provider.name,
            "context_window": self.limits.context_window,
            "max_output_tokens": self.limits.max_output_tokens,
            "price": shown(self.tariff),
        });
        put_retirement(&mut item, self.retirement());
        if !self.model.value.alias.is_empty() {
            item["stands_for"] = self.named.serving.value.name.as_str().into();
        }
        let abilities = self.target.facts.abilities();
        if !abilities.is_unknown() {
            item["abilities"] = abilities.shown();
        }
        let refused = self.limits.refused_parameters;
        if !refused.is_empty() {
            item["refused_parameters"] = json!(refused);
        }
        if let Some(known) = capabilities(self.provider, &self.target.model) {
            item[CAPABILITIES] = known.into();
        }
        item
    }
}

/// Adds what is planned for the end of a model.
pub fn put_retirement(item: &mut Value, retirement: &Retirement) {
    let Retirement { deprecated_at, retires_at, successor } = retirement;
    for (name, date) in [("deprecated_at", deprecated_at), ("retires_at", retires_at)] {
        if let Some(date) = date {
            item[name] = rfc3339(*date).into();
        }
    }
    if let Some(successor) = successor {
        item["successor"] = successor.as_str().into();
    }
}

/// The fields of it.
pub fn with_retirement(item: schema::Fields) -> schema::Fields {
    let date = |says| schema::described(schema::time(), says);
    item.optional("deprecated_at", date("When the model is deprecated; absent if that is not planned"))
        .optional("retires_at", date("From when on it does not answer; absent if that is not planned"))
        .optional_as("successor", schema::string(), "The model to use instead")
}

/// The prices as they are billed; which of them were given is for administration.
fn shown(tariff: &Tariff) -> Value {
    let mut price = json!(tariff);
    if let Some(members) = price.as_object_mut() {
        members.remove("defaulted");
    }
    price
}
