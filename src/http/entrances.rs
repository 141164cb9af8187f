//! The entrance of each path: what a request needs before anything is done for it. A route declares its own; a path without
//! a route has the entrance of the root that it is below: one below `/v1` or `/oai` needs a key.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use dialects::surfaces::is_at_or_below;
use events::refusal::Refusal;
use openapi::{Entrance, Route};

/// Roots below which only callers with a key learn which paths exist: others get 401, not 404. If one root is below another,
/// the longer one stands first.
const ROOTS: [(&str, Entrance); 3] =
    [("/v1/admin", Entrance::Administration), ("/v1/", Entrance::Key), ("/oai/", Entrance::Key)];

/// Routes, and the entrances to them.
pub struct Routes {
    pub router: Router,
    pub entrances: Entrances,
    /// Makes the refusal of a path without a route.
    pub unknown_path: fn(&str) -> Refusal,
    pub protocol: Protocol,
}

/// How clients call the routes, and read their refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Grpc,
}

/// The entrance of every route, by its pattern. Cheap to clone.
#[derive(Clone)]
pub struct Entrances(Arc<matchit::Router<KnownPath>>);

/// The pattern of a route's path.
struct KnownPath {
    pattern: Arc<str>,
    entrance: Entrance,
}

impl Entrances {
    /// The entrances of routes that a router has taken.
    ///
    /// Errors: two patterns conflict. Nothing may be served then: the route would get the entrance of an unknown path.
    pub fn of(routes: &[Route]) -> Result<Self, matchit::InsertError> {
        Self::of_patterns(routes.iter().map(|route| (&*route.pattern, route.entrance)))
    }

    /// The same for routes that are not described.
    pub fn of_patterns<'a>(patterns: impl Iterator<Item = (&'a str, Entrance)>) -> Result<Self, matchit::InsertError> {
        let mut by_pattern = BTreeMap::new();
        for (pattern, entrance) in patterns {
            // The strictest of a path's methods, because the key is checked before the method.
            let strictest = by_pattern.entry(pattern).or_insert(entrance);
            *strictest = entrance.max(*strictest);
        }
        let mut entrances = matchit::Router::default();
        for (pattern, entrance) in by_pattern {
            entrances.insert(pattern, KnownPath { pattern: pattern.into(), entrance })?;
        }
        Ok(Self(Arc::new(entrances)))
    }

    /// The entrance of a path, with or without a route.
    pub fn at(&self, path: &str) -> Entrance {
        self.0.at(path).map_or_else(|_| entrance_of_unknown(path), |found| found.value.entrance)
    }

    /// The pattern of the route of a path; `None` without a route.
    pub fn route(&self, path: &str) -> Option<Arc<str>> {
        self.0.at(path).ok().map(|found| Arc::clone(&found.value.pattern))
    }
}

/// The entrance of an unknown path: outside of the roots, a 404 needs no key.
fn entrance_of_unknown(path: &str) -> Entrance {
    let root = ROOTS.iter().find(|(root, _)| is_at_or_below(path, root));
    root.map_or(Entrance::Open, |(_, entrance)| *entrance)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use openapi::Operation;

    use super::*;

    fn route(entrance: Entrance, method: Method, pattern: &str) -> Route {
        Route::new(entrance, method, pattern, || Operation::new("id", "Test", "A route"))
    }

    #[test]
    fn a_path_is_entered_as_its_route_was_declared_and_an_unknown_one_as_its_root() {
        let entrances = Entrances::of(&[
            route(Entrance::Open, Method::GET, "/v1/log/checkpoint"),
            route(Entrance::Key, Method::GET, "/v1/models/{*name}"),
            route(Entrance::Administration, Method::POST, "/v1/maintenance"),
            route(Entrance::Key, Method::GET, "/v1/maintenance"),
            route(Entrance::Key, Method::GET, "/v1/admin/me"),
            route(Entrance::Open, Method::GET, "/metrics"),
        ])
        .expect("they fit");
        use Entrance::{Administration, Key, Open};
        for (path, wanted) in [
            ("/v1/log/checkpoint", Open),
            ("/v1/log/checkpoint/", Key),
            ("/v1/log", Key),
            ("/v1/models/a/b", Key),
            ("/v1/maintenance", Administration),
            ("/v1/admin/me", Key),
            ("/v1/admin", Administration),
            ("/v1/admin/", Administration),
            ("/v1/admin/nothing", Administration),
            ("/v1/administration", Key),
            ("/oai/v1/responses", Key),
            ("/metrics", Open),
            ("/metrics/", Open),
            ("/v1", Open),
            ("/", Open),
        ] {
            assert_eq!(entrances.at(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_route_that_does_not_fit_beside_another_is_not_passed_over() {
        let routes = ["/v1/{one}", "/v1/{other}/x", "/v1/{third}"];
        let routes = routes.map(|pattern| route(Entrance::Administration, Method::GET, pattern));
        assert!(Entrances::of(&routes).is_err());
    }
}
