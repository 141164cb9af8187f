//! Operations in `/openapi.json`: every method of every path, with its parameters and the fields of its body. A field
//! that cannot be filled in here fails the test, so that nothing new goes unseen.

use serde_json::{Map, Value, json};

use super::house::House;

/// One method of one path.
pub struct Operation {
    pub method: String,
    pub path: String,
    /// Needs no key.
    pub is_open: bool,
    pub in_path: Vec<String>,
    pub in_query: Vec<String>,
    pub body: Option<Body>,
}

/// The fields of a body.
pub struct Body {
    fields: Vec<String>,
    required: Vec<String>,
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// Query parameters that choose a part or a form of what may be seen, and name nothing.
const HARMLESS: [&str; 7] = ["limit", "min_position", "as_of", "include_ended", "cursor", "format", "totals"];
/// Fields that name what is somebody's.
const REFERENCES: [&str; 9] =
    ["partner_id", "tenant_id", "user_id", "user_ids", "provider_id", "scope", "targets", "roles", "changes"];

pub fn all_of(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
            operations.push(Operation::read(document, path, method, item));
        }
    }
    operations
}

impl Operation {
    fn read(document: &Value, path: &str, method: &str, item: &Value) -> Self {
        let said = &item[method];
        let parameters = [&item["parameters"], &said["parameters"]];
        let parameters: Vec<&Value> = parameters.into_iter().filter_map(Value::as_array).flatten().collect();
        let named = |place: &str| {
            let here = parameters.iter().map(|one| resolved(document, one)).filter(|one| one["in"] == place);
            here.map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
        };
        let schema = &said["requestBody"]["content"]["application/json"]["schema"];
        Self {
            method: method.to_uppercase(),
            path: path.to_owned(),
            is_open: is_open(document, said),
            in_path: named("path"),
            in_query: named("query"),
            body: said.get("requestBody").map(|_| Body::read(document, schema)),
        }
    }

