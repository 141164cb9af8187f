//! A user: a person or service of one tenant, which never changes. Events have only digests of name and e-mail; the texts are in
//! the erasable side table. The end of a user stops its keys.

use std::sync::LazyLock;

use events::event::Chain;
use events::event::admin::{Reach, RoleGrant, User, UserRole};
use events::ids::{PartnerId, TenantId, UserId};
use events::named::NamedValue;
use events_log::{PersonalData, SideRow};
use openapi::schema::{self, object};
use projections::tables::Tables;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::NAME_LEN_MAX;
use super::handles;
use super::labels::labels;
use super::person::digest;
use crate::admin::admin_context::AdminContext;
use crate::admin::administered::{Administered, CommandPlan, PlanResult};
use crate::admin::declaration::{Declaration, defaulting, optional, required};
use crate::admin::error::CommandError;
use crate::admin::field_type::{FieldType, id, text, text_that};
use crate::admin::field_values::{FieldValues, Patch};
use crate::admin::fields::{Field, FieldError};
use crate::admin::lifecycle::{Command, RuleError, Rules};

const EMAIL_LEN_MAX: usize = 320;
const ROLES_LEN_MAX: usize = 32;
const SALT_LEN: usize = 16;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let role = || schema::one_of_names(UserRole::NAMED);
    let scope = || {
        let owner = object().optional("partner_id", schema::id(PartnerId::PREFIX));
        let owner = owner.optional("tenant_id", schema::id(TenantId::PREFIX)).exactly_one();
        schema::either([schema::one_of(["platform"]), owner])
    };
    let tenants_own = "Default: the user's tenant";
    let granted = object().required("role", role());
    let granted = granted.optional_as("scope", schema::nullable(scope()), tenants_own).closed();
    let shown = object().required("role", role()).required("scope", scope()).open();
    let form = r"^[^\s@\u0000-\u001f\u007f-\u009f]+@[^\s\u0000-\u001f\u007f-\u009f]+$";
    let form = schema::formed_within(EMAIL_LEN_MAX, form);
    let address = text_that(form, EMAIL_LEN_MAX, is_address, "must be an e-mail address");
    let members = [
        defaulting("tenant_id", id::<TenantId>(), Value::Null).fixed(),
        required("name", text(NAME_LEN_MAX))
            .shown_as(schema::nullable(schema::string()))
            .meaning("Never in an event; null after the person's data is erased"),
        optional("email", address).meaning("An e-mail address; never in an event"),
        defaulting(
            "roles",
            FieldType::new(schema::either([role(), granted]), self::role).list(ROLES_LEN_MAX),
            json!([]),
        )
        .shown_as(schema::list(shown, None)),
    ];
    let example = json!({ "name": "Ada", "email": "ada@example.com", "roles": ["analyst"] });
    let members = members.into_iter().chain(handles::members()).chain([labels()]);
    Declaration::of::<User>(members, example)
});

/// A role as the body names it. Without a scope, it is for the user's own tenant.
#[derive(Serialize, Deserialize)]
struct NamedRole {
    role: UserRole,
    scope: Option<Reach>,
}

impl NamedRole {
    fn resolved(&self, tenant: TenantId) -> RoleGrant {
        RoleGrant { role: self.role, scope: self.scope.unwrap_or(Reach::Tenant(tenant)) }
    }
}

fn role(field: Field) -> Result<NamedRole, FieldError> {
    if field.is_text() {
        return Ok(NamedRole { role: named_role(field)?, scope: None });
    }
    let mut fields = field.object()?.refuse_unknown(&["role", "scope"])?;
    let role = fields.required("role", named_role)?;
    let scope = fields.optional("scope", reach)?;
    fields.finish()?;
    Ok(NamedRole { role, scope })
}

fn named_role(field: Field) -> Result<UserRole, FieldError> {
    field.one_of(UserRole::NAMED)
}

fn reach(field: Field) -> Result<Reach, FieldError> {
    if field.is_text() {
        return field.one_of(&[NamedValue::new("platform", Reach::Platform)]);
    }
    let (name, id) = field.object()?.only("partner_id, tenant_id")?;
    match name.as_str() {
        "partner_id" => Ok(Reach::Partner(id.parsed()?)),
        "tenant_id" => Ok(Reach::Tenant(id.parsed()?)),
        _ => Err(id.error("must be partner_id or tenant_id")),
    }
}

/// Fills in the scopes of the roles that the body names. Errors: the caller may not grant one of them.
fn resolve_roles(cx: &AdminContext<'_>, given: &mut FieldValues, tenant: TenantId) -> Result<(), CommandError> {
    let Some(roles) = given.get::<Vec<NamedRole>>("roles")? else { return Ok(()) };
    let roles: Vec<_> = roles.iter().map(|named| named.resolved(tenant)).collect();
    cx.may_grant_roles(tenant, &roles, "roles")?;
    given.put("roles", roles);
    Ok(())
}

fn is_address(email: &str) -> bool {
    email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
}

impl Rules for User {
    type State = Self;

    fn claim(&self) -> Option<SideRow> {
        handles::claim::<Self>(self.user_id, self.tenant_id, &self.handles)
    }
}

