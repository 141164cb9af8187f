//! A request with its events as JSON, made of its row in the view, which has the positions of the events, and of the events.

use std::collections::HashMap;

use events::event::inference::Payer;
use events::event::{Event, Hold, Inference, Recorded};
use events::ids::{KeyId, PartnerId, RequestId, TenantId, UserId};
use events::plain_json;
use events::recorded_route::RouteDetail;
use events::time::rfc3339;
use openapi::schema::{self, Shape, object};
use projections::views::inferences::{Status, StoredRequest};
use serde_json::{Map, Value};

use super::{route_json, shortfalls};
use crate::described::{nullable_id, nullable_time};
use crate::request_rights::RequestRights;

/// The events of requests and of the budgets that would have refused them, by position.
pub type EventsByPosition = HashMap<u64, Recorded>;

/// The admission or refusal, the caller, the outcome and the money. `None` if the log does not have an event that the view
/// points to.
pub fn json(
    request: &StoredRequest,
    events: &EventsByPosition,
    rights: RequestRights,
    told: RouteDetail,
) -> Result<Option<Value>, serde_json::Error> {
    let Some(begin) = events.get(&request.position) else { return Ok(None) };
    let mut fields = data(begin)?;
    shortfalls::hide(&mut fields, begin, events, rights.visible());
    route_json::hide(&mut fields, told);
    // The outcome repeats the requested model; its other fields are its own.
    let model = fields.get("model").cloned().unwrap_or_default();
    let at = |position: Option<u64>| position.and_then(|position| events.get(&position));
    let outcome = at(request.outcome);
    if let Some(outcome) = outcome {
        fields.extend(data(outcome)?);
    }
    let life = request.incidents.iter().chain(&request.outcome).filter_map(|position| events.get(position));
    route_json::hide_uncalled(&mut fields, life, told);
    let context = &begin.context;
    let of_type = |wanted: fn(&Event) -> bool| {
        let incidents = request.incidents.iter().filter_map(|position| events.get(position));
        incidents.filter(|recorded| wanted(&recorded.event)).map(step).collect::<Result<Vec<_>, _>>()
    };
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("request_id", request.id.as_str().into());
    put("status", request.status.as_str().into());
    put("actor", context.actor.to_string().into());
    put("partner_id", context.partner_id.map(|id| id.to_string()).into());
    put("tenant_id", context.tenant_id.map(|id| id.to_string()).into());
    put("user_id", context.user_id.map(|id| id.to_string()).into());
    put("key_id", context.key_id.map(|id| id.to_string()).into());
    put("model", model);
    put("recorded_at", rfc3339(begin.recorded_at).into());
    put("position", request.position.into());
    put("cost_usd", request.cost.to_string().into());
    put("hold", at(request.hold).map(hold).transpose()?.into());
    put("outcome_position", outcome.map(|outcome| outcome.position).into());
    put("payer", outcome.and_then(|outcome| outcome.event.outcome()?.payer()).map(Payer::as_str).into());
    put("ended_at", outcome.map(|outcome| rfc3339(outcome.recorded_at)).into());
    put("settlement", at(request.hold_end).map(settlement).transpose()?.into());
    put("positions", request.positions().into());
    put("attempts_failed", of_type(|event| matches!(event, Event::Inference(Inference::AttemptFailed(_))))?.into());
    put("adjustments", of_type(|event| matches!(event, Event::Hold(Hold::Adjusted(_))))?.into());
    Ok(Some(Value::Object(fields)))
}

const PAYER: &str =
    "own if the tenant's own provider served the request, brokered if a shared one did; null without a backend";

fn hold(hold: &Recorded) -> Result<Value, serde_json::Error> {
    let mut fields = data(hold)?;
    fields.insert("position".to_owned(), hold.position.into());
    Ok(Value::Object(fields))
}

/// The end of the hold, with its `type`.
fn settlement(end: &Recorded) -> Result<Value, serde_json::Error> {
    let mut settlement = step(end)?;
    settlement["type"] = end.event.name().into();
    Ok(settlement)
}

/// The schema. Beside these fields, it has those of the events' `data`.
pub fn shape() -> Shape {
    let step = || object().required("position", schema::count());
    let recorded = || step().required("recorded_at", schema::time()).open();
    let hold = step().required("held_usd", schema::money()).open();
    let settlement = step().required("recorded_at", schema::time()).required("type", schema::string()).open();
    let in_words = "How its targets were ordered and by whose choice, what was left out, each call and why it failed, what was passed \
                    over, and which target answered; of a refused request, why no target was called; not in lists";
    let route = object()
        .optional_as("in_words", schema::string(), in_words)
        .required_as("is_visible", schema::boolean(), "Whether the caller is told all of it")
        .open();
    object()
        .required("request_id", schema::id(RequestId::PREFIX))
        .required("status", schema::one_of(Status::words()))
        .required("actor", schema::string())
        .required("partner_id", nullable_id(PartnerId::PREFIX))
        .optional("partner_name", schema::nullable(schema::string()))
        .required("tenant_id", nullable_id(TenantId::PREFIX))
        .optional("tenant_name", schema::nullable(schema::string()))
        .required("user_id", nullable_id(UserId::PREFIX))
        .optional("user_name", schema::nullable(schema::string()))
        .required("key_id", nullable_id(KeyId::PREFIX))
        .optional("key_name", schema::nullable(schema::string()))
        .required("model", schema::string())
        .optional_as(
            "shadow_of",
            schema::id(RequestId::PREFIX),
            "The request that it is a copy of, sent to the shadow of its model; absent if a client sent it",
        )
        .required("recorded_at", schema::time())
        .required("position", schema::count())
        .required("cost_usd", schema::money())
        .required("hold", schema::nullable(hold))
        .required("outcome_position", schema::nullable(schema::count()))
        .required_as("payer", schema::nullable(schema::one_of(Payer::words())), PAYER)
        .required("ended_at", nullable_time())
        .required("settlement", schema::nullable(settlement))
        .required("positions", schema::list(schema::count(), None))
        .required_each(["attempts_failed", "adjustments"], schema::list(recorded(), None))
        .optional_as("route", route, "Beside what its admission recorded")
        .open()
}

/// The event's `data`, position and time.
fn step(recorded: &Recorded) -> Result<Value, serde_json::Error> {
    let mut fields = data(recorded)?;
    fields.insert("position".to_owned(), recorded.position.into());
    fields.insert("recorded_at".to_owned(), rfc3339(recorded.recorded_at).into());
    Ok(Value::Object(fields))
}

fn data(recorded: &Recorded) -> Result<Map<String, Value>, serde_json::Error> {
    match plain_json::parse(&recorded.event.payload()?)? {
        Value::Object(members) => Ok(members),
        _ => Ok(Map::new()),
    }
}
