//! A provider: an upstream that requests are sent to. Its API key is sealed in a side table; events have only the number of
//! times that it was set. A stored key stays with the scheme, host and port that it was given for: a change of these needs
//! `api_key`. Names are unique among the live providers that all tenants share, and among each tenant's own.

mod rules;
mod values;

use std::sync::LazyLock;

use dialects::{ProviderKind, Server, provider_dialects};
use events::event::admin::{OutputCapField, Provider, ProviderKey, UpstreamKey};
use events::event::{Chain, ResourceState, Stream, StreamKind};
use events::ids::{ProviderId, TenantId};
use events_log::SideRow;
use openapi::schema;
use projections::resource::{no_own_key, own_key_in_use, own_key_state};
use projections::tables::Tables;
use secrets::Secret;
use serde_json::{Map, Value, json};

use super::key_state::{STATES, set_aside};
use super::labels::labels;
use super::maintenance::maintenance;
use super::{NAME_LEN_MAX, base_url, made_by_gateway};
use crate::admin::admin_context::AdminContext;
use crate::admin::administered::{Administered, CommandPlan, PlanResult};
use crate::admin::declaration::{Declaration, defaulting, optional, replied, required};
use crate::admin::error::CommandError;
use crate::admin::field_type::{boolean, id, one_of, text, whole};
use crate::admin::field_values::{DeclarationMismatch, FieldValues, Patch};
use crate::admin::fields::FieldError;
use crate::admin::lifecycle::{Command, RuleError, Rules};
use crate::admin::names::release;
use crate::service_account::ServiceAccount;
use rules::next_generation;
pub(super) use values::api_key;

/// Ten minutes: a request must end well before its hold expires.
const TIMEOUT_MS_MAX: u64 = 600_000;

const KEYS_OF_ANOTHER_ORIGIN: &str = "cannot change its scheme, host or port while the provider has provider keys, which are \
                                      sent nowhere else: end them first";

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let milliseconds = || whole(1, TIMEOUT_MS_MAX);
    let members = vec![
        required("name", text(NAME_LEN_MAX))
            .meaning("Unique among the live providers that all tenants share, and among each tenant's own"),
        required("kind", one_of(ProviderKind::NAMED)).fixed(),
        optional("base_url", values::base_url()).kept().meaning(
            "Without the path of an endpoint: usually with /v1 for openai, with /v1beta for gemini, with the location for \
                 vertex, the bare origin for other kinds. To change its scheme, host or port, also send api_key: a new \
                 one, or null to remove it",
        ),
        optional("api_key", api_key())
            .hidden()
            .meaning(
                "Up to 4,096 visible ASCII characters. Stored encrypted, and sent only to the scheme, host and port that it was set for. For bedrock, a Bedrock \
                 API key, or ACCESS_KEY_ID:SECRET_ACCESS_KEY, with :SESSION_TOKEN for temporary credentials. For vertex, it \
                 may be the JSON key of a service account, which is exchanged for access tokens",
            ),
        replied("api_key_set", schema::boolean()).meaning(
            "True if it has an API key. Without one, requests are sent without credentials; but a provider whose key was \
             lost with the node's key is not called until you set another",
        ),
        replied("key_state", schema::nullable(schema::one_of(STATES))).meaning(
            "Whether requests use its own API key, as `state` of a provider key; null if it has none. A provider without \
             provider keys uses its key always",
        ),
        replied("key_set_aside", schema::nullable(set_aside()))
            .meaning("Why and since when its own API key is set aside, and the HTTP status of the provider's refusal; otherwise null"),
        optional("tenant_id", id::<TenantId>())
            .fixed()
            .meaning("The tenant that owns it; null if all tenants share it"),
        defaulting("allow_private_network", boolean(), json!(false)),
        defaulting("timeout_ms", milliseconds(), json!(Provider::TIMEOUT_MS)).meaning("The longest wait for the first byte"),
        defaulting("idle_timeout_ms", milliseconds(), json!(Provider::IDLE_TIMEOUT_MS)).meaning("The longest wait between bytes"),
        defaulting("headers", values::headers(), json!({})).meaning("Headers that are sent with every request. Send credentials in api_key"),
        defaulting("output_cap_field", one_of(OutputCapField::NAMED), Value::Null)
            .reset_by_null()
            .meaning(
                "The upstream's name for the output cap. If it is not set, the client's own name for the cap takes \
                 precedence. null in a change unsets it. Only for kinds openai and azure_openai",
            ),
        replied("output_cap_field_given", schema::boolean())
            .meaning("True if output_cap_field is set: every cap is sent under that name"),
        defaulting("allowed_fields", values::allowed_fields(), json!([]))
            .meaning("Fields that change the cost of a request, but may be sent to this provider. Only for kinds openai, \
                      azure_openai and anthropic"),
        optional("api_version", values::word())
            .meaning("The version of the API, where an address has several. Only for kind azure_openai"),
        optional("server", one_of(Server::NAMED)).meaning(
            "The server behind base_url, whose deviations from OpenAI are known; other for none. By default it follows from \
             the host of base_url where that is certain. Only for kind openai",
        ),
        optional("region", values::word())
            .meaning("The region that requests are signed for; by default the one in base_url. Only for kind bedrock"),
        defaulting("discover_models", boolean(), json!(false)).meaning(
            "True to ask its server for its models: they appear by themselves, for all tenants and at no cost, except those that \
             have a price or a model of yours. Only for a local server (allow_private_network) without tenant_id, of kind \
             ollama, or of kind openai with server vllm, sglang or llama_cpp",
        ),
        maintenance("When no target at this provider is called, as times in UTC"),
        labels(),
        made_by_gateway::origin("environment if the gateway made it from its environment; null if a command created it"),
        replied("key_variable", schema::nullable(schema::string()))
            .meaning("The variable of the gateway's environment that has the API key; null if the key, if any, was set here"),
    ];
    let window = json!({ "from": "2026-11-20T08:00:00Z", "to": "2026-11-20T12:00:00Z" });
    let example = json!({ "name": "sim", "kind": "simulator", "maintenance": [window] });
    Declaration::of::<Provider>(members, example)
});

