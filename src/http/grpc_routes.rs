//! The routes of gRPC, for a listener of their own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use query::QueryState;

use super::entrances::{Entrances, Protocol, Routes};
use super::health::Health;

/// Why the routes cannot be served.
type WrongRoutes = Box<dyn std::error::Error + Send + Sync>;

/// The methods of gRPC, whose health is that of `/health/ready`.
pub fn grpc_routes(queries: QueryState, health: Arc<Health>) -> Result<Routes, WrongRoutes> {
    let is_ready = move || -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let health = Arc::clone(&health);
        Box::pin(async move { health.is_ready().await })
    };
    Ok(Routes {
        router: grpc::routes(queries, Arc::new(is_ready))?,
        entrances: Entrances::of_patterns(grpc::entrances())?,
        unknown_path: grpc::no_such_method,
        protocol: Protocol::Grpc,
    })
}
