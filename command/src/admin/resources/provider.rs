//! An upstream. Its API key is sealed in a side table; the facts know only how often it was set. A name is taken once among
//! the live providers that all tenants share, and once among each tenant's own.

mod rules;
mod values;

use std::sync::LazyLock;

use dialects::upstreams;
use events::event::admin::{OutputCapField, Provider};
use events::event::{Chain, ResourceState};
use events::ids::{ProviderId, TenantId};
use events::log::SideRow;
use openapi::schema;
use projections::tables::Tables;
use secrets::Secret;
use secrets::vault::{DataKeyScope, Sealed};
use serde_json::{Map, Value, json};

use super::NAME_LEN_MAX;
use super::names::{claim, release};
use crate::admin::admin_context::AdminContext;
use crate::admin::declaration::{Declaration, Members, defaulting, optional, replied, required};
use crate::admin::error::CommandError;
use crate::admin::field_type::{boolean, id, one_of, text, whole};
use crate::admin::fields::FieldError;
use crate::admin::given::{Given, Patched};
use crate::admin::lifecycle::Command;
use crate::admin::routes::{Administered, Plan};
use rules::{ProviderError, next_generation};

/// Ten minutes: a request has to end well before its hold does.
const TIMEOUT_MS_MAX: u64 = 600_000;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let milliseconds = || whole(1, TIMEOUT_MS_MAX);
    let members = vec![
        required("name", text(NAME_LEN_MAX))
            .meaning("Unique among the live providers that all share, and among each tenant's own"),
        required("kind", one_of(upstreams::NAMES.iter().copied())).fixed(),
        optional("base_url", values::base_url()).kept().meaning(
            "With /v1 for openai, the bare origin for anthropic. A change of its scheme, host or port needs \
                 api_key as well: a new one, or null to remove it",
        ),
        optional("api_key", values::api_key())
            .hidden()
            .meaning("Sealed, and sent to no other scheme, host or port than those it was given with"),
        replied("api_key_set", schema::boolean()).meaning(
            "Whether it has an API key; without one requests go out without credentials, and one whose key was given up \
             with the node's key is not called until it has another",
        ),
        optional("tenant_id", id::<TenantId>(TenantId::PREFIX))
            .fixed()
            .meaning("Whose own it is; shared by all where it is null"),
        defaulting("allow_private_network", boolean(), json!(false)),
        defaulting("timeout_ms", milliseconds(), json!(Provider::TIMEOUT_MS)).meaning("To the first byte"),
        defaulting("idle_timeout_ms", milliseconds(), json!(Provider::IDLE_TIMEOUT_MS)).meaning("Between bytes"),
        defaulting("headers", values::headers(), json!({})).meaning("Sent with every request; no credentials"),
        defaulting("output_cap_field", one_of(OutputCapField::NAMED.iter().copied()), Value::Null)
            .reset_by_null()
            .meaning(
                "What the upstream calls the output cap; where nobody gave it, the client's own name goes before \
                 it. null in a change takes it back",
            ),
        replied("output_cap_field_given", schema::boolean())
            .meaning("Every cap is sent as output_cap_field, whatever the client calls its own"),
        defaulting("allowed_fields", values::allowed_fields(), json!([]))
            .meaning("Fields that change what a request costs, and are sent all the same; for kind openai"),
    ];
    let example = json!({ "name": "sim", "kind": "simulator" });
    Declaration { kind: Provider::KIND, prefix: ProviderId::PREFIX, members: Members(members), example }
});

fn chain_of(tenant: Option<TenantId>, tables: &Tables) -> Chain {
    tenant.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
}

/// Providers of versions that let several have one name claim none: they are found among what lives.
fn name_is_free(
    cx: &AdminContext<'_>,
    id: ProviderId,
    name: &str,
    tenant: Option<TenantId>,
) -> Result<(), CommandError> {
    let has_it =
        |provider: &Provider| provider.provider_id != id && provider.tenant_id == tenant && provider.name == name;
    if cx.tables.providers().any(|entry| entry.is_live() && has_it(&entry.value)) {
        return Err(CommandError::NameTaken { kind: Provider::KIND, field: "name" });
    }
    Ok(())
}

async fn sealed(
    cx: &AdminContext<'_>,
    id: ProviderId,
    tenant: Option<TenantId>,
    generation: u32,
    key: &Secret,
) -> Result<Sealed, CommandError> {
    let scope = tenant.map_or(DataKeyScope::Platform, DataKeyScope::Tenant);
    Ok(cx.admin.vault.sealer(scope).await?.seal(id, generation, key)?)
}