    /// The permission that it asks for; none where any key will do.
    pub fn permission(&self) -> Option<&'static str> {
        if self.path.ends_with("/content") {
            return Some("content:read");
        }
        if self.method == "GET" && self.path.starts_with("/v1/admin/audit-searches") {
            return Some("audit:read");
        }
        let needs = [
            ("/v1/admin/", "admin:access"),
            ("/v1/projections", "admin:access"),
            ("/v1/usage", "usage:read"),
            ("/v1/budgets", "usage:read"),
            ("/v1/inferences", "usage:read"),
            ("/v1/audit", "audit:read"),
            ("/v1/events", "events:read"),
            ("/v1/models", "models:use"),
            ("/v1/chat/", "models:use"),
            ("/v1/inference/", "models:use"),
            ("/oai/", "models:use"),
        ];
        needs.into_iter().find(|(prefix, _)| self.path.starts_with(prefix)).map(|(_, permission)| permission)
    }

    /// The path, about what is the house's.
    pub fn path_of(&self, house: &House) -> String {
        let filled = |segment: &str, before: &str| match segment.strip_prefix('{') {
            None => segment.to_owned(),
            Some(name) => self.path_value(before, name.trim_end_matches('}'), house),
        };
        let segments: Vec<&str> = self.path.split('/').collect();
        let before = std::iter::once("").chain(segments.iter().copied());
        segments.iter().zip(before).map(|(segment, before)| filled(segment, before)).collect::<Vec<_>>().join("/")
    }

    fn path_value(&self, of: &str, name: &str, house: &House) -> String {
        let value = match (of, name) {
            ("partners", "id") => &house.partner,
            ("tenants", "id") => &house.tenant,
            ("users" | "subjects", "id") => &house.user,
            ("teams", "id") => &house.team,
            ("keys", "id") => &house.key,
            ("providers", "id") => &house.provider,
            ("provider-keys", "id") => &house.provider_key,
            ("models", "id") => &house.model,
            ("models", "model" | "name" | "*name") => &house.model_name,
            ("prices", "id") => &house.price,
            ("budgets", "id") => &house.budget,
            ("rate-limits", "id") => &house.limit,
            ("audit-searches", "id") => &house.search,
            ("inferences", "request_id") => &house.request,
            // A view is the platform's.
            ("views", "name") => return "budgets".to_owned(),
            other => panic!("{} {}: what is {other:?}? Say here how a stranger would fill it", self.method, self.path),
        };
        value.clone()
    }

    /// Query strings that ask for what is the house's, and one that asks for nothing.
    pub fn queries(&self, house: &House) -> Vec<String> {
        let mut queries = vec![String::new()];
        for name in self.in_query.iter().filter(|name| !HARMLESS.contains(&name.as_str())) {
            let values = self.query_values(name, house);
            queries.extend(values.iter().map(|value| format!("?{name}={}", value.replace(' ', "%20"))));
        }
        queries
    }

    fn query_values(&self, name: &str, house: &House) -> Vec<String> {
        let one = |value: &str| vec![value.to_owned()];
        match name {
            "partner_id" => one(&house.partner),
            "tenant_id" => one(&house.tenant),
            "user_id" => one(&house.user),
            "key_id" => one(&house.key),
            "partner" => {
                vec![house.partner.clone(), house.partner_slug.clone(), format!("Partner {}", house.partner_slug)]
            }
            "tenant" => [house.tenant.clone()].into_iter().chain(called("Tenant", &house.slug)).collect(),
            "user" => vec![house.user.clone(), format!("user-{}", house.slug), format!("User {}", house.slug)],
            "key" => vec![house.key.clone(), format!("Key {}", house.slug)],
            "provider_id" => one(&house.provider),
            "provider" => vec![house.provider.clone(), format!("Provider {}", house.slug)],
            "model" => one(&house.model_name),
            "backend" => one(&format!("Provider {}/echo", house.slug)),
            "name" => vec![format!("Tenant {}", house.slug), house.model_name.clone()],
            "slug" => vec![house.slug.clone(), format!("user-{}", house.slug)],
            "external_id" => one(&format!("ext-{}", house.slug)),
            "actor" => vec![house.key.clone(), format!("Key {}", house.slug)],
            "resource" => [format!("key/{}", house.key), house.budget.clone(), format!("tenant/{}", house.slug)]
                .into_iter()
                .chain(called("User", &house.slug))
                .collect(),
            "search" => one(&house.search),
            "action" => one("tenant.created"),
            "category" => vec!["reads".to_owned(), "administration,access".to_owned()],
            "severity" => one("notice"),
            "status" => one("completed"),
            "shadow_of" => one(&house.request),
            "dry_run" | "force" => one("true"),
            "payer" => vec!["own".to_owned(), "brokered".to_owned()],
            "q" => vec![house.slug.clone(), house.tenant.clone()],
            "types" => one("tenant.created.v1"),
            "after" => one("0"),
            "from" | "day" | "week" => one("2020-01-01"),
            "to" => one("2100-01-01"),
            "hour" => one("2020-01-01T00:00:00Z"),
            "month" => one("2020-01"),
            "group_by" => ["partner,tenant,user,key,model,provider,backend,payer", "tenant", "metadata.team"]
                .map(Into::into)
                .to_vec(),
            metadata if metadata.starts_with("metadata.") => one("red"),
            other => panic!("{} {}: what is ?{other}? Say here how a stranger would fill it", self.method, self.path),
        }
    }

    /// Bodies that each name one thing of the house, and have what they must have from `own` beside it.
    pub fn bodies(&self, own: &House, house: &House) -> Vec<Value> {
        let Some(body) = &self.body else { return vec![Value::Null] };
        if !self.path.starts_with("/v1/admin/") {
            let mut asking = json!({ "model": house.model_name });
            for name in &body.required {
                match name.as_str() {
                    "model" => {}
                    "messages" => asking[name] = json!([{ "role": "user", "content": "hello" }]),
                    "input" | "prompt" => asking[name] = json!("hello"),
                    "max_tokens" => asking[name] = json!(16),
                    other => panic!("{}: what is {other}? Say here how a stranger would fill it", self.path),
                }
            }
            return vec![asking];
        }
        let base = self.base(body, own);
        let mut bodies = Vec::new();
        for name in &body.fields {
            // A field that nothing is known of is not sent unseen.
            let values = self.values(name, house);
            if REFERENCES.contains(&name.as_str()) {
                bodies.extend(values.into_iter().map(|value| with(&base, name, value)));
            }
        }
        // On what is the house's already, a change of anything will do.
        if bodies.is_empty() || !self.in_path.is_empty() {
            bodies.push(Value::Object(base));
        }
        bodies
    }

    /// Returns a body of the stranger's own: one that is refused is refused for what is foreign in it.
    fn base(&self, body: &Body, own: &House) -> Map<String, Value> {
        let is_making = self.in_path.is_empty();
        let usual = ["tenant_id", "requests_per_minute"].map(str::to_owned);
        let usual = usual.iter().filter(|name| is_making && body.fields.contains(name));
        body.required.iter().chain(usual).map(|name| (name.clone(), self.values(name, own)[0].clone())).collect()
    }

    fn values(&self, name: &str, of: &House) -> Vec<Value> {
        let target = json!([{ "provider_id": of.provider, "model": "echo", "default_max_output_tokens": 16 }]);
        match name {
            "name" => vec![json!("spy")],
            "partner_id" => vec![json!(of.partner)],
            "tenant_id" => vec![json!(of.tenant)],
            "user_id" => vec![json!(of.user)],
            "user_ids" => vec![json!([of.user])],
            "provider_id" => vec![json!(of.provider)],
            "scope" => vec![
                json!({ "user_id": of.user }),
                json!({ "key_id": of.key }),
                json!({ "team_id": of.team }),
                json!({ "tenant_id": of.tenant }),
                json!({ "partner_id": of.partner }),
            ],
            "roles" => vec![
                json!([{ "role": "auditor", "scope": { "tenant_id": of.tenant } }]),
                json!([{ "role": "auditor", "scope": { "partner_id": of.partner } }]),
            ],
            "targets" => vec![target],
            "changes" => changes_of(of),
            "rules" => vec![json!([{ "when": "true", "strategy": "cost" }])],
            "request" => vec![json!({ "messages": [{ "role": "user", "content": "hello" }] })],
            "kind" => vec![json!("simulator")],
            "api_key" => vec![json!("k")],
            "model" => vec![json!("echo")],
            "limit_usd" | "input_usd_per_mtok" | "output_usd_per_mtok" => vec![json!("1")],
            "filter" => vec![json!({ "actor": of.key, "q": of.slug })],
            "period" => vec![json!("total")],
            "requests_per_minute" => vec![json!(1)],
            // Neither needed nor somebody's.
            "email"
            | "slug"
            | "external_id"
            | "labels"
            | "bounds"
            | "based_on"
            | "own_providers"
            | "content_policy"
            | "required_terms"
            | "default_strategy"
            | "terms"
            | "content_days"
            | "permissions"
            | "models"
            | "expires_at"
            | "overlap_seconds"
            | "base_url"
            | "weight"
            | "allow_private_network"
            | "timeout_ms"
            | "idle_timeout_ms"
            | "headers"
            | "secret_headers"
            | "output_cap_field"
            | "billed_by"
            | "allowed_fields"
            | "api_version"
            | "server"
            | "region"
            | "strategy"
            | "system_prefix"
            | "maintenance"
            | "affinity"
            | "canary"
            | "hedge_after_ms"
            | "shadow"
            | "alias"
            | "deprecated_at"
            | "retires_at"
            | "successor"
            | "path"
            | "request_usd"
            | "search_usd"
            | "input_image_usd"
            | "tiers"
            | "effective_from"
            | "alert_at"
            | "when_short"
            | "enforcement"
            | "when_unshared"
            | "requests_per_hour"
            | "requests_per_day"
            | "tokens_per_minute"
            | "tokens_per_day"
            | "concurrent_requests" => vec![Value::Null],
            // A catalogue is no resource, and refers to none.
            "$schema" | "schema" | "version" | "sources" | "providers" | "aliases" => vec![Value::Null],
            "discover_models" | "legal_hold" => vec![json!(false)],
            price if price.ends_with("_usd_per_mtok") => vec![Value::Null],
            other => panic!("{} {}: what is {other:?}? Say here how a stranger would fill it", self.method, self.path),
        }
    }
}

