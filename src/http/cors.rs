//! Cross-origin requests: which web pages may call the gateway, and which response headers they may read. Preflights are
//! answered here, before authentication. If no origins are configured, none of this is on the path of a request.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, Uri};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may cache the response to a preflight.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// Response headers that pages may read besides the CORS-safelisted ones.
const EXPOSED_HEADERS: [HeaderName; 20] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-ledgerway-position"),
    HeaderName::from_static("x-ledgerway-backend"),
    HeaderName::from_static("x-ledgerway-cost-usd"),
    HeaderName::from_static("x-ledgerway-leaf-hash"),
    HeaderName::from_static("x-ledgerway-max-output-tokens"),
    HeaderName::from_static("x-ledgerway-ignored"),
    HeaderName::from_static("x-ledgerway-as-of-position"),
    HeaderName::from_static("x-ledgerway-next-cursor"),
    HeaderName::from_static("x-ledgerway-from"),
    HeaderName::from_static("x-ledgerway-to"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
    HeaderName::from_static("x-ratelimit-measure"),
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("deprecation"),
    HeaderName::from_static("sunset"),
];

/// The configured origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    Any,
    Listed(Vec<HeaderValue>),
}

impl CorsOrigins {
    /// Reads origins separated by commas, or `*`.
    ///
    /// Errors: the first part that is not an origin.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let origins = text.split(',').map(str::trim);
        if origins.clone().any(|origin| origin == "*") {
            return Ok(Self::Any);
        }
        origins.map(|origin| origin_value(origin).ok_or(origin)).collect::<Result<_, _>>().map(Self::Listed)
    }
}

/// An origin as browsers send it: scheme and authority in lower case, without a path.
fn origin_value(origin: &str) -> Option<HeaderValue> {
    let uri: Uri = origin.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?.as_str());
    let written = format!("{scheme}://{authority}").to_ascii_lowercase();
    let is_bare = matches!(scheme, "http" | "https") && !authority.contains('@') && written == origin;
    is_bare.then(|| HeaderValue::try_from(written).ok())?
}

/// Answers preflights, and adds CORS headers to responses.
pub struct Cors(CorsLayer);

impl Cors {
    pub fn new(origins: CorsOrigins) -> Self {
        let origins = match origins {
            CorsOrigins::Any => AllowOrigin::any(),
            CorsOrigins::Listed(origins) => AllowOrigin::list(origins),
        };
        // Pages send keys in headers that they set themselves, never in cookies: credentials are not allowed.
        let layer = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED_HEADERS)
            .max_age(PREFLIGHT_MAX_AGE);
        Self(layer)
    }

    /// The response of `next` with CORS headers, or the response to a preflight, which `next` never sees.
    pub async fn answer<A>(&self, request: Request, next: impl Fn(Request) -> A) -> Response
    where
        A: Future<Output = Response>,
    {
        let service = service_fn(|request| {
            let answer = next(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let Ok(response) = self.0.layer(service).oneshot(request).await;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: bin.cors
    #[test]
    fn origins_are_what_browsers_send_and_nothing_else() {
        let listed = |origins: &[&'static str]| {
            Ok(CorsOrigins::Listed(origins.iter().map(|origin| HeaderValue::from_static(origin)).collect()))
        };
        assert_eq!(CorsOrigins::parse("*"), Ok(CorsOrigins::Any));
        assert_eq!(CorsOrigins::parse("https://a.example"), listed(&["https://a.example"]));
        assert_eq!(
            CorsOrigins::parse("http://localhost:3000, https://a.example"),
            listed(&["http://localhost:3000", "https://a.example"])
        );
        for wrong in [
            "a.example", "https://", "https://a.example/", "https://A.example", "https://u@a.example",
            "ftp://a.example", "null", "",
        ] {
            assert_eq!(CorsOrigins::parse(wrong), Err(wrong));
        }
        assert_eq!(CorsOrigins::parse("https://a.example,,"), Err(""));
    }
}
