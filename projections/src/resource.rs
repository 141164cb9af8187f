//! The JSON of a resource of administration: `id`, the fields of the body that created it, `created_at` and `ended_at`. The
//! write side, which has the event, and the read side, which has the catalogue, share it. It contains no secret and no
//! credential, because no event does.

use chrono::{DateTime, Utc};
use events::event::admin::UpstreamKey;
use events::event::{Resource, ResourceState, StreamKind};
use events::ids::{ProviderId, ProviderKeyId};
use events::time::rfc3339;
use events_log::PersonalData;
use serde_json::{Map, Value, json};

use crate::tables::{SetAside, Tables};

/// When a resource was created, and when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub created_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// The resource as a client sees it. A user's `name` and `email` are `null` here: see [`put_person`].
pub fn resource_json(state: &impl ResourceState, lifetime: Lifetime) -> Value {
    with_lifetime(state.body(), lifetime)
}

/// A stored body, completed with the values of the fields that events leave out.
pub fn completed(body: &str, kind: StreamKind) -> Result<Value, serde_json::Error> {
    let (mut complete, stored) = (Resource::left_out(kind), serde_json::from_str(body)?);
    if let (Value::Object(members), Value::Object(stored)) = (&mut complete, stored) {
        members.extend(stored);
    }
    Ok(complete)
}

/// Adds `created_at` and `ended_at`.
pub fn with_lifetime(mut body: Value, lifetime: Lifetime) -> Value {
    body["created_at"] = rfc3339(lifetime.created_at).into();
    body["ended_at"] = lifetime.ended_at.map(rfc3339).into();
    body
}

/// Puts a person's name and e-mail into the body of a user; `None` once the person is erased.
pub fn put_person(body: &mut Value, person: Option<&PersonalData>) {
    body["name"] = person.map(|person| person.name.as_str()).into();
    body["email"] = person.and_then(|person| person.email.as_deref()).into();
}

/// The members of a provider key that say whether requests use it: `state` and `set_aside`.
pub fn key_state(tables: &Tables, id: ProviderKeyId) -> Map<String, Value> {
    let (state, set_aside) = state_of(tables, UpstreamKey::Further(id));
    OF_PROVIDER_KEY.members(state.into(), set_aside)
}

/// The same members of a key that is in use.
pub fn key_in_use() -> Map<String, Value> {
    OF_PROVIDER_KEY.members(IN_USE.into(), None)
}

/// The members of a provider that say the same of its own key: `key_state` and `key_set_aside`. Requests use the key of a
/// provider without provider keys whatever its provider says to it.
pub fn own_key_state(tables: &Tables, id: ProviderId) -> Map<String, Value> {
    let (state, set_aside) = match state_of(tables, UpstreamKey::Own(id)) {
        (_, Some(_)) if !tables.has_provider_keys(id) => (IN_USE, None),
        state => state,
    };
    OF_PROVIDER.members(state.into(), set_aside)
}

/// The same members of a key that is in use.
pub fn own_key_in_use() -> Map<String, Value> {
    OF_PROVIDER.members(IN_USE.into(), None)
}

/// The same members of a provider that has no key of its own.
pub fn no_own_key() -> Map<String, Value> {
    OF_PROVIDER.members(Value::Null, None)
}

const IN_USE: &str = "in_use";
const OF_PROVIDER_KEY: StateNames = StateNames { state: "state", set_aside: "set_aside" };
const OF_PROVIDER: StateNames = StateNames { state: "key_state", set_aside: "key_set_aside" };

/// The names of the two members.
struct StateNames {
    state: &'static str,
    set_aside: &'static str,
}

impl StateNames {
    fn members(&self, state: Value, set_aside: Option<&SetAside>) -> Map<String, Value> {
        let set_aside = set_aside.map(|SetAside { reason, status, since, .. }| {
            json!({ "reason": reason, "status": status, "since": rfc3339(*since) })
        });
        Map::from_iter([(self.state.to_owned(), state), (self.set_aside.to_owned(), set_aside.into())])
    }
}

fn state_of(tables: &Tables, key: UpstreamKey) -> (&'static str, Option<&SetAside>) {
    match tables.secret_generation(key) {
        None => ("ended", None),
        Some(generation) => match tables.set_aside(key, generation) {
            None => (IN_USE, None),
            set_aside => ("set_aside", set_aside),
        },
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::{Budget, Key, Provider, ProviderKindName, Scope, User};
    use events::money::NanoUsd;
    use events::time::{Period, from_micros};
    use serde_json::json;

    use super::*;

    const ID: &str = "00000000000000000000000000000001";

    fn id<I: std::str::FromStr>(prefix: &str) -> I {
        format!("{prefix}{ID}").parse().ok().expect("an id")
    }

    #[test]
    fn a_budget_has_its_id_its_body_and_its_lifetime() {
        let budget = Budget {
            alert_at: vec!["0.5".parse().expect("a fraction")],
            ..Budget::new(id("bud_"), Scope::Tenant(id("ten_")), NanoUsd::new(5_000_000_000), Period::Total)
        };
        let lifetime = Lifetime { created_at: from_micros(1), ended_at: None };
        let expected = json!({
            "id": format!("bud_{ID}"), "scope": { "tenant_id": format!("ten_{ID}") }, "limit_usd": "5.000000000",
            "period": "total", "alert_at": ["0.5"], "when_short": "refuse", "enforcement": "hard",
            "labels": {}, "created_at": "1970-01-01T00:00:00.000001Z", "ended_at": null,
        });
        assert_eq!(resource_json(&budget, lifetime), expected);
    }

    #[test]
    fn a_providers_secret_generation_and_a_users_digests_stay_inside() {
        let provider = Provider {
            timeout_ms: 1,
            idle_timeout_ms: 1,
            secret_generation: 3,
            ..Provider::new(id("prv_"), "sim", ProviderKindName::literal("simulator"))
        };
        assert_eq!(provider.body().get("secret_generation"), None);
        let user = User::new(id("usr_"), id("ten_"), "digest");
        let person = PersonalData { subject: user.user_id, name: "Ada".into(), email: None, salt: Default::default() };
        let mut body = user.body();
        put_person(&mut body, Some(&person));
        let tenant = format!("ten_{ID}");
        assert_eq!(
            body,
            json!({
                "id": format!("usr_{ID}"), "tenant_id": tenant, "name": "Ada", "email": null, "roles": [],
                "slug": null, "external_id": null, "labels": {},
            })
        );
    }

    #[test]
    fn a_row_of_an_earlier_version_has_what_it_did_not_know() {
        let complete = completed(r#"{"id":"ten_1","name":"T","slug":"t"}"#, StreamKind::Tenant).expect("JSON");
        assert_eq!((&complete["name"], &complete["slug"]), (&json!("T"), &json!("t")));
        assert_eq!(complete.get("external_id"), Some(&Value::Null));
    }

    #[test]
    fn a_key_lists_its_permissions_by_their_names() {
        let key = Key::new(id("key_"), id("usr_"), "app");
        let body = key.body();
        assert_eq!((&body["permissions"], &body["models"]), (&json!(["models:use"]), &Value::Null));
    }
}
