//! `grpc.health.v1.Health`: the readiness of `/health/ready`. It is the same for every service of this address.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use events::refusal::{ErrorCode, Refusal};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::status::refused;

/// Whether the gateway can do its work now.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// The services by name; the empty name means the whole process.
const SERVICES: [&str; 3] = ["", "ledgerway.v1.Events", "ledgerway.v1.Usage"];
/// Watches at a time: they need no key, and have no end.
const WATCHES_MAX: usize = 64;
/// How often a watch looks, so how late a client learns of a change.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

pub fn service(readiness: Readiness) -> HealthServer<HealthService> {
    HealthServer::new(HealthService { readiness, watches: Arc::new(Semaphore::new(WATCHES_MAX)) })
}

pub struct HealthService {
    readiness: Readiness,
    watches: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request) {
            return Err(refused(Refusal::new(ErrorCode::NotFound, "there is no such service here"), None));
        }
        Ok(Response::new(response(self.status().await)))
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let permit = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            let message = format!("there are {WATCHES_MAX} watches already");
            refused(Refusal::new(ErrorCode::Overloaded, message).with("scope", "gateway").try_again(), None)
        })?;
        let readiness = is_known(&request).then(|| Arc::clone(&self.readiness));
        let watch = Watch { readiness, told: None, _permit: permit };
        let changes = stream::unfold(watch, |mut watch| async move {
            let status = watch.next().await;
            Some((Ok(response(status)), watch))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

impl HealthService {
    async fn status(&self) -> ServingStatus {
        status_of((self.readiness)().await)
    }
}

/// One client that waits for changes.
struct Watch {
    /// `None` for a service that does not exist, and may after an upgrade.
    readiness: Option<Readiness>,
    told: Option<ServingStatus>,
    _permit: OwnedSemaphorePermit,
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