/// Private addresses are the platform's own network: no tenant opens it to itself.
fn opens_private_network(cx: &AdminContext<'_>) -> Result<(), CommandError> {
    cx.platform("private addresses are opened by the platform")
}

impl Administered for Provider {
    const PATH: &'static str = "/v1/admin/providers";

    fn declaration() -> &'static Declaration {
        &DECLARATION
    }

    fn chain(state: &Provider, tables: &Tables) -> Chain {
        chain_of(state.tenant_id, tables)
    }

    fn refused(error: ProviderError) -> CommandError {
        match error {
            ProviderError::Lifecycle(error) => CommandError::of_lifecycle(Self::KIND, error),
            ProviderError::BaseUrlMissing
            | ProviderError::BaseUrlOfSimulator
            | ProviderError::AddressForbidden
            | ProviderError::AddressOverlaps(_) => FieldError::new("base_url", error.to_string()).into(),
            ProviderError::AllowedFieldsNotTaken(_) => FieldError::new("allowed_fields", error.to_string()).into(),
            ProviderError::SecretOfSimulator | ProviderError::SecretOfAnotherOrigin => {
                FieldError::new("api_key", error.to_string()).into()
            }
            ProviderError::GenerationsExhausted => CommandError::GenerationsExhausted,
        }
    }

    async fn create(cx: &AdminContext<'_>, id: ProviderId, mut given: Given) -> Result<Plan<Self>, CommandError> {
        let api_key = taken_key(&mut given)?;
        given.put("secret_generation", u32::from(matches!(api_key, Patched::Set(_))));
        let made: Self = given.make(id)?;
        let tenant = made.tenant_id;
        let chain = cx.owner(tenant)?;
        if made.allow_private_network {
            opens_private_network(cx)?;
        }
        name_is_free(cx, id, &made.name, tenant)?;
        let claim = claim(Self::KIND, id, &made.name, tenant);
        let sealed = match &api_key {
            Patched::Set(key) => Some(sealed(cx, id, tenant, 1, key).await?),
            Patched::Kept | Patched::Removed => None,
        };
        let shown = key_shown(sealed.is_some());
        Ok(Plan { sealed, shown, ..Plan::new(Command::Create(made), chain).with_side([claim]) })
    }

    async fn change(cx: &AdminContext<'_>, state: &Provider, mut given: Given) -> Result<Plan<Self>, CommandError> {
        let (id, tenant) = (state.provider_id, state.tenant_id);
        let api_key = taken_key(&mut given)?;
        let is_private = given.get("allow_private_network")?.unwrap_or(state.allow_private_network);
        if is_private && given.names_any(&["base_url", "allow_private_network"]) {
            opens_private_network(cx)?;
        }
        // One that shares its name with another keeps it until it is given a new one.
        let renamed = given.text("name").filter(|name| *name != state.name);
        if let Some(name) = renamed {
            name_is_free(cx, id, name, tenant)?;
        }
        let claims = renamed.map(|name| [release(id), claim(Self::KIND, id, name, tenant)]);
        let plan = Plan::of(Command::Change(given), state, cx).with_side(claims.into_iter().flatten());
        match api_key {
            Patched::Kept => {
                let id = id.to_string();
                let with_secret = cx.admin.log.read(move |reader| reader.subjects_with_secret(vec![id])).await?;
                Ok(Plan { shown: key_shown(!with_secret.is_empty()), ..plan })
            }
            Patched::Removed => Ok(Plan { shown: key_shown(false), ..plan.with_side([forget(id)]) }),
            Patched::Set(key) => {
                let generation = next_generation(state).map_err(Self::refused)?;
                let sealed = sealed(cx, id, tenant, generation, &key).await?;
                Ok(Plan { sealed: Some(sealed), shown: key_shown(true), ..plan })
            }
        }
    }

    fn side_of_end(state: &Provider) -> Vec<SideRow> {
        vec![forget(state.provider_id), release(state.provider_id)]
    }

    fn shown_of_end() -> Map<String, Value> {
        key_shown(false)
    }
}

/// The API key that a body gives, which stands in no command.
fn taken_key(given: &mut Given) -> Result<Patched<Secret>, CommandError> {
    Ok(match given.take::<String>("api_key")? {
        Patched::Kept => Patched::Kept,
        Patched::Removed => Patched::Removed,
        Patched::Set(key) => Patched::Set(Secret::new(key)),
    })
}

/// Whether it has an API key: what a reply shows of it.
fn key_shown(is_set: bool) -> Map<String, Value> {
    Map::from_iter([("api_key_set".to_owned(), is_set.into())])
}

fn forget(provider: ProviderId) -> SideRow {
    SideRow::DropSealedSecret { subject: provider.to_string() }
}
