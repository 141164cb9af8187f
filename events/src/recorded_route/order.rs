//! The order of targets that a request was admitted with.

use crate::event::admin::{Model, Strategy, Target};
use crate::event::inference::Route;
use crate::ids::RequestId;
use crate::routing::left_out::NoPrice;
use crate::routing::{CanaryPlace, Candidate, Features, LeftOut, Order, choose, choose_again};

/// The order by what the admission recorded of it, and for what it did not record, by the model's row and the request's id. The targets of
/// the model are those of its version, sorted as strategies get them.
pub fn recorded_order<'a>(model: &Model, route: Option<&Route>, request: RequestId) -> Order<'a> {
    let mut order = match route.filter(|route| !route.figures.is_empty()) {
        Some(route) => order_by_figures(model, route, request),
        None => order_by_row(model, route, request),
    };
    if let Some(at) = model.canary_index() {
        let is_first = route.is_some_and(|route| route.canary.is_some());
        order.place_canary(at, if is_first { CanaryPlace::First } else { CanaryPlace::Last });
    }
    let backend = |at: usize| model.targets.get(at).map(Target::key);
    if let Some(session) = route.and_then(|route| route.session.as_deref()).filter(|_| !model.affinity.is_none()) {
        order.put_session_target_first(session, backend);
    }
    order
}

fn order_by_figures<'a>(model: &Model, route: &Route, request: RequestId) -> Order<'a> {
    let candidates = model.targets.iter().map(|target| {
        let candidate = Candidate { left_out: left_out(route, target), ..Candidate::default() };
        (candidate, route.figures.get(&target.key()).copied().unwrap_or_default())
    });
    choose_again(route.strategy, candidates, request)
}

/// Admissions without figures are by `priority`, or older than levels of weights.
fn order_by_row<'a>(model: &Model, route: Option<&Route>, request: RequestId) -> Order<'a> {
    let candidates = model.targets.iter().map(|target| Candidate {
        priority: if model.strategy == Strategy::Weighted { 0 } else { target.priority },
        weight: target.weight,
        left_out: route.and_then(|route| left_out(route, target)),
        ..Candidate::default()
    });
    let strategy = if model.strategy == Strategy::TenantDefault { Strategy::Priority } else { model.strategy };
    choose(strategy, candidates, &Features { request: Some(request), ..Features::default() })
}

/// Whether a target was left out. For which reason, makes no difference to the order.
fn left_out(route: &Route, target: &Target) -> Option<LeftOut> {
    route.left_out.contains_key(&target.key()).then_some(LeftOut::NoPrice(NoPrice))
}
