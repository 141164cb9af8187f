//! `/v1/admin/providers`: `name`, `kind`, `base_url`, `api_key`, `tenant_id`, `allow_private_network`, `timeout_ms`,
//! `idle_timeout_ms`, `headers`, `output_cap_field`, `allowed_fields`. The API key goes sealed into its side table. A name is taken once
//! among the live providers that all tenants share, and once among each tenant's own.

use std::collections::{BTreeMap, BTreeSet};

use dialects::surfaces::unpriced_fields;
use dialects::upstreams;
use events::event::admin::{OutputCapField, Provider};
use events::event::{Chain, ResourceState};
use events::ids::{ProviderId, TenantId};
use events::log::SideRow;
use http::{HeaderName, HeaderValue};
use openapi::resource::{self, Form};
use openapi::schema;
use projections::tables::Tables;
use secrets::Secret;
use secrets::vault::{DataKeyScope, Sealed};
use serde_json::{Map, Value, json};

use super::NAME_LEN_MAX;
use super::names::{claim, release};
use crate::admin::admin_context::AdminContext;
use crate::admin::base_url;
use crate::admin::error::CommandError;
use crate::admin::fields::{Field, FieldError, Fields, Patched};
use crate::admin::lifecycle::Command;
use crate::admin::provider::{ChangeProvider, ProviderError, next_generation};
use crate::admin::routes::{Administered, Plan};

const BASE_URL_LEN_MAX: usize = 2000;
const API_KEY_LEN_MAX: usize = 4096;
const HEADERS_LEN_MAX: usize = 32;
const HEADER_VALUE_LEN_MAX: usize = 1024;
/// Ten minutes: a request has to end well before its hold does.
const TIMEOUT_MS_MAX: u64 = 600_000;
/// To the first byte, where nothing else is said.
pub const TIMEOUT_MS: u64 = 120_000;
/// Between bytes, where nothing else is said.
pub const IDLE_TIMEOUT_MS: u64 = 30_000;

/// Headers that are the gateway's own to send, or that frame the message.
const OWN_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-request-id",
];
/// What a header that carries a credential is likely to have in its name.
const CREDENTIAL_WORDS: &[&str] =
    &["authorization", "api-key", "apikey", "cookie", "credential", "password", "proxy-", "secret", "token"];

fn base_url_of(field: Field) -> Result<String, FieldError> {
    let path = field.path().to_owned();
    base_url::normal_form(&field.text(BASE_URL_LEN_MAX)?).map_err(|error| FieldError::new(path, error.to_string()))
}

fn api_key(field: Field) -> Result<Secret, FieldError> {
    let path = field.path().to_owned();
    let key = field.text(API_KEY_LEN_MAX)?;
    if key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Secret::new(key));
    }
    Err(FieldError::new(path, "must be visible ASCII characters"))
}

fn timeout(field: Field) -> Result<u64, FieldError> {
    field.whole(1..=TIMEOUT_MS_MAX)
}

fn headers(field: Field) -> Result<BTreeMap<String, String>, FieldError> {
    let path = field.path().to_owned();
    let members = field.map(HEADERS_LEN_MAX, |name, field| {
        let name = header_name(name, &field)?;
        Ok((name, header_value(field)?))
    })?;
    let mut headers = BTreeMap::new();
    for (given, (name, value)) in members {
        if headers.insert(name, value).is_some() {
            return Err(FieldError::new(format!("{path}.{given}"), "is given twice: case does not matter"));
        }
    }
    Ok(headers)
}

fn header_name(name: &str, field: &Field) -> Result<String, FieldError> {
    let name: HeaderName = name.parse().map_err(|_| field.error("is not a header's name"))?;
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err(field.error("is sent by the gateway itself"));
    }
    if CREDENTIAL_WORDS.iter().any(|word| name.as_str().contains(word)) {
        return Err(field.error("looks like a credential, which belongs into api_key"));
    }
    Ok(name.as_str().to_owned())
}

fn header_value(field: Field) -> Result<String, FieldError> {
    let path = field.path().to_owned();
    let value = field.text(HEADER_VALUE_LEN_MAX)?;
    match HeaderValue::from_str(&value) {
        Ok(header) if header.to_str().is_ok() => Ok(value),
        Ok(_) | Err(_) => Err(FieldError::new(path, "is not a header's value")),
    }
}

