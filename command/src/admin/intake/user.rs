//! `/v1/admin/users`: `tenant_id`, `name`, `email`, `slug`, `external_id`, `roles` (names, or `{"role","scope"}`; the
//! user's tenant by default).
//! Name and e-mail go into the erasable side table, their salted digests into the event.

use events::event::admin::{Reach, Role, RoleGrant, User};
use events::event::{Chain, ResourceState};
use events::ids::{PartnerId, TenantId, UserId};
use events::log::{PersonalData, SideRow};
use openapi::resource::{self, Form};
use openapi::schema::{self, object};
use projections::tables::Tables;
use serde_json::{Value, json};

use super::NAME_LEN_MAX;
use super::handles::{self, Claimant};
use crate::admin::admin_context::AdminContext;
use crate::admin::error::CommandError;
use crate::admin::fields::{Field, FieldError, Fields, Patched};
use crate::admin::lifecycle::{Command, LifecycleError};
use crate::admin::person::digests;
use crate::admin::routes::{Administered, Plan};
use crate::admin::user::ChangeUser;

const EMAIL_LEN_MAX: usize = 320;
const ROLES_LEN_MAX: usize = 32;
const SALT_LEN: usize = 16;

/// A role as the body has it; without a scope it means the user's own tenant.
struct NamedRole {
    role: Role,
    scope: Option<Reach>,
}

fn role(field: Field) -> Result<NamedRole, FieldError> {
    if field.is_text() {
        return Ok(NamedRole { role: named_role(field)?, scope: None });
    }
    let mut fields = field.object()?.known(&["role", "scope"])?;
    let role = fields.required("role", named_role)?;
    let scope = fields.optional("scope", reach)?;
    fields.finish()?;
    Ok(NamedRole { role, scope })
}

fn named_role(field: Field) -> Result<Role, FieldError> {
    let names: Vec<_> = Role::ALL.iter().map(|role| (role.as_str(), *role)).collect();
    field.one_of(&names)
}

fn reach(field: Field) -> Result<Reach, FieldError> {
    if field.is_text() {
        return field.one_of(&[("platform", Reach::Platform)]);
    }
    let (name, id) = field.object()?.only("partner_id, tenant_id")?;
    match name.as_str() {
        "partner_id" => Ok(Reach::Partner(id.parsed()?)),
        "tenant_id" => Ok(Reach::Tenant(id.parsed()?)),
        _ => Err(id.error("must be partner_id or tenant_id")),
    }
}

fn roles(field: Field) -> Result<Vec<NamedRole>, FieldError> {
    field.list(ROLES_LEN_MAX, role)
}

fn granted(roles: Vec<NamedRole>, tenant: TenantId) -> Vec<RoleGrant> {
    let grants = roles.into_iter();
    grants.map(|named| RoleGrant { role: named.role, scope: named.scope.unwrap_or(Reach::Tenant(tenant)) }).collect()
}

fn email(field: Field) -> Result<String, FieldError> {
    let path = field.path().to_owned();
    let email = field.text(EMAIL_LEN_MAX)?;
    let named = email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if named { Ok(email) } else { Err(FieldError::new(path, "must be an e-mail address")) }
}

/// Of a slug.
pub fn claimant(id: UserId) -> Claimant<UserId> {
    Claimant { kind: User::KIND, id }
}

impl Administered for User {
    const PATH: &'static str = "/v1/admin/users";

    fn form_of() -> Form {
        let role = || schema::one_of(Role::ALL.iter().map(|role| role.as_str()));
        let scope = || {
            let owner = object().optional("partner_id", schema::id(PartnerId::PREFIX));
            let owner = owner.optional("tenant_id", schema::id(TenantId::PREFIX)).exactly_one();
            schema::either([schema::one_of(["platform"]), owner])
        };
        let tenants_own = "The user's tenant where it is absent";
        let granted = object().required("role", role());
        let granted = granted.optional("scope", schema::described(schema::nullable(scope()), tenants_own)).closed();
        let roles = schema::list(schema::either([role(), granted]), Some(ROLES_LEN_MAX));
        let shown = object().required("role", role()).required("scope", scope()).open();
        let address = schema::formed_within(
            EMAIL_LEN_MAX,
            r"^[^\s@\u0000-\u001f\u007f-\u009f]+@[^\s\u0000-\u001f\u007f-\u009f]+$",
        );
        let members = [
            resource::defaulting("tenant_id", schema::id(TenantId::PREFIX), Value::Null).fixed(),
            resource::required("name", schema::text(NAME_LEN_MAX))
                .shown_as(schema::nullable(schema::string()))
                .meaning("Never in an event; null once the person is erased"),
            resource::optional("email", address).meaning("An e-mail address; never in an event"),
            resource::defaulting("roles", roles, json!([])).shown_as(schema::list(shown, None)),
        ];
        let members = members.into_iter().chain(handles::members()).collect();
        let example = json!({ "name": "Ada", "email": "ada@example.com", "roles": ["analyst"] });
        Form { kind: "user", prefix: UserId::PREFIX, members, example }
    }

