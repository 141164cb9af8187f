//! The OpenAPI document.

use http::Method;
use utoipa::openapi::path::{HttpMethod, Paths};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

use crate::api::Described;
use crate::deprecations::Deprecation;
use crate::operation::SECURITY;
use crate::refusals::CommonResponses;

const ABOUT: &str = "\
An LLM gateway whose accounts are a ledger. Bodies are JSON in UTF-8. Requests to the gateway's own endpoints with a \
field that is not described are refused; on the OpenAI surface they are passed on. Money is a string of US dollars, \
times are RFC 3339 in UTC, ids are a prefix and 32 hexadecimal digits; no string contains U+0000. Every GET supports HEAD. \
A request that cannot be parsed as HTTP/1.1 is a 400, a head of more than 64 KiB or 100 headers a 431, an unknown path a 404, \
a method that a path does not have a 405, all with the same error format; for the exceptions of HTTP/2 see docs/errors.md.";

/// The OpenAPI document of the routes; `version` is the gateway's.
pub fn of(described: &Described, version: &str) -> OpenApi {
    let mut shared = CommonResponses::default();
    let mut paths = Paths::new();
    for route in &described.routes {
        if let Some(method) = method(&route.method) {
            let deprecation = Deprecation::of(described.deprecations, &route.method, &route.path);
            let operation = route.describe().build(&mut shared, deprecation);
            paths.add_path_operation(&route.path, vec![method], operation);
        }
    }
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new().title("Ledgerway").version(version).description(Some(ABOUT)).license(Some(license));
    let mut components = Components::new();
    components.schemas = shared.schemas;
    components.responses = shared.responses;
    let [bearer, header] = SECURITY;
    let keys = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key: `sgk_…`"));
    components.add_security_scheme(bearer, SecurityScheme::Http(keys.build()));
    let value = ApiKeyValue::with_description("x-api-key", "The same key, for clients that use this header");
    components.add_security_scheme(header, SecurityScheme::ApiKey(ApiKey::Header(value)));
    OpenApiBuilder::new().info(info.build()).paths(paths).components(Some(components)).build()
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
    /// The document as JSON. The same routes give the same bytes.
    pub fn json(&self, version: &str) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&of(self, version))
    }
}
