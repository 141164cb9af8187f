//! What a resource of administration looks like to a client: `id`, the fields of the body that made it, `created_at`
//! and `ended_at`. One form for the write side, which has the event, and for the read side, which has the catalogue.
//! No secret and no credential is in it, because none is in an event.

use chrono::{DateTime, Utc};
use events::event::admin::{Budget, Key, Model, Partner, Price, Provider, RateLimit, Tenant, User};
use events::limit::Measure;
use events::time::rfc3339;
use serde_json::{Map, Value, json};

/// A resource's newest state, as its last created or changed event carried it.
#[derive(Clone, Copy, Debug)]
pub enum ResourceState<'a> {
    Partner(&'a Partner),
    Tenant(&'a Tenant),
    User(&'a User),
    Key(&'a Key),
    Provider(&'a Provider),
    Model(&'a Model),
    Price(&'a Price),
    Budget(&'a Budget),
    RateLimit(&'a RateLimit),
}

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

/// The resource as a client sees it. A user's `name` and `email` are `null` here: see [`with_person`].
pub fn resource_json(state: ResourceState<'_>, lifetime: Lifetime) -> Value {
    with_lifetime(body_json(state), lifetime)
}

/// `id` and the body's fields alone: what the catalogue keeps. Absent optional fields are `null`.
pub fn body_json(state: ResourceState<'_>) -> Value {
    match state {
        ResourceState::Partner(partner) => json!({
            "id": partner.partner_id, "name": partner.name,
            "slug": partner.handles.slug, "external_id": partner.handles.external_id,
        }),
        ResourceState::Tenant(tenant) => json!({
            "id": tenant.tenant_id, "partner_id": tenant.partner_id, "name": tenant.name,
            "slug": tenant.handles.slug, "external_id": tenant.handles.external_id,
        }),
        ResourceState::User(user) => json!({
            "id": user.user_id, "tenant_id": user.tenant_id, "name": null, "email": null, "roles": user.roles,
            "slug": user.handles.slug, "external_id": user.handles.external_id,
        }),
        ResourceState::Key(key) => json!({
            "id": key.key_id, "user_id": key.user_id, "name": key.name, "permissions": key.permissions,
            "models": key.models, "expires_at": key.expires_at.map(rfc3339),
        }),
        ResourceState::Provider(provider) => json!({
            "id": provider.provider_id, "name": provider.name, "kind": provider.kind, "base_url": provider.base_url,
            "tenant_id": provider.tenant_id, "allow_private_network": provider.allow_private_network,
            "timeout_ms": provider.timeout_ms, "idle_timeout_ms": provider.idle_timeout_ms,
            "headers": provider.headers, "output_cap_field": provider.output_cap_field,
            "output_cap_field_given": provider.given_output_cap_field().is_some(), "allowed_fields": provider.allowed_fields,
        }),
        ResourceState::Model(model) => json!({
            "id": model.model_id, "name": model.name, "strategy": model.strategy, "targets": model.targets,
            "system_prefix": model.system_prefix, "tenant_id": model.tenant_id,
        }),
        ResourceState::Price(price) => json!({
            "id": price.price_id, "provider_id": price.provider_id, "model": price.model,
            "input_usd_per_mtok": price.rates.input_usd_per_mtok,
            "output_usd_per_mtok": price.rates.output_usd_per_mtok,
            "cache_read_usd_per_mtok": price.rates.cache_read_usd_per_mtok,
            "cache_write_usd_per_mtok": price.rates.cache_write_usd_per_mtok,
            "reasoning_usd_per_mtok": price.rates.reasoning_usd_per_mtok,
            "request_usd": price.rates.request_usd, "defaulted": price.defaulted(),
            "effective_from": rfc3339(price.effective_from),
        }),
        ResourceState::Budget(budget) => json!({
            "id": budget.budget_id, "scope": budget.scope, "limit_usd": budget.limit_usd, "period": budget.period,
            "alert_at": budget.alert_at, "when_short": budget.when_short, "enforcement": budget.enforcement,
        }),
        ResourceState::RateLimit(limit) => {
            let mut body = json!({ "id": limit.limit_id, "scope": limit.scope });
            for measure in Measure::ALL {
                body[measure.as_str()] = limit.bounds.get(measure).into();
            }
            body
        }
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
        assert_eq!(resource_json(ResourceState::Budget(&budget), lifetime), expected);
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
        assert_eq!(body_json(ResourceState::Provider(&provider)).get("secret_generation"), None);
        let user = User {
            user_id: id("usr_"),
            tenant_id: id("ten_"),
            roles: vec![],
            name_digest: "digest".into(),
            email_digest: None,
            handles: Handles::default(),
        };
        let person = Person { name: Some("Ada".into()), email: None };
        let body = with_person(body_json(ResourceState::User(&user)), &person);
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
        let body = body_json(ResourceState::Key(&key));
        assert_eq!((&body["permissions"], &body["models"]), (&json!(["models:use"]), &Value::Null));
    }
}
