//! The states of the twelve resources, as administration's events carry them. None contains a person's name or e-mail.

mod alias;
mod audit_search;
mod breaker;
mod labels;
mod price;
mod provider_key;
mod provider_kind_name;
mod retirement;
mod scope;
mod server_name;
mod team;
mod user;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shown;
use crate::content::ContentPolicy;
use crate::fraction::Fraction;
use crate::ids::{BudgetId, KeyId, LimitId, ModelId, PartnerId, ProviderId, TenantId, UserId, target_key};
use crate::limit::{Bounds, Measure};
use crate::maintenance::MaintenanceWindows;
use crate::money::NanoUsd;
use crate::named;
use crate::terms::{RequiredTerms, StatedTerms};
use crate::time::{Period, wire};

pub use crate::routing::{Affinity, Canary, CanaryBy, RoutingRule, RoutingRules, Shadow, Strategy};
pub use alias::{Alias, AliasStep};
pub use audit_search::AuditSearch;
pub use breaker::{BreakerClosed, BreakerOpened};
pub use labels::Labels;
pub use price::Price;
pub use provider_key::{ProviderKey, ProviderKeyRestored, ProviderKeySetAside, SetAsideReason, UpstreamKey};
pub use provider_kind_name::ProviderKindName;
pub use retirement::Retirement;
pub use scope::{NarrowedScope, Narrowing, Scope};
pub use server_name::ServerName;
pub use team::Team;
pub use user::{Reach, RoleGrant, User, UserErased, UserRole};

pub const SLUG_LEN_MAX: usize = 63;

/// True for a text of the form `[a-z0-9][a-z0-9-]{0,62}`.
pub fn is_slug(text: &str) -> bool {
    let is_of_slug = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=SLUG_LEN_MAX).contains(&text.len()) && text.bytes().all(is_of_slug) && !text.starts_with('-')
}

/// The names that other systems have for a partner, a tenant, a user or a team. They stay in the log for ever, so that neither may
/// be personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handles {
    /// Unique among its siblings; see [`is_slug`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Its id in other systems, such as billing. Not unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    pub partner_id: PartnerId,
    pub name: String,
    #[serde(flatten)]
    pub handles: Handles,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Partner {
    pub fn new(partner_id: PartnerId, name: impl Into<String>) -> Self {
        Self { partner_id, name: name.into(), handles: Handles::default(), labels: Labels::none() }
    }
}

impl Shown for Partner {
    fn left_out() -> Value {
        json!({ "slug": null, "external_id": null, "labels": {} })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub tenant_id: TenantId,
    pub partner_id: PartnerId,
    pub name: String,
    #[serde(flatten)]
    pub handles: Handles,
    /// True if its own administrators may create and change providers that serve it alone, and their prices.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_providers: bool,
    /// How much content of its prompts and answers is kept.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub content_policy: ContentPolicy,
    /// For how many days sealed content is kept after the day of its admission; absent for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_days: Option<u32>,
    /// True while nothing of it may be deleted or erased, whatever else says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legal_hold: bool,
    /// Terms that each target of its requests must meet.
    #[serde(default, skip_serializing_if = "RequiredTerms::is_empty")]
    pub required_terms: RequiredTerms,
    /// Frontend names and globs that bind all of its keys; absent for every model that it can see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// The strategy of models that leave it to the tenant; absent for `priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_strategy: Option<Strategy>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Tenant {
    /// The highest value of `content_days`: a hundred years.
    pub const CONTENT_DAYS_MAX: u32 = 36_500;

    pub fn new(tenant_id: TenantId, partner_id: PartnerId, name: impl Into<String>) -> Self {
        Self {
            tenant_id,
            partner_id,
            name: name.into(),
            handles: Handles::default(),
            own_providers: false,
            content_policy: ContentPolicy::default(),
            content_days: None,
            legal_hold: false,
            required_terms: RequiredTerms::NONE,
            models: None,
            default_strategy: None,
            labels: Labels::none(),
        }
    }
}

impl Shown for Tenant {
    fn left_out() -> Value {
        json!({ "slug": null, "external_id": null, "own_providers": false, "content_policy": ContentPolicy::default(),
                "content_days": null, "legal_hold": false, "required_terms": {}, "models": null,
                "default_strategy": null, "labels": {} })
    }
}

named! {
    /// A permission of a key.
    #[derive(PartialOrd, Ord)]
    pub enum Permission {
        ModelsUse = "models:use",
        UsageRead = "usage:read",
        AuditRead = "audit:read",
        EventsRead = "events:read",
        ContentRead = "content:read",
        AdminAccess = "admin:access",
        RoutingChoose = "routing:choose",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub key_id: KeyId,
    pub user_id: UserId,
    pub name: String,
    pub permissions: Vec<Permission>,
    /// Frontend names and globs; absent for every model that the tenant can see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    #[serde(default, with = "wire::option", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl Key {
    /// The permissions of a key that is created without any given.
    pub const PERMISSIONS: [Permission; 1] = [Permission::ModelsUse];

    /// A key for every model, which never expires.
    pub fn new(key_id: KeyId, user_id: UserId, name: impl Into<String>) -> Self {
        let permissions = Self::PERMISSIONS.to_vec();
        Self { key_id, user_id, name: name.into(), permissions, models: None, expires_at: None }
    }
}

impl Shown for Key {
    const NULLABLE: &'static [&'static str] = &["models", "expires_at"];
}

/// A key got a new secret. Generation 1 is the secret made with the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    pub key_id: KeyId,
    pub generation: u32,
    /// Until then the previous generation works as well; older ones end at once.
    #[serde(with = "wire")]
    pub previous_until: DateTime<Utc>,
}