/// Errors: a live provider has the name. Providers of versions that allowed duplicates have no claim, so the tables are searched
/// as well.
fn require_free_name(
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

/// Errors: the change moves the address to another scheme, host or port, for which the provider's further keys were not given.
fn require_address_of_keys(
    cx: &AdminContext<'_>,
    state: &Provider,
    base_url: Option<&str>,
) -> Result<(), CommandError> {
    let is_for = |key: &ProviderKey| base_url.is_some_and(|base_url| base_url::same_origin(&key.given_for, base_url));
    let is_moved = state.base_url.as_deref() != base_url;
    if is_moved && !cx.tables.provider_keys_of(state.provider_id).all(|key| is_for(key)) {
        return Err(FieldError::new("base_url", KEYS_OF_ANOTHER_ORIGIN).into());
    }
    Ok(())
}

/// Errors: the caller is not the platform, whose own network the private addresses are.
pub(super) fn require_private_network(cx: &AdminContext<'_>) -> Result<(), CommandError> {
    cx.require_platform("only the platform may allow private addresses")
}

impl Administered for Provider {
    const PATH: &'static str = "/v1/admin/providers";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    /// No state has the API key.
    fn complete(given: &mut FieldValues) -> Result<Map<String, Value>, RuleError> {
        let has_key = matches!(take_api_key(given)?, Patch::Set(_));
        given.put("secret_generation", u32::from(has_key));
        Ok(Map::new())
    }

    fn chain(state: &Provider, tables: &Tables) -> Chain {
        state.tenant_id.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
    }

    fn may_manage(_: &AdminContext<'_>, state: &Provider) -> Result<(), CommandError> {
        made_by_gateway::refuse_provider(state)
    }

    async fn create(cx: &AdminContext<'_>, id: ProviderId, mut given: FieldValues) -> PlanResult<Self> {
        let api_key = take_api_key(&mut given)?;
        given.put("secret_generation", u32::from(matches!(api_key, Patch::Set(_))));
        let made: Self = Self::of_values(id, given)?;
        let api_key = api_key.apply_to(None).map(|key| key_of_kind(key, &made, cx)).transpose()?;
        let tenant = made.tenant_id;
        let chain = cx.owner(tenant)?;
        cx.require_own_providers(tenant)?;
        if made.allow_private_network {
            require_private_network(cx)?;
        }
        require_free_name(cx, id, &made.name, tenant)?;
        let (sealed, extra_fields) = match &api_key {
            Some(key) => (cx.seal(tenant, id, 1, key).await?, with_key(own_key_in_use())),
            None => (Vec::new(), without_key()),
        };
        let owners = streams_of_owners(&chain);
        let plan = CommandPlan::creation(made, chain).based_on(owners).with_side(sealed);
        Ok(CommandPlan { extra_fields, ..plan })
    }

    async fn change(cx: &AdminContext<'_>, state: &Provider, mut given: FieldValues) -> PlanResult<Self> {
        let (id, tenant) = (state.provider_id, state.tenant_id);
        cx.require_own_providers(tenant)?;
        let api_key = take_api_key(&mut given)?;
        let is_private = given.get("allow_private_network")?.unwrap_or(state.allow_private_network);
        let addressed = Self {
            allow_private_network: is_private,
            base_url: given.text("base_url").map(str::to_owned).or_else(|| state.base_url.clone()),
            region: if given.has("region") { given.get("region")? } else { state.region.clone() },
            ..state.clone()
        };
        let api_key = match api_key {
            Patch::Set(key) => Patch::Set(key_of_kind(key, &addressed, cx)?),
            kept_or_removed => kept_or_removed,
        };
        require_address_of_keys(cx, state, addressed.base_url.as_deref())?;
        // A key that is exchanged may say at which address.
        let names_address = matches!(&api_key, Patch::Set(key) if is_exchanged_elsewhere(state, key));
        if is_private && (names_address || given.has_any(&["base_url", "allow_private_network"])) {
            require_private_network(cx)?;
        }
        // A provider that shares its name with another keeps it until it is renamed.
        let mut claims = Vec::new();
        if let Some(name) = given.text("name").filter(|name| *name != state.name) {
            require_free_name(cx, id, name, tenant)?;
            claims = state.reclaim("name", &given)?;
        }
        let plan = CommandPlan::of(Command::Change(given), state, cx).with_side(claims);
        match api_key {
            Patch::Kept => {
                let id = id.to_string();
                let with_secret = cx.admin.log.read(move |reader| reader.subjects_with_secret(vec![id])).await?;
                let has_key = !with_secret.is_empty();
                let extra_fields =
                    if has_key { with_key(own_key_state(&cx.tables, state.provider_id)) } else { without_key() };
                Ok(CommandPlan { extra_fields, ..plan })
            }
            Patch::Removed => Ok(CommandPlan { extra_fields: without_key(), ..plan.with_side([drop_api_key(id)]) }),
            Patch::Set(key) => {
                let generation = next_generation(state).ok_or(CommandError::GenerationsExhausted)?;
                let sealed = cx.seal(tenant, id, generation, &key).await?;
                let owners = streams_of_owners(&Self::chain(state, &cx.tables));
                let plan = plan.based_on(owners).with_side(sealed);
                Ok(CommandPlan { extra_fields: with_key(own_key_in_use()), ..plan })
            }
        }
    }

    /// Its keys end with it: those of earlier versions, which have no claim, and all that have one, also if one was recorded
    /// since the tables were read.
    fn side_rows_at_end(cx: &AdminContext<'_>, state: &Provider) -> Vec<SideRow> {
        let id = state.provider_id;
        let further = cx.tables.provider_keys_of(id).map(|key| drop_api_key(key.provider_key_id));
        let claimed = SideRow::DropSealedSecretsWithin { kind: ProviderKey::KIND, scope: id.to_string() };
        [drop_api_key(id), release(id), claimed].into_iter().chain(further).collect()
    }

    fn extra_fields_at_end() -> Map<String, Value> {
        without_key()
    }
}

/// The streams of the tenant that owns a provider, and of its partner: no secret of a provider is recorded after the end of
/// either, which drops those before.
pub(super) fn streams_of_owners(owners: &Chain) -> impl Iterator<Item = Stream> + use<> {
    let partner = owners.partner.map(|partner| Stream::new(StreamKind::Partner, partner));
    partner.into_iter().chain(owners.tenant.map(|tenant| Stream::new(StreamKind::Tenant, tenant)))
}

/// Takes the API key out of the body's values, so that no command has it.
pub(super) fn take_api_key(given: &mut FieldValues) -> Result<Patch<Secret>, DeclarationMismatch> {
    Ok(match given.take::<String>("api_key")? {
        Patch::Kept => Patch::Kept,
        Patch::Removed => Patch::Removed,
        Patch::Set(key) => Patch::Set(Secret::new(key)),
    })
}

/// The key as it is kept. Errors: the provider's kind takes no such key. A kind that this version does not know is refused
/// elsewhere.
pub(super) fn key_of_kind(key: Secret, provider: &Provider, cx: &AdminContext<'_>) -> Result<Secret, FieldError> {
    let Some(kind) = ProviderKind::named(&provider.kind) else { return Ok(key) };
    let upstream = provider_dialects::of(kind);
    let key = values::api_key_of(upstream, key, provider.allow_private_network);
    let key = key.map_err(|fault| FieldError::new("api_key", fault))?;
    match values::authentication_fault(upstream, &key, provider, cx.admin.clock.now()) {
        Some(fault) => Err(FieldError::new(fault.field(), fault.to_string())),
        None => Ok(key),
    }
}

/// True if the provider's key is exchanged for tokens, at an address that the key names.
pub(super) fn is_exchanged_elsewhere(provider: &Provider, key: &Secret) -> bool {
    let endpoint = ProviderKind::named(&provider.kind).and_then(|kind| provider_dialects::of(kind).endpoint());
    endpoint.is_some_and(|endpoint| endpoint.token_exchange.is_some())
        && ServiceAccount::parse(key).is_ok_and(|account| account.is_exchanged_elsewhere())
}

/// The field of a reply that says whether the provider has an API key.
pub(super) fn api_key_set(is_set: bool) -> Map<String, Value> {
    Map::from_iter([("api_key_set".to_owned(), is_set.into())])
}

/// The fields of a reply about the key of a provider that has one.
fn with_key(state: Map<String, Value>) -> Map<String, Value> {
    api_key_set(true).into_iter().chain(state).collect()
}

/// The same of a provider without a key.
fn without_key() -> Map<String, Value> {
    api_key_set(false).into_iter().chain(no_own_key()).collect()
}

pub(super) fn drop_api_key(key: impl Into<UpstreamKey>) -> SideRow {
    SideRow::DropSealedSecret { subject: key.into().to_string() }
}
