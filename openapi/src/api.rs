//! A router whose routes are described.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use tower::Layer;
use tower_service::Service;

use crate::deprecations::{DEPRECATIONS, Deprecation};
use crate::entrance::Entrance;
use crate::operation::Operation;

/// Routes and their descriptions.
#[must_use]
pub struct Api<S = ()> {
    entrance: Entrance,
    deprecations: &'static [Deprecation],
    router: Router<S>,
    routes: Vec<Route>,
}

/// One method of one path. Its description is a function, because most processes never need it.
pub struct Route {
    pub method: Method,
    /// `/v1/budgets/{id}`.
    pub path: String,
    /// The path as routers match it: `/v1/models/{*name}`.
    pub pattern: String,
    pub entrance: Entrance,
    describe: Box<dyn Fn() -> Operation + Send + Sync>,
}

impl Route {
    pub fn new(
        entrance: Entrance,
        method: Method,
        pattern: &str,
        describe: impl Fn() -> Operation + Send + Sync + 'static,
    ) -> Self {
        // To clients, a parameter that matches the rest of the path is like any other.
        let (path, pattern) = (pattern.replace("{*", "{"), pattern.to_owned());
        Self { method, path, pattern, entrance, describe: Box::new(describe) }
    }

    pub fn describe(&self) -> Operation {
        (self.describe)().behind(self.entrance)
    }
}

/// The descriptions of all routes of a router.
pub struct Described {
    pub(crate) deprecations: &'static [Deprecation],
    pub routes: Vec<Route>,
}

/// Adds a route for one method of a path. GET supports HEAD as well.
macro_rules! methods {
    ($($name:ident $method:ident),*) => { $(
        pub fn $name<H: Handler<T, S>, T: 'static>(
            self,
            path: &str,
            handler: H,
            describe: impl Fn() -> Operation + Send + Sync + 'static,
        ) -> Self {
            self.on(Method::$method, MethodFilter::$method, path, handler, describe)
        }
    )* };
}

impl<S: Clone + Send + Sync + 'static> Api<S> {
    /// An empty set of routes with this entrance.
    pub fn of(entrance: Entrance) -> Self {
        Self::with_deprecations(entrance, DEPRECATIONS)
    }

    /// An empty set of routes with another table of deprecations.
    pub fn with_deprecations(entrance: Entrance, deprecations: &'static [Deprecation]) -> Self {
        Self { entrance, deprecations, router: Router::new(), routes: Vec::new() }
    }

    methods! { get GET, post POST, patch PATCH, delete DELETE }

    fn on<H: Handler<T, S>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &str,
        handler: H,
        describe: impl Fn() -> Operation + Send + Sync + 'static,
    ) -> Self {
        // By the described path, as the document looks deprecations up as well.
        let entry = Route::new(self.entrance, method, path, describe);
        let deprecation = Deprecation::of(self.deprecations, &entry.method, &entry.path);
        let route = with_deprecation_headers(on::<H, T, S>(filter, handler), deprecation);
        self.routes.push(entry);
        Self { router: self.router.route(path, route), ..self }
    }

    /// Adds the routes of another set, which keep their entrances.
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        Self { router: self.router.merge(other.router), ..self }
    }

    /// Adds a layer to the routes so far.
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self { router: self.router.layer(layer), ..self }
    }

    pub fn with_state<S2: Clone + Send + Sync + 'static>(self, state: S) -> Api<S2> {
        let Self { entrance, deprecations, router, routes } = self;
        Api { entrance, deprecations, router: router.with_state(state), routes }
    }

    /// The router to serve, and the descriptions to publish.
    pub fn into_parts(self) -> (Router<S>, Described) {
        (self.router, Described { deprecations: self.deprecations, routes: self.routes })
    }
}

/// Adds the headers of a deprecation to every response of the route.
fn with_deprecation_headers<S: Clone + Send + Sync + 'static>(
    route: MethodRouter<S>,
    deprecation: Option<&Deprecation>,
) -> MethodRouter<S> {
    let Some(deprecation) = deprecation else { return route };
    let headers = deprecation.headers();
    route.layer(map_response(move |mut response: Response| {
        response.headers_mut().extend(headers.clone());
        std::future::ready(response)
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use axum::body::Body;
    use chrono::NaiveDate;
    use http::{Method, Request};

    use super::*;

    const fn day(year: i32, month: u32, day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, month, day).expect("a day")
    }

    const fn deprecated(path: &'static str) -> Deprecation {
        Deprecation { method: Method::GET, path, since: day(2026, 1, 1), sunset: day(2026, 7, 1) }
    }

    static SAMPLE: [Deprecation; 2] = [deprecated("/old"), deprecated("/old/{rest}")];

    #[tokio::test]
    async fn what_will_be_removed_says_so_in_its_answers_and_in_the_document() {
        let described = |id: &'static str| move || Operation::new(id, "Test", "A route");
        let api = Api::<()>::with_deprecations(Entrance::Open, &SAMPLE)
            .get("/old", async || "old", described("get_old"))
            .delete("/old", async || "gone", described("delete_old"))
            .get("/old/{*rest}", async || "old", described("get_old_parts"))
            .get("/new", async || "new", described("get_new"));
        let (mut router, described) = api.into_parts();
        let document: serde_json::Value = serde_json::from_slice(&described.json("1").expect("JSON")).expect("JSON");
        for (method, path, expected) in
            [("GET", "/old", true), ("GET", "/old/{rest}", true), ("DELETE", "/old", false), ("GET", "/new", false)]
        {
            let request = Request::builder()
                .method(method)
                .uri(path.replace("{rest}", "a/b"))
                .body(Body::empty())
                .expect("a request");
            let response = router.call(request).await.expect("an answer");
            let said = ["deprecation", "sunset"].map(|name| response.headers().get(name).cloned());
            let headers = expected.then_some(["@1767225600", "Wed, 01 Jul 2026 00:00:00 GMT"]);
            assert_eq!(
                said,
                headers.map_or([None, None], |said| said.map(|text| text.parse().ok())),
                "{method} {path}"
            );
            let operation = &document["paths"][path][method.to_lowercase()];
            assert_eq!(operation["deprecated"] == true, expected, "{method} {path}");
        }
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// A router of axum's own would let a route in without a word about it.
    #[test]
    fn routes_are_made_nowhere_else() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = Vec::new();
        for folder in ["src", "command", "query/src", "projections/src"] {
            sources(&root.join(folder), &mut found);
        }
        assert!(found.len() > 100, "{}", found.len());
        let mut own: Vec<String> = Vec::new();
        for path in found {
            let text = fs::read_to_string(&path).expect("a source");
            if ["Router::new()", "axum::routing"].iter().any(|word| text.contains(word)) {
                own.push(path.file_name().expect("a name").to_string_lossy().into_owned());
            }
        }
        // The description is among what it describes.
        own.retain(|name| name != "openapi_json.rs");
        assert!(own.is_empty(), "{own:?} make routes without describing them: use openapi::Api");
    }
}
