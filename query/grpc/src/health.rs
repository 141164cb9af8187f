//! `grpc.health.v1.Health`: the readiness of `/health/ready`. It is the same for every service of this address.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use events::refusal::{ErrorCode, Refusal};
use futures_util::stream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::HEALTH;
use crate::open_calls::{OpenCalls, bounded};
use crate::status::refused;

/// Whether the gateway can do its work now.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// The services by name; the empty name means the whole process.
const SERVICES: [&str; 3] = ["", "ledgerway.v1.Events", "ledgerway.v1.Usage"];
/// Watches at a time: they need no key.
const WATCHES_MAX: usize = 64;
/// After which a client calls again, if it is still there.
const WATCH_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// How often a watch looks, so how late a client learns of a change.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

pub fn routes(readiness: Readiness) -> Router {
    let service = HealthServer::new(HealthService { readiness });
    let [check, watch] = HEALTH;
    let watches = OpenCalls::new("watches of health", WATCHES_MAX, WATCH_TIME_MAX);
    let watch = Router::new().route_service(watch, service.clone()).layer(from_fn_with_state(watches, bounded));
    watch.route_service(check, service)
}

pub struct HealthService {
    readiness: Readiness,
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request) {
            return Err(refused(Refusal::new(ErrorCode::NotFound, "there is no such service here"), None));
        }
        Ok(Response::new(response(status_of((self.readiness)().await))))
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let readiness = is_known(&request).then(|| Arc::clone(&self.readiness));
        let watch = Watch { readiness, told: None };
        let changes = stream::unfold(watch, |mut watch| async move {
            let status = watch.next().await;
            Some((Ok(response(status)), watch))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

/// One client that waits for changes.
struct Watch {
    /// `None` for a service that does not exist, and may after an upgrade.
    readiness: Option<Readiness>,
    told: Option<ServingStatus>,
}

impl Watch {
    /// The next status that differs from the one before.
    async fn next(&mut self) -> ServingStatus {
        loop {
            if self.told.is_some() {
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
            let now = match &self.readiness {
                Some(readiness) => status_of(readiness().await),
                None => ServingStatus::ServiceUnknown,
            };
            if self.told.replace(now) != Some(now) {
                return now;
            }
        }
    }
}

fn is_known(request: &Request<HealthCheckRequest>) -> bool {
    SERVICES.contains(&request.get_ref().service.as_str())
}

const fn status_of(is_ready: bool) -> ServingStatus {
    if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tokio::time::sleep;
    use tower::ServiceExt;

    use super::*;

    /// Holds: grpc.open-calls
    #[tokio::test(start_paused = true)]
    async fn watches_are_few_and_end_though_nobody_reads_them() {
        let router = routes(Arc::new(|| Box::pin(std::future::ready(true))));
        let call = async || {
            // A message of no bytes: the whole process.
            let request = http::Request::post(HEALTH[1]).header("content-type", "application/grpc");
            let request = request.body(Body::from(&b"\0\0\0\0\0"[..])).expect("a request");
            router.clone().oneshot(request).await.expect("an answer")
        };
        let refusal = |response: &axum::response::Response| response.extensions().get::<Refusal>().map(|it| it.code);
        let mut watches = Vec::new();
        for _ in 0..WATCHES_MAX {
            watches.push(call().await);
        }
        assert_eq!(refusal(&call().await), Some(ErrorCode::Overloaded));
        let mut read = watches.remove(0).into_body();
        assert!(read.frame().await.expect("a frame").expect("no error").is_data());
        sleep(WATCH_TIME_MAX + Duration::from_secs(1)).await;
        assert_eq!(refusal(&call().await), None);
        let end = read.collect().await.expect("an end");
        assert_eq!(end.trailers().expect("trailers")["grpc-status"], "4");
    }
}
