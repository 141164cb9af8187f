//! `/health`, `/health/live`, `/health/ready`: whether the process runs, and whether it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use events::log::Log;
use http::StatusCode;
use projections::tables::TablesHandle;
use projections::views::ViewsHandle;
use serde_json::{Value, json};

use super::in_flight::InFlight;

/// Tables that are further behind the log than this may answer for a key that was revoked.
const TABLES_LAG_MAX: Duration = Duration::from_secs(2);

/// What health is asked of.
pub struct Health {
    pub log: Log,
    pub tables: TablesHandle,
    pub views: ViewsHandle,
    pub in_flight: InFlight,
}

pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/health", get(ready))
        .route("/health/ready", get(ready))
        .route("/health/live", get(live))
        .with_state(Arc::new(health))
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 503 from the signal to end on, while the ledger cannot be written, and while the tables are behind. A view that stands still
/// is shown, and keeps nobody from working.
async fn ready(State(health): State<Arc<Health>>) -> (StatusCode, Json<Value>) {
    let writable = health.log.is_writable();
    let current = health.tables.wait_for(health.log.head().position, TABLES_LAG_MAX).await;
    let draining = health.in_flight.is_leaving();
    let followed = health.views.status().iter().all(|view| view.error.is_none());
    let is_ready = writable && current && !draining;
    let word = |is_fine, otherwise: &'static str| if is_fine { "ok" } else { otherwise };
    let body = json!({
        "status": if draining { "draining" } else { word(is_ready, "unavailable") },
        "parts": {
            "ledger": word(writable, "unavailable"),
            "tables": word(current, "behind"),
            "views": word(followed, "stopped"),
        },
    });
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}
