//! `/health`, `/health/live`, `/health/ready`: whether the process runs, and whether it can serve requests.

use std::sync::Arc;
use std::time::Duration;

use access_control::limits::RateLimiter;
use axum::extract::State;
use events_log::Log;
use events_log::role::{Role, RoleState, RoleStatus};
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::tables::TablesHandle;
use projections::views::NodeViews;
use serde_json::{Value, json};

use crate::in_flight::InFlight;

/// The most that the in-memory tables may lag behind the log: older ones could admit a key that was revoked.
const TABLES_LAG_MAX: Duration = Duration::from_secs(2);

/// The parts whose state is reported.
pub struct Health {
    pub log: Log,
    pub tables: TablesHandle,
    pub views: NodeViews,
    pub in_flight: InFlight,
    /// The roles that this process may have for all nodes.
    pub roles: Vec<RoleStatus>,
    pub limits: Arc<RateLimiter>,
}

pub fn routes(health: Arc<Health>) -> Api {
    Api::of(Entrance::Open)
        .get("/health", ready, || described_ready("health"))
        .get("/health/ready", ready, || described_ready("health_ready"))
        .get("/health/live", live, described_live)
        .with_state(health)
}

fn described_live() -> Operation {
    let alive = object().required("status", schema::one_of(["ok"])).open();
    Operation::new("health_live", "Health", "Whether the process runs")
        .answers(StatusCode::OK, Answer::json("Alive", alive))
}

fn described_ready(id: &str) -> Operation {
    let parts = object()
        .required("ledger", schema::one_of(["ok", "unavailable"]))
        .required("tables", schema::one_of(["ok", "behind"]))
        .required("views", schema::one_of(["ok", "stopped", "off"]))
        .required("limits", schema::one_of(["off", "shared", "local"]));
    let state = || schema::one_of(["waiting", "working", "failing"]);
    let parts = Role::ALL.iter().fold(parts, |parts, role| parts.optional(role.as_str(), state())).open();
    let status = schema::one_of(["ok", "unavailable", "draining"]);
    let shape = object().required("status", status).required("parts", parts).open();
    let health = || schema::reference("Health");
    Operation::new(id, "Health", "Whether the gateway can do its work")
        .answers(StatusCode::OK, Answer::json("Ready", health()))
        .answers(StatusCode::SERVICE_UNAVAILABLE, Answer::json("Not ready", health()))
        .defines("Health", shape)
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

impl Health {
    /// Whether the gateway can do its work.
    pub async fn is_ready(&self) -> bool {
        ReadyParts::of(self).await.are_ready()
    }
}

/// The parts that readiness depends on.
struct ReadyParts {
    is_writable: bool,
    is_current: bool,
    is_draining: bool,
}

impl ReadyParts {
    async fn of(health: &Health) -> Self {
        Self {
            is_writable: health.log.is_writable() && health.log.is_current(),
            is_current: health.tables.wait_for(health.log.head().position, TABLES_LAG_MAX).await,
            is_draining: health.in_flight.is_leaving(),
        }
    }

    const fn are_ready(&self) -> bool {
        self.is_writable && self.is_current && !self.is_draining
    }
}

/// 503 from the shutdown signal on, while the ledger cannot be written, while the node does not know where a shared log ends,
/// and while the tables are behind. A stopped view and a failing role are reported, but do not make the gateway unready.
async fn ready(State(health): State<Arc<Health>>) -> (StatusCode, Json<Value>) {
    let parts = ReadyParts::of(&health).await;
    let followed = health.views.status().iter().all(|view| view.error.is_none());
    let is_ready = parts.are_ready();
    let word = |is_fine, otherwise: &'static str| if is_fine { "ok" } else { otherwise };
    let mut words = json!({
        "ledger": word(parts.is_writable, "unavailable"),
        "tables": word(parts.is_current, "behind"),
        "views": if health.views.are_kept() { word(followed, "stopped") } else { "off" },
        "limits": health.limits.sharing().as_str(),
    });
    for report in health.roles.iter().map(RoleStatus::read) {
        words[report.role.as_str()] = word_of(&report.state).into();
    }
    let status = if parts.is_draining { "draining" } else { word(is_ready, "unavailable") };
    let body = json!({ "status": status, "parts": words });
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

fn word_of(state: &RoleState) -> &'static str {
    match state {
        RoleState::Waiting => "waiting",
        RoleState::Working => "working",
        RoleState::Failing { .. } => "failing",
    }
}
