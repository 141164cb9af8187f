//! What a resource of administration looks like to a client: `id`, the fields of the body that made it, `created_at`
//! and `ended_at`. One form for the write side, which has the event, and for the read side, which has the catalogue.
//! No secret and no credential is in it, because none is in an event.

use chrono::{DateTime, Utc};
use events::event::ResourceState;
use events::event::admin::{Budget, Key, Model, Partner, Price, Provider, RateLimit, Tenant, User};
use events::limit::Measure;
use events::time::rfc3339;
use serde_json::{Map, Value, json};

/// When a resource was made, and when it came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub created_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// Name and e-mail of a user, from the erasable side table; both `None` once the person is erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    pub name: Option<String>,
    pub email: Option<String>,
}

/// The state of a resource that can be shown to a client.
pub trait Shown: ResourceState {
    /// `id` and the body's fields alone: what the catalogue keeps. Absent optional fields are `null`, and so are a user's
    /// `name` and `email`: see [`with_person`].
    fn body(&self) -> Value;
}

/// The resource as a client sees it. A user's `name` and `email` are `null` here: see [`with_person`].
pub fn resource_json(state: &impl Shown, lifetime: Lifetime) -> Value {
    with_lifetime(state.body(), lifetime)
}

impl Shown for Partner {
    fn body(&self) -> Value {
        json!({
            "id": self.partner_id, "name": self.name,
            "slug": self.handles.slug, "external_id": self.handles.external_id,
        })
    }
}

impl Shown for Tenant {
    fn body(&self) -> Value {
        json!({
            "id": self.tenant_id, "partner_id": self.partner_id, "name": self.name,
            "slug": self.handles.slug, "external_id": self.handles.external_id,
        })
    }
}

impl Shown for User {
    fn body(&self) -> Value {
        json!({
            "id": self.user_id, "tenant_id": self.tenant_id, "name": null, "email": null, "roles": self.roles,
            "slug": self.handles.slug, "external_id": self.handles.external_id,
        })
    }
}

impl Shown for Key {
    fn body(&self) -> Value {
        json!({
            "id": self.key_id, "user_id": self.user_id, "name": self.name, "permissions": self.permissions,
            "models": self.models, "expires_at": self.expires_at.map(rfc3339),
        })
    }
}

impl Shown for Provider {
    fn body(&self) -> Value {
        json!({
            "id": self.provider_id, "name": self.name, "kind": self.kind, "base_url": self.base_url,
            "tenant_id": self.tenant_id, "allow_private_network": self.allow_private_network,
            "timeout_ms": self.timeout_ms, "idle_timeout_ms": self.idle_timeout_ms,
            "headers": self.headers, "output_cap_field": self.output_cap_field,
            "output_cap_field_given": self.given_output_cap_field().is_some(), "allowed_fields": self.allowed_fields,
        })
    }
}

impl Shown for Model {
    fn body(&self) -> Value {
        json!({
            "id": self.model_id, "name": self.name, "strategy": self.strategy, "targets": self.targets,
            "system_prefix": self.system_prefix, "tenant_id": self.tenant_id,
        })
    }
}

impl Shown for Price {
    fn body(&self) -> Value {
        json!({
            "id": self.price_id, "provider_id": self.provider_id, "model": self.model,
            "input_usd_per_mtok": self.rates.input_usd_per_mtok,
            "output_usd_per_mtok": self.rates.output_usd_per_mtok,
            "cache_read_usd_per_mtok": self.rates.cache_read_usd_per_mtok,
            "cache_write_usd_per_mtok": self.rates.cache_write_usd_per_mtok,
            "reasoning_usd_per_mtok": self.rates.reasoning_usd_per_mtok,
            "request_usd": self.rates.request_usd, "defaulted": self.defaulted(),
            "effective_from": rfc3339(self.effective_from),
        })
    }
}

impl Shown for Budget {
    fn body(&self) -> Value {
        json!({
            "id": self.budget_id, "scope": self.scope, "limit_usd": self.limit_usd, "period": self.period,
            "alert_at": self.alert_at, "when_short": self.when_short, "enforcement": self.enforcement,
        })
    }
}

