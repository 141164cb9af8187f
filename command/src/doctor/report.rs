//! The findings of the checks, as the response of the route.

use access_control::limits::LocalSince;
use chrono::{DateTime, Utc};
use events::event::admin::Provider;
use events::ids::{ProviderId, TenantId};
use events::named;
use events::time::rfc3339;
use openapi::Shape;
use openapi::schema::{self, nullable, object};
use serde::Serialize;

/// The longest text of a finding, in characters.
const TEXT_CHARS_MAX: usize = 600;

named! {
    /// The subject of a check.
    pub enum Check {
        Address = "address",
        Dns = "dns",
        Connection = "connection",
        Tls = "tls",
        Answer = "answer",
        Clock = "clock",
        Key = "key",
        Price = "price",
        Target = "target",
        Deprecation = "deprecation",
        Abilities = "abilities",
    }
}

named! {
    pub enum Verdict {
        Ok = "ok",
        /// Works, but will not for ever, or not in every case.
        Warning = "warning",
        Problem = "problem",
        NotChecked = "not_checked",
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    check: &'static str,
    verdict: &'static str,
    detail: String,
    /// Advice on how to fix it.
    advice: Option<String>,
}

impl Finding {
    pub fn is_of(&self, check: Check) -> bool {
        self.check == check.as_str()
    }

    /// Says which one of several it is about.
    pub fn about(self, which: &str) -> Self {
        Self { detail: format!("{which}: {}", self.detail), ..self }
    }

    /// Follows a warning about the same thing: one finding with both, which is a problem if this one is.
    pub fn after(self, warning: Self) -> Self {
        let (verdict, advice) =
            if self.is_problem() { (self.verdict, self.advice) } else { (warning.verdict, warning.advice) };
        let detail = format!("{}. Now: {}", warning.detail, self.detail).chars().take(TEXT_CHARS_MAX).collect();
        Self { check: self.check, verdict, detail, advice }
    }

    pub fn ok(check: Check, detail: impl Into<String>) -> Self {
        Self::of(check, Verdict::Ok, detail)
    }

    pub fn not_checked(check: Check, why: impl Into<String>) -> Self {
        Self::of(check, Verdict::NotChecked, why)
    }

    pub fn warning(check: Check, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::of(check, Verdict::Warning, detail) }
    }

    pub fn problem(check: Check, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::of(check, Verdict::Problem, detail) }
    }

    /// A problem whose detail also says what to do about it.
    pub fn problem_with_its_advice(check: Check, detail: impl Into<String>) -> Self {
        Self::of(check, Verdict::Problem, detail)
    }

    fn of(check: Check, verdict: Verdict, detail: impl Into<String>) -> Self {
        let detail: String = detail.into().chars().take(TEXT_CHARS_MAX).collect();
        Self { check: check.as_str(), verdict: verdict.as_str(), detail, advice: None }
    }

    pub fn is_ok(&self) -> bool {
        self.verdict == Verdict::Ok.as_str()
    }

    pub fn is_problem(&self) -> bool {
        self.verdict == Verdict::Problem.as_str()
    }
}

/// A provider with everything that was checked of it.
#[derive(Debug, Serialize)]
pub struct CheckedProvider {
    provider_id: String,
    name: String,
    kind: String,
    base_url: Option<String>,
    tenant_id: Option<String>,
    findings: Vec<Finding>,
}

impl CheckedProvider {
    pub fn add(&mut self, finding: Option<Finding>) {
        self.findings.extend(finding);
    }

    pub fn new(provider: &Provider, findings: Vec<Finding>) -> Self {
        Self {
            provider_id: provider.provider_id.to_string(),
            name: provider.name.clone(),
            kind: provider.kind.to_string(),
            base_url: provider.base_url.clone(),
            tenant_id: provider.tenant_id.map(|tenant| tenant.to_string()),
            findings,
        }
    }
}

/// A target about which there is something to say.
#[derive(Debug, Serialize)]
pub struct CheckedTarget {
    /// `provider/model`.
    pub backend: String,
    /// The tenant whose models have it; `None` for models that all tenants share.
    pub tenant_id: Option<String>,
    /// Some of the models that have it.
    pub models: Vec<String>,
    pub models_count: usize,
    pub findings: Vec<Finding>,
}

