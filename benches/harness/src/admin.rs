//! The operator's view of the gateway: resources are made, questions asked. Blocking, a connection each: not for load.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::blocking::BlockingWire;
use testing::upstream::prepared::model;

use crate::request;

pub const OPERATOR_KEY: &str = "operator-key-of-the-benchmark-0123456789";

const ANSWER_MAX: Duration = Duration::from_secs(10);
const VIEWS_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const MUCH_USD: &str = "1000000";

#[derive(Clone, Copy, Debug)]
pub struct Admin {
    address: SocketAddr,
}

/// Who asks in a measurement: a key under four budgets and a rate limit, with much room in all of them.
#[derive(Clone, Debug)]
pub struct Account {
    pub secret: String,
    pub user: String,
    /// That of the key.
    pub budget: String,
    pub rate_limit: String,
}

/// A key that can be deleted again.
#[derive(Clone, Debug)]
pub struct TenantKey {
    pub id: String,
    pub secret: String,
}

/// US dollars for a million tokens, as they are set for every model.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    pub input: &'static str,
    pub cache_read: &'static str,
    pub output: &'static str,
}

/// How far the slowest view is behind the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lag {
    pub events: u64,
    pub millis: u64,
}

impl Admin {
    pub const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Makes all that a request of the measurements needs: the upstream with its models, and somebody who may use them.
    pub fn set_up(&self, upstream: SocketAddr, price: Price) -> Account {
        let partner = self.make("/partners", &json!({ "name": "bench" }));
        let tenant = self.make("/tenants", &json!({ "partner_id": partner["id"], "name": "bench" }));
        let user = json!({ "tenant_id": tenant["id"], "name": "bench", "email": "bench@example.com" });
        let user = self.make("/users", &user);
        let key = self.make("/keys", &json!({ "user_id": user["id"], "name": "bench" }));
        let provider = json!({ "name": "bench", "kind": "openai", "base_url": format!("http://{upstream}/v1"),
                               "api_key": "upstream-key", "allow_private_network": true });
        let provider = self.make("/providers", &provider);
        model::ALL.iter().for_each(|model| self.serve(&provider["id"], model, price));
        for scope in [
            json!({ "partner_id": partner["id"] }),
            json!({ "tenant_id": tenant["id"] }),
            json!({ "user_id": user["id"] }),
        ] {
            self.open_budget(&scope, MUCH_USD);
        }
        let scope = json!({ "key_id": key["id"] });
        let budget = self.open_budget(&scope, MUCH_USD);
        let limit = self.make("/rate-limits", &json!({ "scope": scope, "requests_per_minute": 100_000_000 }));
        Account { secret: text(&key["secret"]), user: text(&user["id"]), budget, rate_limit: text(&limit["id"]) }
    }

    /// A second key of the same user, whose own budget is empty: it is refused.
    pub fn poor_key(&self, account: &Account) -> String {
        let key = self.make("/keys", &json!({ "user_id": account.user, "name": "poor" }));
        self.open_budget(&json!({ "key_id": key["id"] }), "0");
        text(&key["secret"])
    }

    /// The user of a tenant that has nothing else. No budget binds it, and no limit.
    pub fn user_of_own_tenant(&self, name: &str) -> String {
        let partner = self.make("/partners", &json!({ "name": name }));
        let tenant = self.make("/tenants", &json!({ "partner_id": partner["id"], "name": name }));
        let user = json!({ "tenant_id": tenant["id"], "name": name, "email": format!("{name}@example.com") });
        text(&self.make("/users", &user)["id"])
    }

    /// One more key of a user.
    pub fn key_of(&self, user: &str, permissions: &[&str]) -> TenantKey {
        let key = self.make("/keys", &json!({ "user_id": user, "name": "key", "permissions": permissions }));
        TenantKey { id: text(&key["id"]), secret: text(&key["secret"]) }
    }

    /// Ends a key. Errors: it was not answered as it has to be, or not within ten seconds.
    pub fn end_key(&self, key: &TenantKey) -> io::Result<()> {
        let path = format!("/v1/admin/keys/{}", key.id);
        self.call(&request::with_body("DELETE", &path, OPERATOR_KEY, b""), 200).map(drop)
    }

    /// Changes a rate limit to so many requests a minute. Errors: as for [`Admin::end_key`].
    pub fn change_limit(&self, rate_limit: &str, requests_per_minute: u64) -> io::Result<()> {
        let path = format!("/v1/admin/rate-limits/{rate_limit}");
        let body = json!({ "requests_per_minute": requests_per_minute }).to_string();
        self.call(&request::with_body("PATCH", &path, OPERATOR_KEY, body.as_bytes()), 200).map(drop)
    }

    fn serve(&self, provider: &Value, model: &str, price: Price) {
        let prices = json!({ "provider_id": provider, "model": model, "input_usd_per_mtok": price.input,
                             "cache_read_usd_per_mtok": price.cache_read, "output_usd_per_mtok": price.output });
        self.make("/prices", &prices);
        let target = json!({ "provider_id": provider, "model": model, "priority": 0, "weight": 1,
                             "context_window": 1_000_000, "max_output_tokens": 100_000 });
        self.make("/models", &json!({ "name": model, "strategy": "priority", "targets": [target] }));
    }

    fn open_budget(&self, scope: &Value, limit: &str) -> String {
        text(&self.make("/budgets", &json!({ "scope": scope, "limit_usd": limit, "period": "total" }))["id"])
    }

    fn make(&self, path: &str, body: &Value) -> Value {
        let path = format!("/v1/admin{path}");
        self.call(&request::post(&path, OPERATOR_KEY, body.to_string().as_bytes()), 201).expect("a new resource")
    }

    pub fn get(&self, path: &str) -> io::Result<Value> {
        self.call(&request::with_body("GET", path, OPERATOR_KEY, b""), 200)
    }

    /// Position of the log's last event.
    pub fn head(&self) -> u64 {
        self.get("/v1/log/head").expect("the log's head")["position"].as_u64().expect("a position")
    }

    /// What a budget was charged, as of the log's end.
    pub fn settled_usd(&self, budget: &str) -> String {
        let path = format!("/v1/budgets/{budget}?min_position={}", self.head());
        text(&self.get(&path).expect("a budget")["settled_usd"])
    }

    /// Of the view that is furthest behind.
    pub fn lag(&self) -> io::Result<Lag> {
        let views = self.get("/v1/projections")?;
        let number = |view: &Value, name: &str| view[name].as_u64().unwrap_or(0);
        let lags = views["items"].as_array().into_iter().flatten();
        let lags = lags.map(|view| Lag { events: number(view, "lag_events"), millis: number(view, "lag_ms") });
        Ok(lags.max().unwrap_or_default())
    }

    /// Until every view has taken in what the log has: what they cost belongs to the requests before.
    pub fn wait_for_views(&self) {
        let started = Instant::now();
        while self.lag().expect("the state of the views").events > 0 {
            assert!(started.elapsed() < VIEWS_MAX, "the views do not catch up within {VIEWS_MAX:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn call(&self, request: &[u8], status: u16) -> io::Result<Value> {
        let (got, body) = BlockingWire::open(self.address, ANSWER_MAX)?.ask(request)?;
        if got != status {
            return Err(io::Error::other(format!("wanted {status}, got {got}: {}", String::from_utf8_lossy(&body))));
        }
        serde_json::from_slice(&body).map_err(io::Error::other)
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
