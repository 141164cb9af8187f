//! A further API key of a provider, which shares the provider's requests with the others. It belongs to whom the provider
//! belongs, ends with it, and is sent only to the scheme, host and port that the provider had when the key was given. It records
//! that address itself, and is passed over if the provider's is another.

use std::sync::Arc;

use events::event::admin::{Provider, ProviderKey};
use events::event::{Stream, StreamKind};
use events::ids::{ProviderId, ProviderKeyId};
use projections::resource::{key_in_use, key_state};
use projections::tables::Entry;
use secrets::Secret;

use super::key_state::{STATES, set_aside};
use super::made_by_gateway;
use super::prelude::*;
use super::provider::{
    api_key, api_key_set, drop_secret, is_exchanged_elsewhere, key_of_kind, require_private_network, streams_of_owners,
    take_api_key,
};
use super::rate_limit::{REQUESTS_MAX, TOKENS_MAX};
use crate::admin::field_values::Patch;
use crate::admin::resource_bounds::KEYS_OF_PROVIDER_MAX;

const API_KEY: &str = "api_key";
const PROVIDER: &str = "provider_id";
const WEIGHT_MAX: u64 = 1000;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let of_this_node = "Counted by each node for itself. A key that has reached it is not used until it has room again";
    let members = vec![
        required(PROVIDER, id::<ProviderId>()).fixed().meaning("The provider that it is a key of"),
        required("name", text(NAME_LEN_MAX)).meaning("For people; several keys may have the same"),
        required(API_KEY, api_key()).hidden().meaning(
            "Up to 4,096 visible ASCII characters, in the form that the provider's kind takes. Stored encrypted, and sent only \
             to the scheme, host and port that the provider has now. A new one is used at once, even if the key was set aside",
        ),
        replied("api_key_set", schema::boolean())
            .meaning("False if it was lost with the node's key: the key is not used until you set another"),
        defaulting("weight", whole(1, WEIGHT_MAX), json!(ProviderKey::WEIGHT))
            .meaning("Its share of the requests, relative to the weights of the provider's other keys"),
        optional("requests_per_minute", whole(1, REQUESTS_MAX)).meaning(of_this_node),
        optional("tokens_per_minute", whole(1, TOKENS_MAX)).meaning(of_this_node),
        optional("concurrent_requests", whole(1, REQUESTS_MAX)).meaning(of_this_node),
        replied("state", schema::one_of(STATES))
            .meaning("set_aside if the provider does not accept it: it is used only if no other key is left, and tried again now and then"),
        replied("set_aside", schema::nullable(set_aside()))
            .meaning("Why and since when it is set aside, and the HTTP status of the provider's refusal; otherwise null"),
    ];
    let example = json!({ "provider_id": "prv_0000000000000000000000000000000c", "name": "second", "api_key": "sk-2", "weight": 2 });
    Declaration::of::<ProviderKey>(members, example)
});

impl Rules for ProviderKey {
    type State = Self;

    /// The provider's end drops the secrets of all keys that have such a claim, also of one that it has not seen.
    fn claim(&self) -> Option<SideRow> {
        let id = self.provider_key_id;
        Some(claim_among(self.provider_id, Self::KIND, id, &id.to_string()))
    }

    fn validated_change(&self, change: &FieldValues) -> Result<Self, RuleError> {
        let mut changed = self.changed_by(change)?;
        if change.has(API_KEY) {
            changed.secret_generation = self.secret_generation.checked_add(1).ok_or(RuleError::GenerationsExhausted)?;
        }
        changed.validated()
    }
}

impl Administered for ProviderKey {
    const PATH: &'static str = "/v1/admin/provider-keys";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    /// The owners of the provider; empty for a shared one.
    fn chain(state: &ProviderKey, tables: &Tables) -> Chain {
        tables.provider(state.provider_id).map(|entry| Provider::chain(&entry.value, tables)).unwrap_or_default()
    }

    fn may_manage(cx: &AdminContext<'_>, state: &ProviderKey) -> Result<(), CommandError> {
        Provider::may_manage(cx, &provider_of(cx, state)?.value)
    }

    async fn create(cx: &AdminContext<'_>, id: ProviderKeyId, mut given: FieldValues) -> PlanResult<Self> {
        let provider: Option<ProviderId> = given.get(PROVIDER)?;
        let provider = referenced(cx, provider.ok_or_else(|| FieldError::new(PROVIDER, "is required"))?)?;
        cx.require_own_providers(provider.tenant_id)?;
        if cx.tables.provider_keys_of(provider.provider_id).count() >= KEYS_OF_PROVIDER_MAX {
            let reason = format!("has {KEYS_OF_PROVIDER_MAX} provider keys already");
            return Err(FieldError::new(PROVIDER, reason).into());
        }
        let Patch::Set(key) = take_api_key(&mut given)? else {
            return Err(FieldError::new(API_KEY, "is required").into());
        };
        let key = accepted(cx, &provider, key)?;
        given.put("secret_generation", 1);
        given.put("given_for", given_for(&provider)?);
        let made: Self = Self::of_values(id, given)?;
        let chain = Self::chain(&made, &cx.tables);
        let sealed = cx.seal(provider.tenant_id, id, 1, &key).await?;
        let extra_fields = extra_fields(true, key_in_use());
        let plan = CommandPlan::creation(made, chain).based_on(streams_of(cx, &provider));
        Ok(CommandPlan { extra_fields, ..plan.with_side(sealed) })
    }