named! {
    /// The origin of a resource that nobody created by a command. The gateway changes and ends such a resource itself.
    pub enum Origin {
        /// A variable of the gateway's environment.
        Environment = "environment",
        /// The catalogue of models and list prices.
        Catalogue = "catalogue",
        /// A local server, which was asked for its models.
        Discovered = "discovered",
    }
}

/// An upstream. Its API key is sealed in a side table or in the gateway's environment, never here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    pub provider_id: ProviderId,
    pub name: String,
    pub kind: ProviderKindName,
    /// Without the path of an endpoint; absent for the simulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The tenant that brought it, and that alone it serves; absent if it serves all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    pub allow_private_network: bool,
    /// The longest wait for the first byte.
    pub timeout_ms: u64,
    /// The longest wait between bytes.
    pub idle_timeout_ms: u64,
    /// Sent with every request. Never credentials, which belong in the sealed key.
    pub headers: BTreeMap<String, String>,
    /// The field in which the output cap goes upstream. It defaults to `max_tokens`, and the default yields to the client's
    /// own name for its cap: see [`Provider::given_output_cap_field`].
    pub output_cap_field: OutputCapField,
    /// True if `output_cap_field` was given. Events of 0.1.0 do not record it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_cap_field_given: bool,
    /// Fields of OpenAI's surface that change the cost of a request and may still be sent to this provider: whoever allows
    /// one vouches for its price.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed_fields: BTreeSet<String>,
    /// The version of the API, where an address has several: Azure's `api-version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The server behind an OpenAI-compatible address, whose deviations from OpenAI are known; absent if it follows from
    /// the host of `base_url`, or is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The region that requests are signed for; absent if it is in the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// True if its server is asked for its models, which all tenants can then use at no cost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discover_models: bool,
    /// Its origin; absent if a command created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The variable of the environment that has its API key; absent if the key, if any, is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_variable: Option<String>,
    /// When none of its models is called.
    #[serde(default, skip_serializing_if = "MaintenanceWindows::is_empty")]
    pub maintenance: MaintenanceWindows,
    /// Rises with every new API key, so that every node reads the key again.
    pub secret_generation: u32,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Provider {
    /// The default of `timeout_ms`.
    pub const TIMEOUT_MS: u64 = 120_000;
    /// The default of `idle_timeout_ms`.
    pub const IDLE_TIMEOUT_MS: u64 = 30_000;

    /// A provider that all tenants share, without an address or an API key.
    pub fn new(provider_id: ProviderId, name: impl Into<String>, kind: impl Into<ProviderKindName>) -> Self {
        Self {
            provider_id,
            name: name.into(),
            kind: kind.into(),
            base_url: None,
            tenant_id: None,
            allow_private_network: false,
            timeout_ms: Self::TIMEOUT_MS,
            idle_timeout_ms: Self::IDLE_TIMEOUT_MS,
            headers: BTreeMap::new(),
            output_cap_field: OutputCapField::default(),
            output_cap_field_given: false,
            allowed_fields: BTreeSet::new(),
            api_version: None,
            server: None,
            region: None,
            discover_models: false,
            origin: None,
            key_variable: None,
            maintenance: MaintenanceWindows::default(),
            secret_generation: 0,
            labels: Labels::none(),
        }
    }

    /// The only field that the upstream is known to accept for the output cap; `None` if the operator gave none. In events
    /// that do not record whether it was given, a value other than the default was.
    pub fn given_output_cap_field(&self) -> Option<OutputCapField> {
        let was_given = self.output_cap_field_given || self.output_cap_field != OutputCapField::default();
        was_given.then_some(self.output_cap_field)
    }
}

