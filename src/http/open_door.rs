//! The door of a command that is no gateway: its routes are open to everybody who reaches the listener, and they decide themselves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use events::ids::IdMaker;
use http::StatusCode;
use http::header::RETRY_AFTER;
use prometheus::Registry;
use tower_service::Service;

use super::connection_requests::ConnectionRequests;
use super::parse_errors::ParseErrorResponses;
use super::server::RequestHandler;
use crate::guarded_body::GuardedBody;
use crate::in_flight::InFlight;
use crate::metrics::ResponseMetrics;

/// A door that asks for no key. Cheap to clone.
#[derive(Clone)]
pub struct OpenDoor {
    router: Router,
    in_flight: InFlight,
    ids: IdMaker,
    /// Counted as everywhere, and shown nowhere.
    responses: ResponseMetrics,
}

impl OpenDoor {
    /// Requests are counted in `in_flight`, and refused once that drains.
    ///
    /// Errors: the metrics cannot be made.
    pub fn new(router: Router, in_flight: InFlight, ids: IdMaker) -> Result<Self, prometheus::Error> {
        Ok(Self { router, in_flight, ids, responses: ResponseMetrics::register(&Registry::new())? })
    }
}

impl RequestHandler for OpenDoor {
    fn metrics(&self) -> &ResponseMetrics {
        &self.responses
    }

    fn is_trusted_proxy(&self, _peer: IpAddr) -> bool {
        false
    }

    fn parse_error_responses(&self) -> ParseErrorResponses {
        ParseErrorResponses::new(self.ids.clone(), self.responses.clone())
    }

    async fn answer(self, request: Request, connection: Arc<ConnectionRequests>) -> Response {
        let counted = self.in_flight.begin();
        if self.in_flight.is_draining() {
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], "shutting down\n").into_response();
        }
        let (began, method, path) = (Instant::now(), request.method().clone(), request.uri().path().to_owned());
        let Ok(response) = self.router.clone().call(request).await;
        let (status, latency_ms) =
            (response.status().as_u16(), u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        tracing::debug!(peer = %connection.peer(), %method, path, status, latency_ms, "answered");
        response.map(|body| Body::new(GuardedBody::new(body, counted)))
    }
}