    async fn change(cx: &AdminContext<'_>, state: &ProviderKey, mut given: FieldValues) -> PlanResult<Self> {
        let entry = provider_of(cx, state)?;
        if !entry.is_live() {
            return Err(CommandError::OwnerEnded { owner: StreamKind::Provider });
        }
        let (id, provider) = (state.provider_key_id, Arc::clone(&entry.value));
        cx.require_own_providers(provider.tenant_id)?;
        let Patch::Set(key) = take_api_key(&mut given)? else {
            let subject = id.to_string();
            let with_secret = cx.admin.log.read(move |reader| reader.subjects_with_secret(vec![subject])).await?;
            let extra_fields = extra_fields(!with_secret.is_empty(), key_state(&cx.tables, id));
            return Ok(CommandPlan { extra_fields, ..CommandPlan::of(Command::Change(given), state, cx) });
        };
        let key = accepted(cx, &provider, key)?;
        given.put("given_for", given_for(&provider)?);
        let generation = state.secret_generation.checked_add(1).ok_or(CommandError::GenerationsExhausted)?;
        let sealed = cx.seal(provider.tenant_id, id, generation, &key).await?;
        let extra_fields = extra_fields(true, key_in_use());
        let plan = CommandPlan::of(Command::Change(given), state, cx).based_on(streams_of(cx, &provider));
        Ok(CommandPlan { extra_fields, ..plan.with_side(sealed) })
    }

    fn side_rows_at_end(_: &AdminContext<'_>, state: &ProviderKey) -> Vec<SideRow> {
        vec![drop_secret(state.provider_key_id), release(state.provider_key_id)]
    }

    fn extra_fields_at_end() -> Map<String, Value> {
        let ended = [("state".to_owned(), "ended".into()), ("set_aside".to_owned(), Value::Null)];
        extra_fields(false, Map::from_iter(ended))
    }
}

/// The live provider that a body names, which the caller may manage.
fn referenced(cx: &AdminContext<'_>, id: ProviderId) -> Result<Arc<Provider>, CommandError> {
    let (field, kind) = (PROVIDER.to_owned(), Provider::KIND);
    let not_found = || CommandError::ReferenceNotFound { field: field.clone(), kind };
    let entry = cx.tables.provider(id).ok_or_else(not_found)?;
    let chain = Provider::chain(&entry.value, &cx.tables);
    cx.require_visible(kind, &chain).map_err(|error| match error {
        CommandError::NotFound { .. } => not_found(),
        other => other,
    })?;
    if !entry.is_live() {
        return Err(CommandError::ReferenceEnded { field, kind });
    }
    cx.require_live_owners(ProviderKey::KIND, &chain)?;
    made_by_gateway::refuse_provider_key(&entry.value)?;
    Provider::may_manage(cx, &entry.value)?;
    Ok(Arc::clone(&entry.value))
}

fn provider_of<'a>(cx: &'a AdminContext<'_>, key: &ProviderKey) -> Result<&'a Entry<Provider>, CommandError> {
    let defect = || CommandError::Defect(format!("the provider of {} is missing", key.provider_key_id));
    cx.tables.provider(key.provider_id).ok_or_else(defect)
}

/// The key as it is kept, if the provider's kind takes it.
fn accepted(cx: &AdminContext<'_>, provider: &Provider, key: Secret) -> Result<Secret, CommandError> {
    if provider.allow_private_network && is_exchanged_elsewhere(provider, &key) {
        require_private_network(cx)?;
    }
    Ok(key_of_kind(key, provider, cx)?)
}

/// Errors: the provider has no address that a key could be sent to.
fn given_for(provider: &Provider) -> Result<&str, CommandError> {
    let none = || FieldError::new(PROVIDER, "is of the kind simulator, which needs no API key");
    Ok(provider.base_url.as_deref().ok_or_else(none)?)
}

/// The streams of the provider and of its owners.
fn streams_of(cx: &AdminContext<'_>, provider: &Provider) -> impl Iterator<Item = Stream> + use<> {
    let own = Stream::new(Provider::KIND, provider.provider_id);
    std::iter::once(own).chain(streams_of_owners(&Provider::chain(provider, &cx.tables)))
}

fn extra_fields(has_api_key: bool, state: Map<String, Value>) -> Map<String, Value> {
    api_key_set(has_api_key).into_iter().chain(state).collect()
}