impl Administered for User {
    const PATH: &'static str = "/v1/admin/users";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    /// Scopes of roles are filled in, and names are kept beside the events.
    fn complete(given: &mut FieldValues) -> Result<Map<String, Value>, RuleError> {
        let tenant: TenantId = given.get("tenant_id")?.ok_or_else(|| FieldError::new("tenant_id", "is required"))?;
        let roles = given.get::<Vec<NamedRole>>("roles")?.unwrap_or_default();
        let roles = roles.iter().map(|named| named.resolved(tenant)).collect::<Vec<_>>();
        given.put("roles", roles);
        let mut beside = Map::new();
        for (field, digest) in [("name", "name_digest"), ("email", "email_digest")] {
            if let Patch::Set(text) = given.take::<String>(field)? {
                beside.insert(field.to_owned(), text.into());
            }
            given.put(digest, "");
        }
        Ok(beside)
    }

    fn chain(state: &User, tables: &Tables) -> Chain {
        let owners = tables.chain_of_tenant(state.tenant_id).unwrap_or_default();
        Chain { tenant: Some(state.tenant_id), user: Some(state.user_id), ..owners }
    }

    fn person(state: &User) -> Option<UserId> {
        Some(state.user_id)
    }

    fn may_manage(cx: &AdminContext<'_>, state: &User) -> Result<(), CommandError> {
        cx.may_manage_user(state)
    }

    async fn create(cx: &AdminContext<'_>, id: UserId, mut given: FieldValues) -> PlanResult<Self> {
        let tenant_id = cx.parent(&mut given, "tenant_id", cx.caller.chain.tenant)?;
        let chain = cx.tenant(tenant_id, "tenant_id")?;
        resolve_roles(cx, &mut given, tenant_id)?;
        let person = person_named(cx, &mut given, id, None)?;
        put_digests(&mut given, &person);
        let made: Self = Self::of_values(id, given)?;
        let plan = CommandPlan::creation(made, Chain { user: Some(id), ..chain });
        Ok(plan.with_side([SideRow::PersonalData(person)]))
    }

    async fn change(cx: &AdminContext<'_>, state: &User, mut given: FieldValues) -> PlanResult<Self> {
        let subject = state.user_id;
        resolve_roles(cx, &mut given, state.tenant_id)?;
        let mut person = None;
        if given.has_any(&["name", "email"]) {
            let current =
                cx.admin.log.read(move |reader| Ok(reader.personal_data(&[subject])?.remove(&subject))).await?;
            let changed = person_named(cx, &mut given, subject, current)?;
            put_digests(&mut given, &changed);
            person = Some(changed);
        }
        let claims = state.reclaim("slug", &given)?;
        let plan = CommandPlan::of(Command::Change(given), state, cx);
        Ok(plan.with_side(person.map(SideRow::PersonalData)).with_side(claims))
    }
}

/// The person's new row: the fields of the body over the current row. An erased person can be named anew, with a new salt.
fn person_named(
    cx: &AdminContext<'_>,
    given: &mut FieldValues,
    subject: UserId,
    current: Option<PersonalData>,
) -> Result<PersonalData, CommandError> {
    let (current_name, current_email, salt) = match current {
        Some(row) => (Some(row.name), row.email, row.salt),
        None => (None, None, cx.admin.ids.bytes::<SALT_LEN>().to_vec()),
    };
    let name = given.take("name")?.apply_to(current_name);
    let name = name.ok_or_else(|| FieldError::new("name", "is required: the person's data was erased"))?;
    let email: Patch<String> = given.take("email")?;
    Ok(PersonalData { subject, name, email: email.apply_to(current_email), salt })
}

fn put_digests(given: &mut FieldValues, person: &PersonalData) {
    given.put("name_digest", digest(&person.salt, &person.name));
    given.put("email_digest", person.email.as_deref().map(|email| digest(&person.salt, email)));
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::{Reach, UserErased, UserRole};

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End, RecordAtAnyTime};
    use crate::admin::lifecycle::RuleError;
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<User> {
        spec::given(facts)
    }

    fn user() -> User {
        User { email_digest: Some("mail".into()), ..User::new(id(1), id(2), "ada") }
    }

    #[test]
    fn roles_change_without_touching_the_digests() {
        let roles = vec![RoleGrant { role: UserRole::Auditor, scope: Reach::Tenant(id(2)) }];
        given([created(user())]).when(change(&json!({ "roles": roles }))).then([changed(User { roles, ..user() })]);
    }

    #[test]
    fn a_removed_email_leaves_no_digest() {
        let mut digests = FieldValues::default();
        digests.put("name_digest", "eva");
        digests.put("email_digest", Value::Null);
        given([created(user())]).when(Change(digests)).then([changed(User {
            name_digest: "eva".into(),
            email_digest: None,
            ..user()
        })]);
    }

    #[test]
    fn a_user_is_erased_also_after_its_end() {
        let erased = || Resource::UserErased(Box::new(UserErased { user_id: id(1) }));
        let erase = || RecordAtAnyTime(erased());
        given([created(user())]).when(erase()).then([erased()]);
        given([created(user()), ended::<User>(id(1))]).when(erase()).then([erased()]);
        given([created(user()), erased(), ended::<User>(id(1)), erased()]).when(erase()).then([erased()]);
        given([]).when(erase()).then_refused(RuleError::Absent);
    }

    #[test]
    fn a_user_is_created_and_ended_once() {
        let ended = || ended::<User>(id(1));
        given([]).when(Create(user())).then([created(user())]);
        given([created(user())]).when(End).then([ended()]);
        given([created(user()), ended()]).when(End).then_nothing();
        given([created(user()), ended()]).when(change(&json!({}))).then_refused(RuleError::Ended);
    }
}