/// All targets of all models.
#[derive(Debug, Default, Serialize)]
pub struct CheckedTargets {
    pub checked: usize,
    /// Those with something to say.
    pub items: Vec<CheckedTarget>,
    /// How many more there are.
    pub left_out: usize,
    /// How many targets have no stated abilities.
    pub unknown_abilities: usize,
    /// A target of models that all tenants share has one.
    #[serde(skip)]
    pub has_problem: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    ok: bool,
    checked_at: String,
    providers: Vec<CheckedProvider>,
    /// Providers that were not checked, because there are too many.
    providers_left_out: usize,
    targets: CheckedTargets,
    /// Why a node counts rate limits by its share.
    local_limits: Option<LocalSince>,
}

impl Report {
    pub fn new(
        now: DateTime<Utc>,
        providers: Vec<CheckedProvider>,
        providers_left_out: usize,
        targets: CheckedTargets,
    ) -> Self {
        // A tenant's own providers are for the tenant to mend.
        let shared = providers.iter().filter(|provider| provider.tenant_id.is_none());
        let mut findings = shared.flat_map(|provider| &provider.findings);
        let ok = !providers.is_empty() && !targets.has_problem && !findings.any(Finding::is_problem);
        let checked_at = rfc3339(now).to_string();
        Self { ok, checked_at, providers, providers_left_out, targets, local_limits: None }
    }

    pub fn with_local_limits(self, local_limits: Option<LocalSince>) -> Self {
        Self { local_limits, ..self }
    }
}

fn findings() -> Shape {
    let finding = object()
        .required_as("check", schema::one_of(Check::words()), "What was looked at")
        .required_as("verdict", schema::one_of(Verdict::words()), "`not_checked` says nothing; `detail` has the reason")
        .required_as("detail", schema::string(), "What was found. Words of providers are redacted")
        .required_as("advice", nullable(schema::string()), "What to do about it")
        .open();
    schema::list(finding, None)
}

/// The schema of a provider with its findings.
pub fn provider_shape() -> Shape {
    object()
        .required_as("provider_id", schema::id(ProviderId::PREFIX), "The provider")
        .required_as("name", schema::string(), "Its name")
        .required_as("kind", schema::string(), "The API that it speaks")
        .required_as("base_url", nullable(schema::string()), "Its address; null if it has none")
        .required_as(
            "tenant_id",
            nullable(schema::id(TenantId::PREFIX)),
            "The tenant that owns it; null for all tenants",
        )
        .required_as("findings", findings(), "One for each check, in the order of the checks")
        .open()
}

/// The schema of a report.
pub fn shape() -> Shape {
    let target = object()
        .required_as("backend", schema::string(), "The target, as `provider/model`")
        .required_as(
            "tenant_id",
            nullable(schema::id(TenantId::PREFIX)),
            "The tenant whose own models have it; null for models that all tenants share",
        )
        .required_as("models", schema::list(schema::string(), None), "Some of the models that have it")
        .required_as("models_count", schema::count(), "How many models have it")
        .required_as("findings", findings(), "What there is to say about it")
        .open();
    let targets = object()
        .required_as("checked", schema::count(), "How many targets were checked")
        .required_as("items", schema::list(target, None), "Those with a finding; those of tenants last")
        .required_as("left_out", schema::count(), "How many more have one")
        .required_as(
            "unknown_abilities",
            schema::count(),
            "How many targets have no stated abilities: none of them is left out for an ability",
        )
        .open();
    let why_local = "Why a node counts rate limits by its share although it has a Redis; null if all count in Redis, or none \
                     has one";
    let local_limits = object()
        .required_as("began_at", schema::time(), "When that began")
        .required_as("node", schema::string(), "The node that cannot use Redis; of several, the first")
        .required_as("reason", schema::string(), "Why")
        .open();
    object()
        .required_as("ok", schema::boolean(), "False if any verdict is `problem`, except of tenants' own providers and models, or if there is no provider")
        .required_as("checked_at", schema::time(), "When the check began")
        .required_as("providers", schema::list(schema::reference(super::CHECKED_PROVIDER), None), "Every provider, by name; those of tenants last")
        .required_as("providers_left_out", schema::count(), "Providers beyond the 200 that are checked")
        .required_as("targets", targets, "The targets of all models")
        .required_as("local_limits", nullable(local_limits), why_local)
        .open()
}
