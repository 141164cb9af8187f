//! The document itself.

use http::Method;
use utoipa::openapi::path::{HttpMethod, Paths};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

use crate::api::{Described, Route};
use crate::deprecations::Deprecation;
use crate::operation::{Operation, SECURITY};
use crate::refusals::CommonResponses;

const ADMINISTRATION: &str = "/v1/admin/";

const ABOUT: &str = "\
An LLM gateway whose accounts are a ledger. Bodies are JSON in UTF-8. Requests to the gateway's own endpoints with a \
field that is not described are refused; those on the OpenAI surface are passed on. Money is a text of US dollars, \
times are RFC 3339 in UTC, ids are a prefix and 32 hexadecimal digits; no text has U+0000. Every GET also answers HEAD. \
What cannot be read as HTTP/1.1 is a 400, and a head of more than 64 KiB or 100 headers a 431, both worded like every \
refusal; the exceptions of HTTP/2 are in docs/errors.md. Unknown paths are 404, methods that a path does not have 405, both worded like every refusal.";

/// The OpenAPI document of the routes; `version` is the gateway's.
pub fn of(described: &Described, version: &str) -> OpenApi {
    let mut shared = CommonResponses::default();
    let mut paths = Paths::new();
    for route in &described.routes {
        if let Some(method) = method(&route.method) {
            let deprecation = Deprecation::of(described.deprecations, &route.method, &route.path);
            let operation = said_of(route).build(&mut shared, deprecation);
            paths.add_path_operation(&route.path, vec![method], operation);
        }
    }
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new().title("Ledgerway").version(version).description(Some(ABOUT)).license(Some(license));
    let mut components = Components::new();
    components.schemas = shared.schemas;
    components.responses = shared.responses;
    let [bearer, header] = SECURITY;
    let keys = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A key: `sgk_…`"));
    components.add_security_scheme(bearer, SecurityScheme::Http(keys.build()));
    let value = ApiKeyValue::with_description("x-api-key", "The same, where a client sends it so");
    components.add_security_scheme(header, SecurityScheme::ApiKey(ApiKey::Header(value)));
    OpenApiBuilder::new().info(info.build()).paths(paths).components(Some(components)).build()
}

/// What is said of a route, and of all routes under its root: the operator can limit the administration.
fn said_of(route: &Route) -> Operation {
    let operation = route.describe();
    if route.path.starts_with(ADMINISTRATION) { operation.limited() } else { operation }
}

fn method(method: &Method) -> Option<HttpMethod> {
    match method.as_str() {
        "GET" => Some(HttpMethod::Get),
        "POST" => Some(HttpMethod::Post),
        "PATCH" => Some(HttpMethod::Patch),
        "DELETE" => Some(HttpMethod::Delete),
        _ => None,
    }
}

impl Described {
    /// As it is served. The same routes make the same bytes.
    pub fn json(&self, version: &str) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&of(self, version))
    }
}
