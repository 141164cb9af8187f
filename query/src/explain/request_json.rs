//! An explanation as JSON, with what the caller may see of it.

use ::events::ids::RequestId;
use ::events::recorded_route::RouteDetail;
use ::events::time::rfc3339;
use events_log::explain::Explanation;
use openapi::schema::{self, Shape, object};
use serde_json::{Value, json};

use super::part_json::{self, put_verdict, verdict};
use crate::request_rights::RequestRights;

pub fn json(of: &Explanation, rights: RequestRights, told: RouteDetail) -> Value {
    json!({
        "request_id": of.request.to_string(),
        "position": of.position,
        "recorded_at": rfc3339(of.recorded_at),
        "follows": of.follows(),
        "life": put_verdict(json!({}), &of.life, &[]),
        "admission": of.admission.as_ref().map(|part| part_json::admission(part, rights)),
        "bound": of.bound.as_ref().map(|part| part_json::bound(part, rights)),
        "route": of.route.as_ref().map(|route| part_json::route(route, told)),
        "settlement": of.settlement.as_ref().map(|part| part_json::settlement(part, rights)),
    })
}

/// The schema.
pub fn shape() -> Shape {
    let follows = "False if anything below does not follow, null if something could not be decided again";
    object()
        .required("request_id", schema::id(RequestId::PREFIX))
        .required("position", schema::count())
        .required("recorded_at", schema::time())
        .required_as("follows", schema::nullable(schema::boolean()), follows)
        .required("life", verdict(object()).open())
        .required("admission", schema::nullable(part_json::admission_shape()))
        .required("bound", schema::nullable(part_json::bound_shape()))
        .required("route", schema::nullable(part_json::route_shape()))
        .required("settlement", schema::nullable(part_json::settlement_shape()))
        .open()
}
