//! The operator's client: creates resources and reads state. Blocking, with a connection per request: not for load.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::blocking::BlockingWire;
use testing::upstream::prepared::model;

use crate::request;

pub const OPERATOR_KEY: &str = "operator-key-of-the-benchmark-0123456789";

const RESPONSE_MAX: Duration = Duration::from_secs(10);
/// Building the views of millions of events takes minutes.
const VIEWS_MAX: Duration = Duration::from_secs(600);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const AMPLE_USD: &str = "1000000";

#[derive(Clone, Copy, Debug)]
pub struct Admin {
    address: SocketAddr,
}

/// A key under four budgets and a rate limit, all with ample room.
#[derive(Clone, Debug)]
pub struct Account {
    pub secret: String,
    pub user: String,
    /// The budget of the key.
    pub budget: String,
    pub rate_limit: String,
}

/// A tenant of a partner of its own, with one user.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub partner: String,
    pub id: String,
    pub user: String,
}

#[derive(Clone, Debug)]
pub struct TenantKey {
    pub id: String,
    pub secret: String,
}

/// US dollars per million tokens, the same for every model.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    pub input: &'static str,
    pub cache_read: &'static str,
    pub output: &'static str,
}

/// The distance of a view from the log's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lag {
    pub events: u64,
    pub millis: u64,
}

impl Admin {
    pub const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Creates everything that a measured request needs: the upstream with its models, and a key that may use them.
    pub fn set_up(&self, upstream: SocketAddr, price: Price) -> Account {
        let tenant = self.create_tenant("bench");
        let key = self.create("/keys", &json!({ "user_id": tenant.user, "name": "bench" }));
        let provider = json!({ "name": "bench", "kind": "openai", "base_url": format!("http://{upstream}/v1"),
                               "api_key": "upstream-key", "allow_private_network": true });
        let provider = self.create("/providers", &provider);
        model::ALL.iter().for_each(|model| self.serve(&provider["id"], model, price));
        for scope in [
            json!({ "partner_id": tenant.partner }),
            json!({ "tenant_id": tenant.id }),
            json!({ "user_id": tenant.user }),
        ] {
            self.open_budget(&scope, AMPLE_USD);
        }
        let scope = json!({ "key_id": key["id"] });
        let budget = self.open_budget(&scope, AMPLE_USD);
        let limit = self.create("/rate-limits", &json!({ "scope": scope, "requests_per_minute": 100_000_000 }));
        Account { secret: text(&key["secret"]), user: tenant.user, budget, rate_limit: text(&limit["id"]) }
    }

    /// Creates a second key of the user, whose requests are refused.
    pub fn create_key_with_empty_budget(&self, account: &Account) -> String {
        let key = self.create("/keys", &json!({ "user_id": account.user, "name": "poor" }));
        self.open_budget(&json!({ "key_id": key["id"] }), "0");
        text(&key["secret"])
    }

    /// Creates a tenant without budgets and limits.
    pub fn create_tenant(&self, name: &str) -> Tenant {
        let partner = text(&self.create("/partners", &json!({ "name": name }))["id"]);
        let id = text(&self.create("/tenants", &json!({ "partner_id": partner, "name": name }))["id"]);
        let user = json!({ "tenant_id": id, "name": name, "email": format!("{name}@example.com") });
        let user = text(&self.create("/users", &user)["id"]);
        Tenant { partner, id, user }
    }

    pub fn create_key(&self, user: &str, permissions: &[&str]) -> TenantKey {
        let key = self.create("/keys", &json!({ "user_id": user, "name": "key", "permissions": permissions }));
        TenantKey { id: text(&key["id"]), secret: text(&key["secret"]) }
    }

    /// Deletes a key. Errors: another status than 200, or no response within ten seconds.
    pub fn delete_key(&self, key: &TenantKey) -> io::Result<()> {
        self.delete(&format!("/keys/{}", key.id))
    }

    /// Deletes a resource; `path` is the part after `/v1/admin`. Errors: as for [`Admin::delete_key`].
    pub fn delete(&self, path: &str) -> io::Result<()> {
        let path = format!("/v1/admin{path}");
        self.call(&request::with_body("DELETE", &path, OPERATOR_KEY, b""), 200).map(drop)
    }

