//! A provider: an upstream that requests are sent to. Its API key and its secret headers are sealed in a side table; events have only
//! the number of times that they were set, and the names of the headers. They stay with the scheme, host and port that they were
//! given for: a change of these needs `api_key` and `secret_headers`. Names are unique among the live providers that all
//! tenants share, and among each tenant's own.

mod rules;
mod values;

use std::collections::BTreeMap;

use dialects::{ProviderKind, Server, provider_dialects};
use events::event::admin::{BilledBy, OutputCapField, Provider, ProviderKey};
use events::event::{Stream, StreamKind};
use events::ids::{ProviderId, TenantId};
use projections::resource::{no_own_key, own_key_in_use, own_key_state};
use secrets::{Secret, SecretId};

use super::key_state::{STATES, set_aside};
use super::maintenance::maintenance;
use super::prelude::*;
use super::{base_url, made_by_gateway};
use crate::admin::field_values::{DeclarationMismatch, Patch};
use crate::secret_headers::SecretHeaders;
use crate::service_account::ServiceAccount;
pub(super) use values::api_key;

/// Ten minutes: a request must end well before its hold expires.
const TIMEOUT_MS_MAX: u64 = 600_000;

const KEYS_OF_ANOTHER_ORIGIN: &str = "cannot change its scheme, host or port while the provider has provider keys, which are \
                                      sent nowhere else: end them first";

/// The field of the state that has the names of the secret headers.
const SECRET_HEADER_NAMES: &str = "secret_header_names";

