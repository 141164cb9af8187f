//! The resources that a hostile tenant creates, of the kinds that its administrator may: of each as many as it is let, in batches.

use serde_json::{Value, json};

use super::{below, own};
use crate::random::SplitMix64;

/// US dollars for a million tokens, more than any provider asks.
const ABSURD_USD: &str = "100000";
/// Names of metadata to which budgets and limits are narrowed. By the even ones they bind requests, as many as may; each of the
/// others is narrowed to a value of its own.
const NAMES: u64 = 8;
const BINDING: &str = "x";
/// The most alerts that a budget may have.
const ALERTS: u32 = 16;
/// The bytes of most prefixes of models, and of one in so many of them the most.
const PREFIX_BYTES: usize = 1000;
const LONGEST_PREFIX_BYTES: usize = 100_000;
const LONGEST_ONE_IN: u64 = 200;

/// The kinds of resources, and how often each is drawn.
const KINDS: [Kind; 12] = [
    Kind::User,
    Kind::Team,
    Kind::Key,
    Kind::Model,
    Kind::Price,
    Kind::Provider,
    Kind::AuditSearch,
    Kind::RateLimit,
    Kind::RateLimit,
    Kind::Budget,
    Kind::Budget,
    Kind::Budget,
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    Team,
    Key,
    Model,
    Price,
    Provider,
    AuditSearch,
    RateLimit,
    Budget,
}

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::User => "/v1/admin/users",
            Self::Team => "/v1/admin/teams",
            Self::Key => "/v1/admin/keys",
            Self::Model => "/v1/admin/models",
            Self::Price => "/v1/admin/prices",
            Self::Provider => "/v1/admin/providers",
            Self::AuditSearch => "/v1/admin/audit-searches",
            Self::RateLimit => "/v1/admin/rate-limits",
            Self::Budget => "/v1/admin/budgets",
        }
    }
}

/// A tenant's ids, and how much it has tried to create.
pub struct Resources {
    pub tenant: Value,
    pub user: Value,
    /// The provider of its own at the upstream.
    pub provider: Value,
    pub made: u64,
}

impl Resources {
    /// Returns the path and the body of a request that creates several resources of one kind; one key, which cannot be created
    /// with others.
    pub fn draw(&mut self, random: &mut SplitMix64, batch: u64) -> (&'static str, Value) {
        let at = usize::try_from(below(random, KINDS.len() as u64)).unwrap_or(0);
        let kind = KINDS.get(at).copied().unwrap_or(Kind::Budget);
        if kind == Kind::Key {
            return (kind.path(), self.next(kind, random));
        }
        let change = |body: Value| json!({ "method": "POST", "path": kind.path(), "body": body });
        let changes: Vec<Value> = (0..batch).map(|_| change(self.next(kind, random))).collect();
        ("/v1/admin/apply", json!({ "changes": changes }))
    }

    fn next(&mut self, kind: Kind, random: &mut SplitMix64) -> Value {
        self.made += 1;
        let (number, tenant) = (self.made, &self.tenant);
        let name = format!("n{number}");
        match kind {
            Kind::User | Kind::Team => json!({ "tenant_id": tenant, "name": name }),
            Kind::Key => json!({ "user_id": self.user, "name": name }),
            Kind::Model => {
                let is_long = below(random, LONGEST_ONE_IN) == 0;
                let prefix = "x".repeat(if is_long { LONGEST_PREFIX_BYTES } else { PREFIX_BYTES });
                json!({ "tenant_id": tenant, "name": name, "system_prefix": prefix, "targets": targets(&self.provider, &name) })
            }
            Kind::Price => price(&self.provider, &name),
            Kind::Provider => json!({ "tenant_id": tenant, "name": name, "kind": "simulator" }),
            Kind::AuditSearch => json!({ "tenant_id": tenant, "name": name, "filter": { "severity": "warning" } }),
            Kind::RateLimit => json!({ "scope": narrowed(&self.user, number), "requests_per_minute": 1_000_000 }),
            Kind::Budget => {
                let fractions: Vec<String> = (1..=ALERTS).map(|part| format!("0.{part:09}")).collect();
                let scope = narrowed(&self.user, number);
                json!({ "scope": scope, "limit_usd": "1000000", "period": "day", "alert_at": fractions })
            }
        }
    }
}

/// The metadata of a request that as many narrowed budgets and limits bind as may.
pub fn binding_metadata() -> Value {
    json!({ "k0": BINDING, "k2": BINDING })
}

/// A scope of its user: budgets and limits of the tenant itself are not for its administrator to create.
fn narrowed(user: &Value, number: u64) -> Value {
    let name = number % NAMES;
    let value = if name.is_multiple_of(2) { BINDING.to_owned() } else { format!("v{number}") };
    let mut scope = json!({ "user_id": user });
    scope[format!("metadata.k{name}")] = json!(value);
    scope
}

/// The changes that add a price at a provider and a model of a tenant's own.
pub fn priced_model(tenant: &Value, provider: &Value, model: &str) -> [Value; 2] {
    let change = |path: &str, body: Value| json!({ "method": "POST", "path": path, "body": body });
    let frontend = json!({ "tenant_id": tenant, "name": own(model), "targets": targets(provider, model) });
    [change(Kind::Price.path(), price(provider, model)), change(Kind::Model.path(), frontend)]
}

fn price(provider: &Value, model: &str) -> Value {
    json!({ "provider_id": provider, "model": model, "input_usd_per_mtok": ABSURD_USD, "output_usd_per_mtok": ABSURD_USD })
}

fn targets(provider: &Value, model: &str) -> Value {
    json!([{ "provider_id": provider, "model": model, "default_max_output_tokens": 64 }])
}