impl Shown for RateLimit {
    fn body(&self) -> Value {
        let mut body = json!({ "id": self.limit_id, "scope": self.scope });
        for measure in Measure::ALL {
            body[measure.as_str()] = self.bounds.get(measure).into();
        }
        body
    }
}

/// Adds `created_at` and `ended_at`.
pub fn with_lifetime(mut body: Value, lifetime: Lifetime) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.insert("created_at".to_owned(), rfc3339(lifetime.created_at).into());
        fields.insert("ended_at".to_owned(), lifetime.ended_at.map(rfc3339).into());
    }
    body
}

/// Puts a person's name and e-mail into the body of a user.
pub fn with_person(mut body: Value, person: &Person) -> Value {
    if let Some(fields) = body.as_object_mut() {
        put(fields, "name", person.name.as_deref());
        put(fields, "email", person.email.as_deref());
    }
    body
}

fn put(fields: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    fields.insert(name.to_owned(), value.into());
}

#[cfg(test)]
mod tests {
    use events::event::admin::{Enforcement, Handles, Permission};
    use events::event::admin::{OutputCapField, ProviderKind, Scope, WhenShort};
    use events::money::NanoUsd;
    use events::time::{Period, from_micros};
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const ID: &str = "00000000000000000000000000000001";

    fn id<I: std::str::FromStr>(prefix: &str) -> I {
        format!("{prefix}{ID}").parse().ok().expect("an id")
    }

    #[test]
    fn a_budget_has_its_id_its_body_and_its_lifetime() {
        let budget = Budget {
            budget_id: id("bud_"),
            scope: Scope::Tenant(id("ten_")),
            limit_usd: NanoUsd::new(5_000_000_000),
            period: Period::Total,
            alert_at: vec!["0.5".parse().expect("a fraction")],
            when_short: WhenShort::Refuse,
            enforcement: Enforcement::Hard,
        };
        let lifetime = Lifetime { created_at: from_micros(1), ended_at: None };
        let expected = json!({
            "id": format!("bud_{ID}"), "scope": { "tenant_id": format!("ten_{ID}") }, "limit_usd": "5.000000000",
            "period": "total", "alert_at": ["0.5"], "when_short": "refuse", "enforcement": "hard",
            "created_at": "1970-01-01T00:00:00.000001Z", "ended_at": null,
        });
        assert_eq!(resource_json(&budget, lifetime), expected);
    }

    #[test]
    fn a_providers_secret_generation_and_a_users_digests_stay_inside() {
        let provider = Provider {
            provider_id: id("prv_"),
            name: "sim".into(),
            kind: ProviderKind::Simulator,
            base_url: None,
            tenant_id: None,
            allow_private_network: false,
            timeout_ms: 1,
            idle_timeout_ms: 1,
            headers: BTreeMap::new(),
            output_cap_field: OutputCapField::MaxTokens,
            output_cap_field_given: false,
            allowed_fields: BTreeSet::new(),
            secret_generation: 3,
        };
        assert_eq!(provider.body().get("secret_generation"), None);
        let user = User {
            user_id: id("usr_"),
            tenant_id: id("ten_"),
            roles: vec![],
            name_digest: "digest".into(),
            email_digest: None,
            handles: Handles::default(),
        };
        let person = Person { name: Some("Ada".into()), email: None };
        let body = with_person(user.body(), &person);
        let tenant = format!("ten_{ID}");
        assert_eq!(
            body,
            json!({
                "id": format!("usr_{ID}"), "tenant_id": tenant, "name": "Ada", "email": null, "roles": [],
                "slug": null, "external_id": null,
            })
        );
    }

    #[test]
    fn a_key_lists_its_permissions_by_their_names() {
        let key = Key {
            key_id: id("key_"),
            user_id: id("usr_"),
            name: "app".into(),
            permissions: vec![Permission::ModelsUse],
            models: None,
            expires_at: None,
        };
        let body = key.body();
        assert_eq!((&body["permissions"], &body["models"]), (&json!(["models:use"]), &Value::Null));
    }
}