/// The secrets in the body that creates a provider.
struct SecretsGiven {
    api_key: Patch<Secret>,
    headers: Patch<BTreeMap<String, String>>,
}

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let milliseconds = || whole(1, TIMEOUT_MS_MAX);
    let members = vec![
        required("name", text(NAME_LEN_MAX))
            .meaning("Unique among the live providers that all tenants share, and among each tenant's own"),
        required("kind", one_of(ProviderKind::NAMED)).fixed(),
        optional("base_url", values::base_url()).kept().meaning(
            "Without the path of an endpoint: usually with /v1 for openai, with /v1beta for gemini, with the location for \
                 vertex, the bare origin for other kinds. To change its scheme, host or port, also send api_key: a new \
                 one, or null to remove it; and likewise secret_headers, if it has any",
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
        defaulting("timeout_ms", milliseconds(), json!(Provider::TIMEOUT_MS)).meaning("The longest wait for the first byte of an answer"),
        defaulting("idle_timeout_ms", milliseconds(), json!(Provider::IDLE_TIMEOUT_MS)).meaning("The longest wait between bytes of an answer"),
        defaulting("headers", values::headers(), json!({})).meaning(
            "Headers that are sent with every request. Events contain them, so a header that looks like a credential, by its name or \
             its value, is refused: send it in secret_headers or api_key",
        ),
        optional("secret_headers", values::secret_headers()).hidden().meaning(
            "Further headers, which are credentials. Stored encrypted, and sent only to the scheme, host and port that they were set \
             for. Given in a change, they replace all; null removes them",
        ),
        replied("secret_header_names", schema::list(schema::string(), Some(values::SECRET_HEADERS_LEN_MAX)))
            .meaning("The names of its secret headers"),
        defaulting("output_cap_field", one_of(OutputCapField::NAMED), Value::Null)
            .reset_by_null()
            .meaning(
                "The upstream's name for the output cap. If it is not set, the client's own name for the cap takes \
                 precedence. null in a change unsets it. Only for kinds openai and azure_openai",
            ),
        replied("output_cap_field_given", schema::boolean())
            .meaning("True if output_cap_field is set: every cap is sent under that name"),
        defaulting("billed_by", one_of(BilledBy::NAMED), json!("tokens")).meaning(
            "time if calls cost by how long they take, so that a stream is cancelled as soon as its client leaves. Otherwise it is \
             read on for up to two seconds, for the usage at its end",
        ),
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
    let has_it = |provider: &Provider| provider.provider_id != id && provider.name == name;
    if cx.tables.providers_of(tenant).any(|entry| has_it(&entry.value)) {
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

    /// No state has the API key or the secret headers.
    fn complete(given: &mut FieldValues) -> Result<Map<String, Value>, RuleError> {
        take_secrets(given)?;
        Ok(Map::new())
    }

    fn chain(state: &Provider, tables: &Tables) -> Chain {
        state.tenant_id.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
    }

    fn may_manage(_: &AdminContext<'_>, state: &Provider) -> Result<(), CommandError> {
        made_by_gateway::refuse_provider(state)
    }

    async fn create(cx: &AdminContext<'_>, id: ProviderId, mut given: FieldValues) -> PlanResult<Self> {
        let SecretsGiven { api_key, headers } = take_secrets(&mut given)?;
        let made: Self = Self::of_values(id, given)?;
        let api_key = api_key.apply_to(None).map(|key| key_of_kind(key, &made, cx)).transpose()?;
        let tenant = made.tenant_id;
        let chain = cx.owner(tenant)?;
        cx.require_own_providers(tenant)?;
        if made.allow_private_network {
            require_private_network(cx)?;
        }
        require_free_name(cx, id, &made.name, tenant)?;
        let (mut sealed, extra_fields) = match &api_key {
            Some(key) => (cx.seal(tenant, id, 1, key).await?, with_key(own_key_in_use())),
            None => (Vec::new(), without_key()),
        };
        if let Patch::Set(headers) = &headers {
            sealed.extend(cx.seal(tenant, SecretId::Headers(id), 1, &SecretHeaders::to_be_sealed(headers)).await?);
        }
        let owners = streams_of_owners(&chain);
        let plan = CommandPlan::creation(made, chain).based_on(owners).with_side(sealed);
        Ok(CommandPlan { extra_fields, ..plan })
    }

    async fn change(cx: &AdminContext<'_>, state: &Provider, mut given: FieldValues) -> PlanResult<Self> {
        let (id, tenant) = (state.provider_id, state.tenant_id);
        cx.require_own_providers(tenant)?;
        let api_key = take_api_key(&mut given)?;
        let secret_headers = take_secret_headers(&mut given)?;
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
        let mut plan = CommandPlan::of(Command::Change(given), state, cx).with_side(claims);
        match secret_headers {
            Patch::Kept => {}
            Patch::Removed => plan = plan.with_side([drop_secret(SecretId::Headers(id))]),
            Patch::Set(headers) => {
                let generation = state.headers_generation.checked_add(1).ok_or(CommandError::GenerationsExhausted)?;
                let headers = SecretHeaders::to_be_sealed(&headers);
                let sealed = cx.seal(tenant, SecretId::Headers(id), generation, &headers).await?;
                plan = plan.based_on(streams_of_owners(&Self::chain(state, &cx.tables))).with_side(sealed);
            }
        }
        match api_key {
            Patch::Kept => {
                let id = id.to_string();
                let with_secret = cx.admin.log.read(move |reader| reader.subjects_with_secret(vec![id])).await?;
                let has_key = !with_secret.is_empty();
                let extra_fields =
                    if has_key { with_key(own_key_state(&cx.tables, state.provider_id)) } else { without_key() };
                Ok(CommandPlan { extra_fields, ..plan })
            }
            Patch::Removed => Ok(CommandPlan { extra_fields: without_key(), ..plan.with_side([drop_secret(id)]) }),
            Patch::Set(key) => {
                let generation = state.secret_generation.checked_add(1).ok_or(CommandError::GenerationsExhausted)?;
                let sealed = cx.seal(tenant, id, generation, &key).await?;
                let owners = streams_of_owners(&Self::chain(state, &cx.tables));
                let plan = plan.based_on(owners).with_side(sealed);
                Ok(CommandPlan { extra_fields: with_key(own_key_in_use()), ..plan })
            }
        }
    }

    /// Its secrets end with it, and its keys: those of earlier versions, which have no claim, and all that have one, also if one was
    /// recorded since the tables were read.
    fn side_rows_at_end(cx: &AdminContext<'_>, state: &Provider) -> Vec<SideRow> {
        let id = state.provider_id;
        let further = cx.tables.provider_keys_of(id).map(|key| drop_secret(key.provider_key_id));
        let claimed = SideRow::DropSealedSecretsWithin { kind: ProviderKey::KIND, scope: id.to_string() };
        [drop_secret(id), drop_secret(SecretId::Headers(id)), release(id), claimed].into_iter().chain(further).collect()
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

/// Takes the secret headers out of the body's values, so that no command has them, and leaves their names.
fn take_secret_headers(given: &mut FieldValues) -> Result<Patch<BTreeMap<String, String>>, DeclarationMismatch> {
    let headers = match given.take::<BTreeMap<String, String>>("secret_headers")? {
        Patch::Kept => return Ok(Patch::Kept),
        Patch::Set(headers) if !headers.is_empty() => headers,
        Patch::Set(_) | Patch::Removed => {
            given.put(SECRET_HEADER_NAMES, Vec::<String>::new());
            return Ok(Patch::Removed);
        }
    };
    given.put(SECRET_HEADER_NAMES, headers.keys().collect::<Vec<_>>());
    Ok(Patch::Set(headers))
}

/// Takes the secrets of a provider that is created out of the body's values, and leaves their generations.
fn take_secrets(given: &mut FieldValues) -> Result<SecretsGiven, DeclarationMismatch> {
    let (api_key, headers) = (take_api_key(given)?, take_secret_headers(given)?);
    given.put("secret_generation", u32::from(matches!(api_key, Patch::Set(_))));
    given.put("headers_generation", u32::from(matches!(headers, Patch::Set(_))));
    Ok(SecretsGiven { api_key, headers })
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

pub(super) fn drop_secret(id: impl Into<SecretId>) -> SideRow {
    SideRow::DropSealedSecret { subject: id.into().to_string() }
}
