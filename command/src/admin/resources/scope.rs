//! The scope of a budget or a rate limit: `{"partner_id"}`, `{"tenant_id"}`, `{"team_id"}`, `{"user_id"}` or `{"key_id"}`, and
//! conditions that narrow it: `model`, and `metadata.NAME` for names of metadata.

use std::collections::BTreeMap;

use built_in_catalogue::MODEL_NAME_CHARS_MAX;
use events::event::admin::{NarrowedScope, Narrowing, ResourceBound, Scope};
use openapi::refusals;

use super::prelude::*;
use crate::admin::resource_bounds::{NARROWED_MAX, require_room_beside};

const OWNERS: &str = "partner_id, tenant_id, team_id, user_id, key_id";
/// Bounded because they are in every refusal.
const METADATA_MAX: usize = NarrowedScope::METADATA_MAX;
/// The same limits as in requests.
const METADATA_NAME_LEN_MAX: usize = 64;
const METADATA_VALUE_LEN_MAX: usize = 512;

pub fn scope() -> FieldType {
    FieldType::new(refusals::scope(), narrowed)
}

fn narrowed(field: Field) -> Result<NarrowedScope, FieldError> {
    let path = field.path().to_owned();
    let (mut owners, mut model, mut metadata) = (Vec::new(), None, BTreeMap::new());
    let members = field.map(NarrowedScope::MEMBERS_MAX, |_, member| Ok(member))?;
    if members.iter().filter(|(name, _)| NarrowedScope::OWNERS.contains(&name.as_str())).count() > 1 {
        return Err(FieldError::new(path, format!("must have exactly one of {OWNERS}")));
    }
    for (name, value) in members {
        match name.as_str() {
            "partner_id" => owners.push(Scope::Partner(value.parsed()?)),
            "tenant_id" => owners.push(Scope::Tenant(value.parsed()?)),
            "team_id" => owners.push(Scope::Team(value.parsed()?)),
            "user_id" => owners.push(Scope::User(value.parsed()?)),
            "key_id" => owners.push(Scope::Key(value.parsed()?)),
            NarrowedScope::MODEL => model = Some(value.text(MODEL_NAME_CHARS_MAX)?),
            member => {
                let name = name_of_metadata(member, &value)?;
                metadata.insert(name.to_owned(), value.text(METADATA_VALUE_LEN_MAX)?);
            }
        }
    }
    let [owner] = owners[..] else {
        return Err(FieldError::new(path, format!("must have exactly one of {OWNERS}")));
    };
    if metadata.len() > METADATA_MAX {
        return Err(FieldError::new(path, format!("must have at most {METADATA_MAX} names of metadata")));
    }
    Ok(NarrowedScope::narrowed(owner, Narrowing { model, metadata: metadata.into_iter().collect() }))
}

/// The name of metadata in that of a member, whose value is at fault if there is none.
fn name_of_metadata<'a>(member: &'a str, value: &Field) -> Result<&'a str, FieldError> {
    let Some(name) = member.strip_prefix(NarrowedScope::METADATA) else {
        return Err(value.error(format!("must be one of {OWNERS}, model, metadata.NAME")));
    };
    let is_name = (1..=METADATA_NAME_LEN_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !is_name {
        let reason = format!("must have a name of 1 to {METADATA_NAME_LEN_MAX} characters, without control characters");
        return Err(value.error(reason));
    }
    Ok(name)
}

/// Errors: too many bind all requests of the owner, or all under the same condition. They are counted in the tables, which lack what
/// is being created now.
pub fn require_room(
    scope: &NarrowedScope,
    under_same_condition: usize,
    bound: ResourceBound,
) -> Result<(), CommandError> {
    if scope.narrowing.is_none() {
        return Ok(require_room_beside(scope.owner, under_same_condition, bound)?);
    }
    if under_same_condition < NARROWED_MAX {
        return Ok(());
    }
    let what = bound.in_text();
    let reason = format!(
        "the owner has {NARROWED_MAX} {what} with the same condition already (the same metadata, or the same model), which \
         could all bind one request: delete one of them first"
    );
    Err(FieldError::new("scope", reason).into())
}

/// The name of the scope's owner, in reads only.
pub fn scope_name() -> Member {
    in_some_replies("scope_name", schema::nullable(schema::string()))
        .meaning("The name of the scope; null if you may not see it")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::admin::fields::Fields;
    use crate::admin::resource_bounds::BINDING_ALL_MAX;

    const TENANT: &str = "ten_00000000000000000000000000000001";

    fn read(scope: Value) -> Result<NarrowedScope, FieldError> {
        let body = json!({ "scope": scope }).to_string();
        Fields::of_body(body.as_bytes()).expect("a body").required("scope", narrowed)
    }

    #[test]
    fn what_is_no_scope_is_refused_where_it_is() {
        let many: serde_json::Map<_, _> = (0..5).map(|number| (format!("metadata.{number}"), json!("x"))).collect();
        let mut too_many = Value::Object(many);
        too_many["tenant_id"] = json!(TENANT);
        for (scope, field) in [
            (json!({ "model": "large" }), "scope"),
            (json!({ "tenant_id": TENANT, "key_id": "key_00000000000000000000000000000001" }), "scope"),
            (json!({ "tenant_id": TENANT, "modell": "large" }), "scope.modell"),
            (json!({ "tenant_id": TENANT, "model": "" }), "scope.model"),
            (json!({ "tenant_id": TENANT, "metadata.": "x" }), "scope.metadata."),
            (json!({ "tenant_id": TENANT, "metadata.project": 5 }), "scope.metadata.project"),
            (too_many, "scope"),
        ] {
            let refused = read(scope.clone()).expect_err(&scope.to_string());
            assert_eq!(refused.field, field, "{scope}: {refused}");
        }
    }

    #[test]
    fn fewer_bind_all_requests_than_those_under_one_condition() {
        let whole = read(json!({ "tenant_id": TENANT })).expect("a scope");
        let narrowed = read(json!({ "tenant_id": TENANT, "model": "large" })).expect("a scope");
        for (scope, max) in [(whole, BINDING_ALL_MAX), (narrowed, NARROWED_MAX)] {
            assert!(require_room(&scope, max - 1, ResourceBound::Budgets).is_ok());
            assert!(require_room(&scope, max, ResourceBound::Budgets).is_err());
        }
    }
}