    fn chain(state: &User, tables: &Tables) -> Chain {
        let owners = tables.chain_of_tenant(state.tenant_id).unwrap_or_default();
        Chain { tenant: Some(state.tenant_id), user: Some(state.user_id), ..owners }
    }

    fn person(state: &User) -> Option<UserId> {
        Some(state.user_id)
    }

    fn refused(error: LifecycleError) -> CommandError {
        CommandError::of_lifecycle(Self::KIND, error)
    }

    fn manage(cx: &AdminContext<'_>, state: &User) -> Result<(), CommandError> {
        cx.governs(state)
    }

    async fn create(cx: &AdminContext<'_>, id: UserId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let tenant = fields.optional("tenant_id", Field::parsed)?;
        let name = fields.required("name", |field| field.text(NAME_LEN_MAX))?;
        let email = fields.optional("email", email)?;
        let roles = fields.optional("roles", roles)?.unwrap_or_default();
        let handles = handles::given(&mut fields)?;
        fields.finish()?;
        let tenant_id = cx.parent(tenant, cx.caller.chain.tenant, "tenant_id")?;
        let chain = cx.tenant(tenant_id, "tenant_id")?;
        let roles = granted(roles, tenant_id);
        cx.may_grant(tenant_id, &roles, "roles")?;
        let person = PersonalData { subject: id, name, email, salt: cx.admin.ids.bytes::<SALT_LEN>().to_vec() };
        let digests = digests(&person);
        let claim = claimant(id).claim(tenant_id, &handles);
        let (name_digest, email_digest) = (digests.name, digests.email);
        let made = User { user_id: id, tenant_id, roles, name_digest, email_digest, handles };
        let plan = Plan::new(Command::Create(made), Chain { user: Some(id), ..chain });
        Ok(plan.with_side([SideRow::PersonalData(person)]).with_side(claim))
    }

    async fn change(cx: &AdminContext<'_>, state: &User, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["tenant_id"])?;
        let name = fields.changed("name", |field| field.text(NAME_LEN_MAX))?;
        let email = fields.patched("email", email)?;
        let roles = fields.changed("roles", roles)?.map(|roles| granted(roles, state.tenant_id));
        let handles = handles::changed(&mut fields)?;
        fields.finish()?;
        cx.may_grant(state.tenant_id, roles.as_deref().unwrap_or_default(), "roles")?;
        let person = changed_person(cx, state.user_id, name, email).await?;
        let claims = claimant(state.user_id).reclaim(state.tenant_id, &handles);
        let change = ChangeUser { roles, digests: person.as_ref().map(digests), handles };
        let plan = Plan::new(Command::Change(change), Self::chain(state, &cx.tables));
        Ok(plan.with_side(person.map(SideRow::PersonalData)).with_side(claims))
    }

    async fn end(cx: &AdminContext<'_>, state: &User, fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.finish()?;
        let freed = claimant(state.user_id).release();
        Ok(Plan::new(Command::End, Self::chain(state, &cx.tables)).with_side([freed]))
    }
}

/// The person's new row, where the body says anything of it. An erased person can be named anew, under a new salt.
async fn changed_person(
    cx: &AdminContext<'_>,
    subject: UserId,
    name: Option<String>,
    email: Patched<String>,
) -> Result<Option<PersonalData>, CommandError> {
    if name.is_none() && email == Patched::Kept {
        return Ok(None);
    }
    let current = cx.admin.log.read(move |reader| Ok(reader.personal_data(&[subject])?.remove(&subject))).await?;
    let (known_name, known_email, salt) = match current {
        Some(row) => (Some(row.name), row.email, row.salt),
        None => (None, None, cx.admin.ids.bytes::<SALT_LEN>().to_vec()),
    };
    let name = name.or(known_name).ok_or_else(|| FieldError::new("name", "is missing: the person was erased"))?;
    Ok(Some(PersonalData { subject, name, email: email.over(known_email), salt }))
}