/// A name that is none of those would be no fields at all: it is more likely a slip.
fn allowed_fields(field: Field) -> Result<BTreeSet<String>, FieldError> {
    let path = field.path().to_owned();
    let names = field.list(unpriced_fields().count(), |field| {
        let path = field.path().to_owned();
        let name = field.text(NAME_LEN_MAX)?;
        match unpriced_fields().any(|known| known == name) {
            true => Ok(name),
            false => Err(FieldError::new(
                path,
                "is no field that would be refused: /openapi.json lists those that can be allowed",
            )),
        }
    })?;
    let (count, allowed) = (names.len(), BTreeSet::from_iter(names));
    match allowed.len() == count {
        true => Ok(allowed),
        false => Err(FieldError::new(path, "names a field twice")),
    }
}

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

    fn form_of() -> Form {
        let milliseconds = || schema::whole(1, TIMEOUT_MS_MAX);
        let headers = schema::map(schema::text(HEADER_VALUE_LEN_MAX), Some(HEADERS_LEN_MAX));
        let fields = schema::list(schema::one_of(unpriced_fields()), Some(unpriced_fields().count()));
        let members = vec![
            resource::required("name", schema::text(NAME_LEN_MAX))
                .meaning("Unique among the live providers that all share, and among each tenant's own"),
            resource::required("kind", schema::one_of_names(upstreams::NAMES)).fixed(),
            resource::optional("base_url", schema::url(BASE_URL_LEN_MAX)).kept().meaning(
                "With /v1 for openai, the bare origin for anthropic. A change of its scheme, host or port needs \
                     api_key as well: a new one, or null to remove it",
            ),
            resource::optional("api_key", schema::formed(&format!("^[!-~]{{1,{API_KEY_LEN_MAX}}}$")))
                .hidden()
                .meaning("Sealed, and sent to no other scheme, host or port than those it was given with"),
            resource::replied("api_key_set", schema::boolean()).meaning(
                "Whether it has an API key; without one requests go out without credentials, and one whose key was given up \
                 with the node's key is not called until it has another",
            ),
            resource::optional("tenant_id", schema::id(TenantId::PREFIX))
                .fixed()
                .meaning("Whose own it is; shared by all where it is null"),
            resource::defaulting("allow_private_network", schema::boolean(), json!(false)),
            resource::defaulting("timeout_ms", milliseconds(), json!(TIMEOUT_MS)).meaning("To the first byte"),
            resource::defaulting("idle_timeout_ms", milliseconds(), json!(IDLE_TIMEOUT_MS)).meaning("Between bytes"),
            resource::defaulting("headers", headers, json!({})).meaning("Sent with every request; no credentials"),
            resource::defaulting("output_cap_field", schema::one_of_names(OutputCapField::NAMED), Value::Null)
                .reset_by_null()
                .meaning(
                    "What the upstream calls the output cap; where nobody gave it, the client's own name goes before \
                     it. null in a change takes it back",
                ),
            resource::replied("output_cap_field_given", schema::boolean())
                .meaning("Every cap is sent as output_cap_field, whatever the client calls its own"),
            resource::defaulting("allowed_fields", fields, json!([]))
                .meaning("Fields that change what a request costs, and are sent all the same; for kind openai"),
        ];
        let example = json!({ "name": "sim", "kind": "simulator" });
        Form { kind: "provider", prefix: ProviderId::PREFIX, members, example }
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

    fn manage(_: &AdminContext<'_>, _: &Provider) -> Result<(), CommandError> {
        Ok(())
    }

    async fn create(cx: &AdminContext<'_>, id: ProviderId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let name = fields.required("name", |field| field.text(NAME_LEN_MAX))?;
        let kind = fields.required("kind", |field| field.one_of(upstreams::NAMES))?;
        let base_url = fields.optional("base_url", base_url_of)?;
        let api_key = fields.optional("api_key", api_key)?;
        let tenant_id = fields.optional("tenant_id", Field::parsed)?;
        let allow_private_network = fields.optional("allow_private_network", Field::boolean)?.unwrap_or(false);
        let timeout_ms = fields.optional("timeout_ms", timeout)?.unwrap_or(TIMEOUT_MS);
        let idle_timeout_ms = fields.optional("idle_timeout_ms", timeout)?.unwrap_or(IDLE_TIMEOUT_MS);
        let headers = fields.optional("headers", headers)?.unwrap_or_default();
        let output_cap_field = fields.optional("output_cap_field", |field| field.one_of(OutputCapField::NAMED))?;
        let allowed_fields = fields.optional("allowed_fields", allowed_fields)?.unwrap_or_default();
        fields.finish()?;
        let chain = cx.owner(tenant_id)?;
        if allow_private_network {
            opens_private_network(cx)?;
        }
        name_is_free(cx, id, &name, tenant_id)?;
        let claim = claim(Self::KIND, id, &name, tenant_id);
        let sealed = match &api_key {
            Some(key) => Some(sealed(cx, id, tenant_id, 1, key).await?),
            None => None,
        };
        let made = Provider {
            provider_id: id,
            name,
            kind,
            base_url,
            tenant_id,
            allow_private_network,
            timeout_ms,
            idle_timeout_ms,
            headers,
            output_cap_field: output_cap_field.unwrap_or_default(),
            output_cap_field_given: output_cap_field.is_some(),
            allowed_fields,
            secret_generation: u32::from(api_key.is_some()),
        };
        let shown = key_shown(sealed.is_some());
        Ok(Plan { sealed, shown, ..Plan::new(Command::Create(made), chain).with_side([claim]) })
    }

    async fn change(cx: &AdminContext<'_>, state: &Provider, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["kind", "tenant_id"])?;
        let name = fields.changed("name", |field| field.text(NAME_LEN_MAX))?;
        let base_url = fields.changed("base_url", base_url_of)?;
        let api_key = fields.patched("api_key", api_key)?;
        let allow_private_network = fields.changed("allow_private_network", Field::boolean)?;
        let timeout_ms = fields.changed("timeout_ms", timeout)?;
        let idle_timeout_ms = fields.changed("idle_timeout_ms", timeout)?;
        let headers = fields.changed("headers", headers)?;
        let output_cap_field = fields.patched("output_cap_field", |field| field.one_of(OutputCapField::NAMED))?;
        let allowed_fields = fields.changed("allowed_fields", allowed_fields)?;
        fields.finish()?;
        let private = allow_private_network.unwrap_or(state.allow_private_network);
        if private && (base_url.is_some() || allow_private_network.is_some()) {
            opens_private_network(cx)?;
        }
        let (id, tenant) = (state.provider_id, state.tenant_id);
        // One that shares its name with another keeps it until it is given a new one.
        let renamed = name.as_deref().filter(|name| *name != state.name);
        if let Some(name) = renamed {
            name_is_free(cx, id, name, tenant)?;
        }
        let claims = renamed.map(|name| [release(id), claim(Self::KIND, id, name, tenant)]);
        let change = ChangeProvider {
            name,
            base_url,
            allow_private_network,
            timeout_ms,
            idle_timeout_ms,
            headers,
            output_cap_field,
            allowed_fields,
            new_secret: api_key != Patched::Kept,
        };
        let plan = Plan::new(Command::Change(change), chain_of(tenant, &cx.tables));
        let plan = plan.with_side(claims.into_iter().flatten());
        match api_key {
            Patched::Kept => {
                let id = id.to_string();
                let with_secret = cx.admin.log.read(move |reader| reader.subjects_with_secret(vec![id])).await?;
                Ok(Plan { shown: key_shown(!with_secret.is_empty()), ..plan })
            }
            Patched::Removed => Ok(Plan { shown: key_shown(false), ..plan.with_side([forget(state.provider_id)]) }),
            Patched::Set(key) => {
                let generation = next_generation(state).map_err(Self::refused)?;
                let sealed = sealed(cx, state.provider_id, state.tenant_id, generation, &key).await?;
                Ok(Plan { sealed: Some(sealed), shown: key_shown(true), ..plan })
            }
        }
    }

    async fn end(cx: &AdminContext<'_>, state: &Provider, fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.finish()?;
        let plan = Plan::new(Command::End, chain_of(state.tenant_id, &cx.tables));
        let plan = plan.with_side([forget(state.provider_id), release(state.provider_id)]);
        Ok(Plan { shown: key_shown(false), ..plan })
    }
}

/// Whether it has an API key: what a reply shows of it.
fn key_shown(is_set: bool) -> Map<String, Value> {
    Map::from_iter([("api_key_set".to_owned(), is_set.into())])
}

fn forget(provider: ProviderId) -> SideRow {
    SideRow::DropSealedSecret { subject: provider.to_string() }
}