    /// Changes a rate limit. Errors: as for [`Admin::delete_key`].
    pub fn change_limit(&self, rate_limit: &str, requests_per_minute: u64) -> io::Result<()> {
        let path = format!("/v1/admin/rate-limits/{rate_limit}");
        let body = json!({ "requests_per_minute": requests_per_minute }).to_string();
        self.call(&request::with_body("PATCH", &path, OPERATOR_KEY, body.as_bytes()), 200).map(drop)
    }

    fn serve(&self, provider: &Value, model: &str, price: Price) {
        let prices = json!({ "provider_id": provider, "model": model, "input_usd_per_mtok": price.input,
                             "cache_read_usd_per_mtok": price.cache_read, "output_usd_per_mtok": price.output });
        self.create("/prices", &prices);
        let target = json!({ "provider_id": provider, "model": model, "priority": 0, "weight": 1,
                             "context_window": 1_000_000, "max_output_tokens": 100_000 });
        self.create("/models", &json!({ "name": model, "strategy": "priority", "targets": [target] }));
    }

    fn open_budget(&self, scope: &Value, limit: &str) -> String {
        text(&self.create("/budgets", &json!({ "scope": scope, "limit_usd": limit, "period": "total" }))["id"])
    }

    /// Creates a resource; `path` is the part after `/v1/admin`.
    pub fn create(&self, path: &str, body: &Value) -> Value {
        self.try_create(path, body).expect("a new resource")
    }

    /// Does the same as [`Admin::create`]. Errors: another status than 201, or no response within ten seconds.
    pub fn try_create(&self, path: &str, body: &Value) -> io::Result<Value> {
        let path = format!("/v1/admin{path}");
        self.call(&request::post(&path, OPERATOR_KEY, body.to_string().as_bytes()), 201)
    }

    /// Changes a resource; `path` is the part after `/v1/admin`.
    pub fn change(&self, path: &str, body: &Value) -> io::Result<Value> {
        let path = format!("/v1/admin{path}");
        self.call(&request::with_body("PATCH", &path, OPERATOR_KEY, body.to_string().as_bytes()), 200)
    }

    pub fn get(&self, path: &str) -> io::Result<Value> {
        self.call(&request::with_body("GET", path, OPERATOR_KEY, b""), 200)
    }

    /// The position of the log's last event.
    pub fn head(&self) -> u64 {
        self.get("/v1/log/head").expect("the log's head")["position"].as_u64().expect("a position")
    }

    /// The settled amount of a budget, as of the log's end.
    pub fn settled_usd(&self, budget: &str) -> String {
        let path = format!("/v1/budgets/{budget}?min_position={}", self.head());
        text(&self.get(&path).expect("a budget")["settled_usd"])
    }

    /// The lag of the view that is furthest behind.
    pub fn lag(&self) -> io::Result<Lag> {
        let views = self.get("/v1/projections")?;
        let number = |view: &Value, name: &str| view[name].as_u64().unwrap_or(0);
        let lags = views["items"].as_array().into_iter().flatten();
        let lags = lags.map(|view| Lag { events: number(view, "lag_events"), millis: number(view, "lag_ms") });
        Ok(lags.max().unwrap_or_default())
    }

    /// The page of metrics.
    pub fn metrics(&self) -> io::Result<String> {
        let page = self.ask(&request::with_body("GET", "/metrics", OPERATOR_KEY, b""), 200)?;
        String::from_utf8(page).map_err(io::Error::other)
    }

    /// Waits until every view is at the log's end, so that its work counts towards the requests that caused it.
    pub fn wait_for_views(&self) {
        let started = Instant::now();
        while self.lag().expect("the state of the views").events > 0 {
            assert!(started.elapsed() < VIEWS_MAX, "the views have not caught up within {VIEWS_MAX:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn call(&self, request: &[u8], status: u16) -> io::Result<Value> {
        serde_json::from_slice(&self.ask(request, status)?).map_err(io::Error::other)
    }

    fn ask(&self, request: &[u8], status: u16) -> io::Result<Vec<u8>> {
        let (got, body) = BlockingWire::open(self.address, RESPONSE_MAX)?.ask(request)?;
        if got != status {
            return Err(io::Error::other(format!("expected {status}, got {got}: {}", String::from_utf8_lossy(&body))));
        }
        Ok(body)
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