/// Lists of changes that each have one of what is the house's.
fn changes_of(house: &House) -> Vec<Value> {
    let creates =
        |path: &str, body: Value| json!({ "method": "POST", "path": format!("/v1/admin/{path}"), "body": body });
    let of_house = [
        ("tenants", &house.tenant),
        ("users", &house.user),
        ("teams", &house.team),
        ("providers", &house.provider),
        ("provider-keys", &house.provider_key),
        ("models", &house.model),
        ("prices", &house.price),
        ("budgets", &house.budget),
        ("rate-limits", &house.limit),
        ("audit-searches", &house.search),
    ];
    let on_house = of_house.into_iter().flat_map(|(path, id)| {
        ["PATCH", "DELETE"].map(|method| json!({ "method": method, "path": format!("/v1/admin/{path}/{id}") }))
    });
    let naming_house = [
        creates("users", json!({ "tenant_id": house.tenant, "name": "spy" })),
        creates("budgets", json!({ "scope": { "user_id": house.user }, "limit_usd": "1", "period": "total" })),
    ];
    on_house.chain(naming_house).map(|change| json!([change])).collect()
}

/// Its slug, its external id and its name.
fn called(what: &str, slug: &str) -> [String; 3] {
    [slug.to_owned(), format!("ext-{slug}"), format!("{what} {slug}")]
}

impl Body {
    fn read(document: &Value, schema: &Value) -> Self {
        let schema = resolved(document, schema);
        let fields = schema["properties"].as_object().map(|fields| fields.keys().cloned().collect());
        let required = schema["required"].as_array().into_iter().flatten();
        Self {
            fields: fields.unwrap_or_default(),
            required: required.map(|name| name.as_str().expect("a name").to_owned()).collect(),
        }
    }
}

fn with(base: &Map<String, Value>, name: &str, value: Value) -> Value {
    let mut body = base.clone();
    body.insert(name.to_owned(), value);
    Value::Object(body)
}

/// Returns the value that a `$ref` leads to.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(path) = value["$ref"].as_str() else { return value };
    document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path} leads nowhere"))
}

/// True if no key is asked for. An operation that says nothing asks for what the whole document asks for.
fn is_open(document: &Value, said: &Value) -> bool {
    let security = said.get("security").or_else(|| document.get("security")).and_then(Value::as_array);
    security.is_none_or(|ways| ways.is_empty() || ways.iter().any(|way| way.as_object().is_some_and(Map::is_empty)))
}
