//! The bodies that create and change resources, for programs that prepare them without a gateway, as `ledgerway apply` does.
//! All of it follows from the declarations and rules that the routes read bodies by.

use std::sync::LazyLock;

use events::event::StreamKind;
use events::event::admin::{Budget, Model, Partner, Price, Provider, RateLimit, Team, Tenant, User};
use serde_json::{Map, Value, json};

use super::administered::Administered;
use super::declaration::Declaration;
use super::field_values::state_of;
use super::fields::{FieldError, Fields};
use super::lifecycle::RuleError;

/// The fields of a body.
pub type Body = Map<String, Value>;

/// The bodies of one kind of resource.
#[derive(Clone, Copy)]
pub struct BodyFormat {
    pub kind: StreamKind,
    /// The path of the collection.
    pub path: &'static str,
    declared: &'static LazyLock<Declaration>,
    normal: fn(&Body) -> Result<Body, FieldError>,
}

pub const PARTNER: BodyFormat = BodyFormat::of::<Partner>();
pub const TENANT: BodyFormat = BodyFormat::of::<Tenant>();
pub const USER: BodyFormat = BodyFormat::of::<User>();
pub const TEAM: BodyFormat = BodyFormat::of::<Team>();
pub const PROVIDER: BodyFormat = BodyFormat::of::<Provider>();
pub const MODEL: BodyFormat = BodyFormat::of::<Model>();
pub const PRICE: BodyFormat = BodyFormat::of::<Price>();
pub const BUDGET: BodyFormat = BodyFormat::of::<Budget>();
pub const RATE_LIMIT: BodyFormat = BodyFormat::of::<RateLimit>();

impl BodyFormat {
    const fn of<R: Administered>() -> Self {
        Self { kind: R::KIND, path: R::PATH, declared: R::DECLARATION, normal: normal::<R> }
    }

    /// The prefix of the ids.
    pub fn id_prefix(&self) -> &'static str {
        self.declared.prefix
    }

    /// The JSON Schema of the body that creates a resource.
    pub fn schema(&self) -> Value {
        json!(self.declared.creation())
    }

    /// The fields that only a creation can set.
    pub fn fixed_fields(&self) -> Vec<&'static str> {
        self.declared.members.fixed_names()
    }

    /// The body that would create a resource as a reply shows it. It has no field that is derived from others, or kept secret.
    pub fn body_of(&self, reply: &Value) -> Body {
        let derived = reply["defaulted"].as_array();
        let is_derived = |name: &str| {
            derived.is_some_and(|derived| derived.iter().any(|one| one == name))
                || reply[format!("{name}_given")] == json!(false)
        };
        let names = self.declared.members.shown_names().into_iter().filter(|name| !is_derived(name));
        let fields = names.map(|name| (name.to_owned(), reply[name].clone()));
        fields.filter(|(_, value)| !value.is_null()).collect()
    }

    /// The normal form of a body that creates a resource: with the defaults of the fields that it omits, and each value as replies
    /// show it. Two bodies that make the same resource have the same normal form, but for a secret, which it does not have.
    ///
    /// Errors: the first field that a gateway would refuse whatever else it has.
    pub fn normal(&self, body: &Body) -> Result<Body, FieldError> {
        (self.normal)(body)
    }
}

fn normal<R: Administered>(body: &Body) -> Result<Body, FieldError> {
    let members = &R::DECLARATION.members;
    let fields = Fields::of_members(body.clone()).refuse_unknown(&members.names())?;
    let mut given = members.read_creation(fields)?;
    let beside = R::complete(&mut given)?;
    // The normal form has no id, so any will do.
    given.put(R::ID_FIELD, format!("{}{:032}", R::DECLARATION.prefix, 0));
    let state: R = state_of(given.into_members(), R::derive).map_err(RuleError::from)?;
    let mut normal = BodyFormat::of::<R>().body_of(&state.validated_new()?.body());
    normal.extend(beside);
    normal.retain(|_, value| !value.is_null());
    Ok(normal)
}

/// An error of no field is one of the whole body.
impl From<RuleError> for FieldError {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Field(error) => error,
            other => Self::new("", other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [BodyFormat; 9] = [PARTNER, TENANT, USER, TEAM, PROVIDER, MODEL, PRICE, BUDGET, RATE_LIMIT];

    fn body(value: Value) -> Body {
        match value {
            Value::Object(body) => body,
            other => panic!("{other} is no object"),
        }
    }

    fn owned(format: BodyFormat) -> Body {
        let mut example = body(format.declared.example.clone());
        for (kind, field, id) in [
            (StreamKind::Tenant, "partner_id", "par_00000000000000000000000000000001"),
            (StreamKind::User, "tenant_id", "ten_00000000000000000000000000000001"),
            (StreamKind::Team, "tenant_id", "ten_00000000000000000000000000000001"),
        ] {
            if format.kind == kind {
                example.insert(field.to_owned(), id.into());
            }
        }
        example
    }

    #[test]
    fn a_normal_form_is_its_own_normal_form() {
        for format in EVERY {
            let normal = format.normal(&owned(format)).expect("an example is right");
            assert!(normal.len() >= owned(format).len(), "{normal:?}");
            assert_eq!(format.normal(&normal), Ok(normal), "{}", format.path);
        }
    }

    #[test]
    fn money_times_roles_and_alerts_are_as_replies_show_them() {
        let mut budget = owned(BUDGET);
        budget.insert("alert_at".to_owned(), json!(["1", "0.5"]));
        let normal = BUDGET.normal(&budget).expect("a budget");
        assert_eq!((&normal["limit_usd"], &normal["alert_at"]), (&json!("5.000000000"), &json!(["0.5", "1"])));
        let tenant = "ten_00000000000000000000000000000001";
        let roles = json!([{ "role": "analyst", "scope": { "tenant_id": tenant } }]);
        let normal = USER.normal(&owned(USER)).expect("a user");
        assert_eq!((&normal["roles"], &normal["name"]), (&roles, &json!("Ada")));
        assert!(!normal.contains_key("name_digest"));
        let normal = TENANT.normal(&owned(TENANT)).expect("a tenant");
        assert_eq!(normal["own_providers"], json!(false), "events leave it out, and replies do not");
        assert!(!PRICE.normal(&owned(PRICE)).expect("a price").contains_key("effective_from"));
    }

    #[test]
    fn rules_of_several_fields_are_checked() {
        let mut model = owned(MODEL);
        model.insert("targets".to_owned(), json!([]));
        assert_eq!(MODEL.normal(&model).expect_err("refused").field, "targets");
        let simulator = body(json!({ "name": "sim", "kind": "simulator", "api_key": "k" }));
        assert_eq!(PROVIDER.normal(&simulator).expect_err("refused").field, "api_key");
        let nameless = body(json!({ "nmae": "x" }));
        assert_eq!(PARTNER.normal(&nameless).expect_err("refused").reason, "unknown field; did you mean name?");
    }

    #[test]
    fn what_a_reply_derives_is_not_in_its_body() {
        let reply = json!({
            "id": "prc_00000000000000000000000000000001", "model": "m", "input_usd_per_mtok": "1.000000000",
            "cache_read_usd_per_mtok": "1.000000000", "defaulted": ["cache_read_usd_per_mtok"], "origin": null,
        });
        let names: Vec<String> = PRICE.body_of(&reply).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["input_usd_per_mtok", "model"]);
        let reply = json!({ "name": "p", "output_cap_field": "max_tokens", "output_cap_field_given": false });
        assert_eq!(PROVIDER.body_of(&reply), body(json!({ "name": "p" })));
    }
}
