//! The route of a request: what its admission recorded of it, as far as the caller may see it, and the decision in words.

use std::collections::{HashMap, HashSet};

use events::event::admin::Model;
use events::event::inference::Backend;
use events::event::{Event, Inference, Recorded};
use events::ids::ProviderId;
use events::recorded_route::{RecordedRoute, RouteDetail, refusal_in_words};
use events::routing::ChosenBy;
use projections::views::inferences::StoredRequest;
use serde_json::{Map, Value, json};

/// Fields of a recorded route that everybody sees who sees the request, as in its explanation.
const FOR_EVERYBODY: [&str; 6] = ["features", "features_digest", "stands_for", "session", "decided_at", "terms"];

/// Fields that everybody sees if the request itself chose the strategy.
const ASKED_FOR: [&str; 2] = ["strategy", "chosen_by"];

/// Removes what the caller may not see of the recorded route, and says whether it sees all of it.
pub fn hide(fields: &mut Map<String, Value>, told: RouteDetail) {
    let Some(route) = fields.get_mut("route").and_then(Value::as_object_mut) else { return };
    if told != RouteDetail::Full {
        let was_asked_for = route.get("chosen_by").is_some_and(|by| by == ChosenBy::Request.as_str());
        let is_shown = |name: &str| FOR_EVERYBODY.contains(&name) || was_asked_for && ASKED_FOR.contains(&name);
        route.retain(|name, _| is_shown(name));
    }
    route.insert("is_visible".to_owned(), (told == RouteDetail::Full).into());
}

/// Removes the targets that were not called from what else is recorded of the request, for those who may not see the model.
pub fn hide_uncalled<'a>(fields: &mut Map<String, Value>, life: impl Iterator<Item = &'a Recorded>, told: RouteDetail) {
    if told == RouteDetail::Full {
        return;
    }
    let called: HashSet<String> = life.filter_map(backend_of).map(Backend::key).collect();
    let prices = fields.get_mut("versions").and_then(|versions| versions.get_mut("prices"));
    if let Some(targets) = prices.and_then(Value::as_object_mut) {
        targets.retain(|target, _| called.contains(target));
    }
    if let Some(targets) = fields.get_mut("passed_over").and_then(Value::as_object_mut) {
        targets.retain(|target, _| called.contains(target));
    }
}

fn backend_of(recorded: &Recorded) -> Option<&Backend> {
    match &recorded.event {
        Event::Inference(Inference::AttemptFailed(failed)) => Some(&failed.backend),
        event => event.outcome()?.backend.as_ref(),
    }
}

/// The position of the version of the model that an admission went by.
pub fn model_version(begin: &Recorded) -> Option<u64> {
    Some(begin.event.admission()?.versions.model)
}

/// The model as its version says it.
pub fn model_of(version: &Recorded) -> Option<&Model> {
    version.event.state()
}

/// Adds the decision in words to the request. Of a refusal, everybody is told what the client was told.
pub fn put_in_words(
    item: &mut Value,
    request: &StoredRequest,
    events: &HashMap<u64, Recorded>,
    model: Option<&Recorded>,
    told: RouteDetail,
    provider_name: impl Fn(ProviderId) -> Option<String>,
) {
    if let Some(Event::Inference(Inference::Refused(refused))) = events.get(&request.position).map(|begin| &begin.event)
    {
        item["route"] = json!({ "in_words": refusal_in_words(refused), "is_visible": true });
        return;
    }
    let positions = request.positions();
    let life = positions.iter().filter_map(|position| events.get(position));
    let Ok(id) = request.id.as_str().parse() else { return };
    let Some(route) = RecordedRoute::of(id, life, model) else { return };
    item["route"]["in_words"] = route.in_words(told, provider_name).into();
    item["route"]["is_visible"] = (told == RouteDetail::Full).into();
}