impl Shown for Provider {
    const HIDDEN: &'static [&'static str] = &["secret_generation"];

    fn left_out() -> Value {
        json!({ "base_url": null, "tenant_id": null, "output_cap_field_given": false, "allowed_fields": [], "api_version": null, "server": null, "region": null, "discover_models": false, "origin": null, "key_variable": null, "maintenance": [], "labels": {} })
    }

    fn in_full(&self) -> Self {
        Self { output_cap_field_given: self.given_output_cap_field().is_some(), ..self.clone() }
    }
}

named! {
    #[derive(Default)]
    pub enum OutputCapField {
        #[default]
        MaxTokens = "max_tokens",
        MaxCompletionTokens = "max_completion_tokens",
    }
}

/// One backend that can serve a frontend model. Limits are in tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub provider_id: ProviderId,
    pub model: String,
    /// Unique within the model. Among targets of one priority, those with a name are tried first, in the order of their
    /// names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub priority: u32,
    pub weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_max_output_tokens: Option<u64>,
    /// The tokenizer that the backend is known to use; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Tokenizer>,
    /// The operator's score, from 0 to 100, for the strategy `quality`; without one, it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u32>,
    /// How many calls the backend may have under way from one node; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// When it is not called.
    #[serde(default, skip_serializing_if = "MaintenanceWindows::is_empty")]
    pub maintenance: MaintenanceWindows,
    #[serde(flatten)]
    pub terms: StatedTerms,
}

impl Target {
    /// The most tokens that any of its limits can say.
    pub const TOKENS_MAX: u64 = 100_000_000;

    /// See [`target_key`].
    pub fn key(&self) -> String {
        target_key(self.provider_id, &self.model)
    }

    /// A target without limits given.
    pub fn new(provider_id: ProviderId, model: impl Into<String>) -> Self {
        Self {
            provider_id,
            model: model.into(),
            name: None,
            priority: 0,
            weight: 1,
            context_window: None,
            max_output_tokens: None,
            default_max_output_tokens: None,
            tokenizer: None,
            quality: None,
            max_concurrent: None,
            maintenance: MaintenanceWindows::default(),
            terms: StatedTerms::NONE,
        }
    }
}

