//! The scope of a budget or a rate limit: `{"partner_id"}`, `{"tenant_id"}`, `{"user_id"}` or `{"key_id"}`.

use events::event::admin::Scope;
use openapi::{refusals, schema};

use crate::admin::declaration::{Member, in_some_replies};
use crate::admin::field_type::FieldType;
use crate::admin::fields::{Field, FieldError};

const NAMES: &str = "partner_id, tenant_id, user_id, key_id";

pub fn scope() -> FieldType {
    FieldType::new(refusals::scope(), named)
}

fn named(field: Field) -> Result<Scope, FieldError> {
    let (name, id) = field.object()?.only(NAMES)?;
    match name.as_str() {
        "partner_id" => Ok(Scope::Partner(id.parsed()?)),
        "tenant_id" => Ok(Scope::Tenant(id.parsed()?)),
        "user_id" => Ok(Scope::User(id.parsed()?)),
        "key_id" => Ok(Scope::Key(id.parsed()?)),
        _ => Err(id.error(format!("must be one of {NAMES}"))),
    }
}

/// The name of the scope's owner, in reads only.
pub fn scope_name() -> Member {
    in_some_replies("scope_name", schema::nullable(schema::string()))
        .meaning("The name of the scope; null if you may not see it")
}