named! {
    /// A tokenizer with a public vocabulary.
    #[derive(PartialOrd, Ord)]
    pub enum Tokenizer {
        O200kBase = "o200k_base",
        Cl100kBase = "cl100k_base",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub model_id: ModelId,
    /// The frontend name that clients request.
    pub name: String,
    pub strategy: Strategy,
    /// Empty for an alias.
    pub targets: Vec<Target>,
    /// For which model it stands, if it has no targets.
    #[serde(default, skip_serializing_if = "Alias::is_empty")]
    pub alias: Alias,
    #[serde(default, skip_serializing_if = "Affinity::is_none")]
    pub affinity: Affinity,
    /// The target that is tried out; absent if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The model that gets a copy of a share of its requests; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// The rules of the strategy `rules`.
    #[serde(default, skip_serializing_if = "RoutingRules::is_empty")]
    pub rules: RoutingRules,
    /// After how many milliseconds without content from the first target the next one is called, too; absent if it never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prefix: Option<String>,
    #[serde(flatten)]
    pub retirement: Retirement,
    /// The tenant that owns it; absent for a model shared by all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// Its origin; absent if a command created it. A model with an origin yields its name to any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Model {
    /// The longest name that a model can have, in characters.
    pub const NAME_CHARS_MAX: usize = 256;

    /// A name from a client, cut to the longest that a model can have: for refusals, events and traces.
    pub fn bounded_name(name: &str) -> String {
        name.chars().take(Self::NAME_CHARS_MAX).collect()
    }

    /// Its targets in the order that strategies get them in: those with a name first, in the order of their names.
    pub fn sort_targets(&mut self) {
        self.targets.sort_by(|a, b| (a.name.is_none(), &a.name).cmp(&(b.name.is_none(), &b.name)));
    }

    /// The index of its canary among its targets.
    pub fn canary_index(&self) -> Option<usize> {
        let canary = self.canary.as_ref()?;
        let is_it = |target: &Target| target.provider_id == canary.provider_id && target.model == canary.model;
        self.targets.iter().position(is_it)
    }

    /// A model that all tenants share, whose targets are tried in the order of their priorities.
    pub fn new(model_id: ModelId, name: impl Into<String>, targets: Vec<Target>) -> Self {
        let (name, strategy) = (name.into(), Strategy::Priority);
        Self {
            model_id,
            name,
            strategy,
            targets,
            alias: Alias::default(),
            affinity: Affinity::None,
            canary: None,
            shadow: None,
            rules: RoutingRules::default(),
            hedge_after_ms: None,
            system_prefix: None,
            retirement: Retirement::default(),
            tenant_id: None,
            origin: None,
            labels: Labels::none(),
        }
    }
}

impl Shown for Model {
    fn left_out() -> Value {
        json!({ "alias": [], "affinity": "none", "canary": null, "shadow": null, "rules": [], "hedge_after_ms": null, "system_prefix": null, "deprecated_at": null, "retires_at": null, "successor": null, "tenant_id": null, "origin": null, "labels": {} })
    }
}

named! {
    pub enum WhenShort {
        Refuse = "refuse",
        /// Lowers the output cap to what is left.
        Shrink = "shrink",
    }
}

named! {
    pub enum Enforcement {
        Hard = "hard",
        /// Charges and holds like any budget, but never refuses; what it would have refused is recorded.
        Observe = "observe",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub budget_id: BudgetId,
    pub scope: NarrowedScope,
    pub limit_usd: NanoUsd,
    pub period: Period,
    /// In ascending order, without repeats.
    pub alert_at: Vec<Fraction>,
    pub when_short: WhenShort,
    pub enforcement: Enforcement,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Budget {
    /// A budget that refuses what exceeds it, without alerts.
    pub const fn new(budget_id: BudgetId, scope: Scope, limit_usd: NanoUsd, period: Period) -> Self {
        let (when_short, enforcement) = (WhenShort::Refuse, Enforcement::Hard);
        let scope = NarrowedScope::of(scope);
        let labels = Labels::none();
        Self { budget_id, scope, limit_usd, period, alert_at: Vec::new(), when_short, enforcement, labels }
    }
}

impl Shown for Budget {
    fn left_out() -> Value {
        json!({ "labels": {} })
    }
}

named! {
    /// How a node applies a rate limit while it cannot count in Redis.
    #[derive(Default)]
    pub enum WhenUnshared {
        /// Admits the node's share.
        #[default]
        Local = "local",
        /// Refuses every request.
        Closed = "closed",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    pub limit_id: LimitId,
    pub scope: NarrowedScope,
    #[serde(flatten)]
    pub bounds: Bounds,
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub when_unshared: WhenUnshared,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl RateLimit {
    pub const fn new(limit_id: LimitId, scope: Scope, bounds: Bounds) -> Self {
        let scope = NarrowedScope::of(scope);
        Self { limit_id, scope, bounds, when_unshared: WhenUnshared::Local, labels: Labels::none() }
    }
}

impl Shown for RateLimit {
    fn left_out() -> Value {
        let measures = Measure::words().map(|word| (word.to_owned(), Value::Null));
        let others = [("when_unshared", WhenUnshared::Local.as_str().into()), ("labels", json!({}))];
        measures.chain(others.map(|(name, value)| (name.to_owned(), value))).collect()
    }
}
