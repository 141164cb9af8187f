//! A sample of the newest version of each event. Parts of those of requests are in `requests.rs`.

use chrono::{DateTime, Utc};
use events::abilities::{Abilities, Ability};
use events::content::ContentPolicy;
use events::event::access::{
    AccessDenied, AccessLimitsLocal, AccessLimitsShared, AccessRateLimited, AccessRead, AdminRejected, ChangeMethod,
    ReadKind,
};
use events::event::admin::{
    Affinity, AliasStep, AuditSearch, BilledBy, BreakerClosed, BreakerOpened, Budget, Canary, CanaryBy, Enforcement,
    Handles, Key, KeyRotated, Labels, Model, NarrowedScope, Narrowing, Origin, OutputCapField, Partner, Price,
    Provider, ProviderKey, ProviderKeyRestored, ProviderKeySetAside, ProviderKindName, RateLimit, Reach, ResourceBound,
    Retirement, RoleGrant, Scope, SetAsideReason, Shadow, Target, Team, Tenant, User, UserErased, UserRole, WhenShort,
};
use events::event::alert::BudgetThresholdReached;
use events::event::catalogue_imported::{CatalogueImported, ImportedResources};
use events::event::hold::{BudgetAdjusted, BudgetExpired, BudgetReleased, BudgetReserved, BudgetSettled, BudgetWindow};
use events::event::inference::{
    AttemptFailed, BudgetShare, BudgetShortfall, InferenceAdmitted, InferenceEnded, InferenceRefused,
    ReportedByFailedCall, ScopedBy, ShareHolder, Versions,
};
use events::event::log_key::LogKeyCreated;
use events::event::node_key::NodeKeyReplaced;
use events::event::price_revalued::PriceRevalued;
use events::event::published_log_repaired::{PublishedLogRepaired, RepairedFile};
use events::event::{Access, Alert, Change, Event, Hold, Inference, Resource, Stream, StreamKind};
use events::limit::{Bounds, LimitName, Measure};
use events::maintenance::MaintenanceWindow;
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok, TokenRate};
use events::refusal::ErrorCode;
use events::refused_parameters::RefusedParameter;
use events::routing::{RoutingRule, StatedWindow, Strategy};
use events::terms::{RequiredTerms, StatedTerms};
use events::time::{Period, parse_rfc3339};

use super::requests::{backend, ended, failed, region, route};
use crate::facts::{budget, id};

/// The samples are never changed.
pub fn start() -> DateTime<Utc> {
    parse_rfc3339("2026-11-20T08:00:00Z").expect("a time")
}

pub fn usd(nanos: i64) -> NanoUsd {
    NanoUsd::new(nanos)
}

fn rate(nanos: i64) -> NanoUsdPerMtok {
    NanoUsdPerMtok::new(usd(nanos)).expect("a price is not negative")
}

/// Only for changed resources: the samples of created ones are from before there were any.
fn handles() -> Handles {
    Handles { slug: Some("acme-labs".to_owned()), external_id: Some("C-1001/7".to_owned()) }
}

fn narrowing() -> Narrowing {
    Narrowing { model: Some("gpt".to_owned()), metadata: [("team".to_owned(), "red".to_owned())].into_iter().collect() }
}

fn narrowed_scope() -> NarrowedScope {
    NarrowedScope::narrowed(Scope::Tenant(id(1)), narrowing())
}

fn labels() -> Labels {
    [("managed-by".to_owned(), "git".to_owned())].into_iter().collect()
}

fn windows() -> Vec<BudgetWindow> {
    let total = BudgetWindow { budget_id: id(21), window_start: None };
    vec![total, BudgetWindow { budget_id: id(22), window_start: Period::Day.window_start(start()) }]
}

pub fn samples() -> Vec<(Stream, Event)> {
    let request = || id(1);
    let inference = |event| (Stream::inference(request()), event);
    let hold = |event| (Stream::hold(request()), event);
    let resource = |kind: StreamKind, name: &str, event| (Stream::new(kind, format!("{name}_{:032x}", 31)), event);
    let details =
        serde_json::json!({ "budget_id": "bud_00000000000000000000000000000015", "requested_usd": "0.001000000" });
    let details = details.as_object().cloned().unwrap_or_default();
    let given =
        GivenRates::new(rate(2_500_000_000), rate(10_000_000_000)).with(TokenRate::CacheRead, rate(1_250_000_000));
    let changed_price = Price {
        origin: Some(Origin::Catalogue),
        labels: labels(),
        ..Price::new(id(31), id(11), "gpt-4o", given, start())
    };
    // As in versions that did not record which rates were left out.
    let price = Price {
        tariff: changed_price.tariff.clone().as_first_recorded(),
        origin: None,
        labels: Labels::none(),
        ..changed_price.clone()
    };
    let provider = Provider {
        base_url: Some("https://api.openai.com/v1".to_owned()),
        headers: [("openai-organization".to_owned(), "org-1".to_owned())].into(),
        output_cap_field: OutputCapField::MaxCompletionTokens,
        secret_generation: 1,
        ..Provider::new(id(31), "openai-eu", ProviderKindName::literal("openai"))
    };
    let night = MaintenanceWindow { from: start(), to: parse_rfc3339("2026-11-20T12:00:00Z").expect("a time") };
    let of_environment = Provider {
        secret_header_names: ["x-gateway-auth".to_owned()].into(),
        headers_generation: 1,
        maintenance: vec![night].into(),
        origin: Some(Origin::Environment),
        billed_by: BilledBy::Time,
        discover_models: true,
        key_variable: Some("OPENAI_API_KEY".to_owned()),
        labels: labels(),
        ..provider.clone()
    };
    let provider_key = ProviderKey {
        provider_key_id: id(31),
        provider_id: id(11),
        name: "second".to_owned(),
        weight: 2,
        requests_per_minute: None,
        tokens_per_minute: None,
        concurrent_requests: None,
        given_for: "https://api.openai.com/v1".to_owned(),
        secret_generation: 1,
    };
    let limited_key = ProviderKey {
        requests_per_minute: Some(500),
        tokens_per_minute: Some(200_000),
        concurrent_requests: Some(8),
        secret_generation: 2,
        ..provider_key.clone()
    };
    let set_aside = ProviderKeySetAside {
        provider_id: id(11),
        provider_key_id: Some(id(31)),
        reason: SetAsideReason::OutOfMoney,
        status: 429,
        secret_generation: 2,
    };
    let opened = BreakerOpened {
        provider_id: id(31),
        model: "gpt-9".to_owned(),
        failures: 5,
        reason: "status".to_owned(),
        status: Some(503),
        until: parse_rfc3339("2026-11-20T08:16:30.000000Z").expect("a time"),
    };
    let closed = BreakerClosed { provider_id: id(31), model: "gpt-9".to_owned() };
    let restored = ProviderKeyRestored { provider_id: id(11), provider_key_id: Some(id(31)) };
    let model = Model {
        system_prefix: Some("Be brief.".to_owned()),
        tenant_id: Some(id(1)),
        ..Model::new(
            id(31),
            "gpt",
            vec![Target {
                window: StatedWindow { tokens: Some(128_000), counts_output: false },
                max_output_tokens: Some(16_384),
                default_max_output_tokens: Some(4096),
                ..Target::new(id(11), "gpt-4o")
            }],
        )
    };
    let mut named_target = model.clone();
    named_target.targets[0].name = Some("1-primary".to_owned());
    named_target.targets[0].max_concurrent = Some(64);
    named_target.targets[0].maintenance = vec![night].into();
    named_target.targets[0].window.counts_output = true;
    named_target.targets[0].facts.stated.abilities = Abilities::UNKNOWN
        .stating_list(Abilities::INPUTS, &[Ability::Text, Ability::Image])
        .stating(Ability::Tools, true)
        .stating(Ability::Reasoning, false);
    named_target.targets[0].facts.stated.refused_parameters =
        Some([RefusedParameter::Temperature, RefusedParameter::TopP].into_iter().collect());
    named_target.targets[0].facts.catalogued.abilities = Abilities::UNKNOWN.stating(Ability::ParallelTools, true);
    named_target.alias = vec![
        AliasStep { model: "gpt-4o".to_owned(), from: None },
        AliasStep { model: "gpt-5".to_owned(), from: Some(night.to) },
    ]
    .into();
    named_target.affinity = Affinity::Session;
    let Target { provider_id, model: ref tried, .. } = named_target.targets[0];
    named_target.canary = Some(Canary { provider_id, model: tried.clone(), share_percent: 5, by: CanaryBy::Tenant });
    named_target.shadow = Some(Shadow { model: "gpt-5".to_owned(), share_percent: 10 });
    named_target.retirement = Retirement {
        deprecated_at: Some(night.from),
        retires_at: Some(night.to),
        successor: Some("gpt-next".to_owned()),
    };
    named_target.targets[0].terms =
        StatedTerms { region: Some(region("eu-central-1")), zero_retention: true, training: Some(false) };
    let user = User {
        roles: vec![RoleGrant { role: UserRole::Auditor, scope: Reach::Tenant(id(1)) }],
        email_digest: Some("cd".repeat(32)),
        ..User::new(id(31), id(1), "ab".repeat(32))
    };
    let team = Team::new(id(31), id(1), "Search", vec![id(2), id(3)]);
    let with_handles = Team {
        handles: Handles { slug: Some("search".to_owned()), external_id: Some("CC-7".to_owned()) },
        labels: labels(),
        ..team.clone()
    };
    let key =
        Key { models: Some(vec!["gpt*".to_owned()]), expires_at: Some(start()), ..Key::new(id(31), id(1), "app") };
    let rotated = KeyRotated { key_id: id(31), generation: 2, previous_until: start() };
    // As events of versions were that knew no other measure.
    let limit = RateLimit::new(id(31), Scope::Tenant(id(1)), Bounds::of(Measure::RequestsPerMinute, 60));
    let every_measure = Bounds {
        requests_per_minute: Some(60),
        requests_per_hour: Some(1_000),
        requests_per_day: Some(10_000),
        tokens_per_minute: Some(200_000),
        tokens_per_day: Some(5_000_000),
        concurrent_requests: Some(8),
    };
    let filter = [("category", "access,inference"), ("severity", "warning")];
    let filter = filter.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let search = AuditSearch::new(id(31), "refusals", filter.into());
    let of_tenant = AuditSearch { tenant_id: Some(id(1)), ..search.clone() };
    let partner = Partner::new(id(31), "Acme");
    let name = "Acme Labs".to_owned();
    let tenant = Tenant::new(id(31), id(1), name);
    let money = budget(31, Scope::Tenant(id(1)), 5_000_000_000, Period::Month);
    let watched = Budget {
        alert_at: ["0.5", "0.8", "1"].map(|fraction| fraction.parse().expect("a fraction")).into(),
        when_short: WhenShort::Shrink,
        enforcement: Enforcement::Observe,
        scope: narrowed_scope(),
        labels: labels(),
        ..money.clone()
    };
    vec![
        inference(Event::Inference(Inference::Admitted(Box::new(InferenceAdmitted {
            model: "gpt".to_owned(),
            dialect: "openai".to_owned(),
            streamed: true,
            max_output_tokens: 4096,
            requested_max_output_tokens: Some(16_384),
            output_tokens_beyond_cap: Some(2_000),
            input_tokens_bound: 512,
            body_sha256: "ef".repeat(32),
            prompt_digest: None,
            content_policy: ContentPolicy::default(),
            metadata: [("team".to_owned(), "red".to_owned())].into(),
            versions: Versions {
                model: 8,
                key: Some(6),
                prices: [("prv_0000000000000000000000000000000b/gpt-4o".to_owned(), 9)].into(),
                budgets: [(id(21), 7)].into(),
                alias: Some(5),
                providers: [(id(11), 3)].into(),
                teams: [(id(51), 4)].into(),
            },
            would_have_refused: vec![BudgetShortfall {
                budget_id: id(22),
                scope: narrowed_scope(),
                limit_usd: usd(5_000_000_000),
                settled_usd: usd(4_990_000_000).into(),
                held_usd: usd(9_000_000).into(),
                requested_usd: usd(5_000_000),
                resets_at: Some(start()),
                share: None,
                brokered_usd: None,
            }],
            rate_limited_tokens: None,
            hedge_after_ms: Some(800),
            route: Some(Box::new(route())),
            shadow_of: Some(id(41)),
            hold_shares: [(
                id(21),
                BudgetShare {
                    of: ShareHolder::Key,
                    fraction: "0.5".parse().expect("a fraction"),
                    held_usd: usd(1_000_000).into(),
                },
            )]
            .into(),
        })))),
        inference(Event::Inference(Inference::Refused(Box::new(InferenceRefused {
            code: ErrorCode::BudgetExceeded,
            model: "gpt".to_owned(),
            count: 1,
            scoped_by: Some(Box::new(ScopedBy {
                model: None,
                stands_for: Some("gpt-4o".to_owned()),
                metadata: narrowing().metadata.to_metadata(),
                teams: [(id(51), 4)].into(),
            })),
            details,
        })))),
        inference(Event::Inference(Inference::Completed(ended()))),
        inference(Event::Inference(Inference::Failed(failed()))),
        inference(Event::Inference(Inference::Aborted(Box::new(InferenceEnded {
            reason: Some("client_closed".to_owned()),
            ..*ended()
        })))),
        inference(Event::Inference(Inference::AttemptFailed(Box::new(AttemptFailed {
            backend: backend(),
            attempt: 1,
            reason: "status".to_owned(),
            status: Some(400),
            upstream_code: Some("context_length_exceeded".to_owned()),
            latency_ms: 12,
            reported: ReportedByFailedCall::default(),
        })))),
        hold(Event::Hold(Hold::Reserved(Box::new(BudgetReserved {
            held_usd: usd(5_000_000),
            budgets: windows(),
            expires_at: start(),
            brokered: None,
        })))),
        hold(Event::Hold(Hold::Settled(Box::new(BudgetSettled {
            held_usd: usd(5_000_000),
            charged_usd: usd(6_000_000),
            budgets: windows(),
            overrun_usd: Some(usd(1_000_000)),
            brokered: None,
        })))),
        hold(Event::Hold(Hold::Released(Box::new(BudgetReleased {
            held_usd: usd(5_000_000),
            budgets: windows(),
            reason: "status".to_owned(),
            brokered: None,
        })))),
        hold(Event::Hold(Hold::Expired(Box::new(BudgetExpired {
            held_usd: usd(5_000_000),
            charged_usd: usd(5_000_000),
            budgets: windows(),
            policy: "charge_hold".to_owned(),
            brokered: None,
        })))),
        hold(Event::Hold(Hold::Adjusted(Box::new(BudgetAdjusted {
            delta_usd: usd(-1_500_000),
            budgets: windows(),
            reason: "settled_after_expiry".to_owned(),
            of: request(),
            price: None,
            request: None,
            brokered: None,
        })))),
        resource(StreamKind::Partner, "par", Event::from(Change::created(partner.clone()))),
        resource(
            StreamKind::Partner,
            "par",
            Event::from(Change::changed(Partner {
                handles: handles(),
                bounds: [(ResourceBound::Tenants, 20_000)].into_iter().collect(),
                labels: labels(),
                ..partner
            })),
        ),
        resource(StreamKind::Partner, "par", Event::Resource(Resource::Partner(Change::Ended(id(31))))),
        resource(StreamKind::Tenant, "ten", Event::from(Change::created(tenant.clone()))),
        resource(
            StreamKind::Tenant,
            "ten",
            Event::from(Change::changed(Tenant {
                handles: handles(),
                own_providers: true,
                content_policy: ContentPolicy::None,
                content_days: Some(30),
                legal_hold: true,
                required_terms: RequiredTerms { residency: Some(region("eu")), zero_retention: true, training: false },
                models: Some(vec!["gpt*".to_owned()]),
                default_strategy: Some(Strategy::Cost),
                bounds: [(ResourceBound::Models, 2_000)].into_iter().collect(),
                labels: labels(),
                ..tenant
            })),
        ),
        resource(StreamKind::Tenant, "ten", Event::Resource(Resource::Tenant(Change::Ended(id(31))))),
        resource(StreamKind::User, "usr", Event::from(Change::created(user.clone()))),
        resource(
            StreamKind::User,
            "usr",
            Event::from(Change::changed(User { handles: handles(), labels: labels(), ..user })),
        ),
        resource(StreamKind::User, "usr", Event::Resource(Resource::User(Change::Ended(id(31))))),
        resource(
            StreamKind::User,
            "usr",
            Event::Resource(Resource::UserErased(Box::new(UserErased { user_id: id(31) }))),
        ),
        resource(StreamKind::Key, "key", Event::from(Change::created(key.clone()))),
        resource(StreamKind::Key, "key", Event::from(Change::changed(key))),
        resource(StreamKind::Key, "key", Event::Resource(Resource::KeyRotated(Box::new(rotated)))),
        resource(StreamKind::Key, "key", Event::Resource(Resource::Key(Change::Ended(id(31))))),
        resource(StreamKind::Provider, "prv", Event::from(Change::created(provider.clone()))),
        resource(StreamKind::Provider, "prv", Event::from(Change::changed(of_environment))),
        resource(StreamKind::Provider, "prv", Event::Resource(Resource::BreakerOpened(Box::new(opened)))),
        resource(StreamKind::Provider, "prv", Event::Resource(Resource::BreakerClosed(Box::new(closed)))),
        resource(StreamKind::Provider, "prv", Event::Resource(Resource::Provider(Change::Ended(id(31))))),
        resource(StreamKind::Team, "tea", Event::from(Change::created(team.clone()))),
        resource(StreamKind::Team, "tea", Event::from(Change::changed(with_handles))),
        resource(StreamKind::Team, "tea", Event::Resource(Resource::Team(Change::Ended(id(31))))),
        resource(StreamKind::ProviderKey, "pky", Event::from(Change::created(provider_key.clone()))),
        resource(StreamKind::ProviderKey, "pky", Event::from(Change::changed(limited_key))),
        resource(StreamKind::ProviderKey, "pky", Event::Resource(Resource::ProviderKeySetAside(Box::new(set_aside)))),
        resource(StreamKind::ProviderKey, "pky", Event::Resource(Resource::ProviderKeyRestored(Box::new(restored)))),
        resource(StreamKind::ProviderKey, "pky", Event::Resource(Resource::ProviderKey(Change::Ended(id(31))))),
        resource(StreamKind::Model, "mdl", Event::from(Change::created(model.clone()))),
        resource(
            StreamKind::Model,
            "mdl",
            Event::from(Change::changed(Model {
                origin: Some(Origin::Discovered),
                strategy: Strategy::Rules,
                rules: vec![RoutingRule {
                    when: "input_tokens > 4000".to_owned(),
                    targets: vec!["prv_0000000000000000000000000000000b/gpt-4o".to_owned()],
                    strategy: Some(Strategy::Cost),
                }]
                .into(),
                hedge_after_ms: Some(800),
                labels: labels(),
                ..named_target
            })),
        ),
        resource(StreamKind::Model, "mdl", Event::Resource(Resource::Model(Change::Ended(id(31))))),
        resource(StreamKind::Price, "prc", Event::from(Change::created(price.clone()))),
        resource(StreamKind::Price, "prc", Event::from(Change::changed(changed_price))),
        resource(StreamKind::Price, "prc", Event::Resource(Resource::Price(Change::Ended(id(31))))),
        resource(StreamKind::Budget, "bud", Event::from(Change::created(money.clone()))),
        resource(StreamKind::Budget, "bud", Event::from(Change::changed(watched))),
        (
            Stream::alert(id(31)),
            Event::Alert(Alert::BudgetThresholdReached(Box::new(BudgetThresholdReached {
                budget_id: id(31),
                window_start: Some(start()),
                fraction: "0.8".parse().expect("a fraction"),
                settled_usd: usd(4_000_000_000).into(),
            }))),
        ),
        resource(StreamKind::Budget, "bud", Event::Resource(Resource::Budget(Change::Ended(id(31))))),
        resource(StreamKind::RateLimit, "lim", Event::from(Change::created(limit.clone()))),
        resource(
            StreamKind::RateLimit,
            "lim",
            Event::from(Change::changed(RateLimit {
                bounds: every_measure,
                scope: narrowed_scope(),
                labels: labels(),
                ..limit
            })),
        ),
        resource(StreamKind::RateLimit, "lim", Event::Resource(Resource::RateLimit(Change::Ended(id(31))))),
        resource(StreamKind::AuditSearch, "asr", Event::from(Change::created(search))),
        resource(StreamKind::AuditSearch, "asr", Event::from(Change::changed(of_tenant))),
        resource(StreamKind::AuditSearch, "asr", Event::Resource(Resource::AuditSearch(Change::Ended(id(31))))),
        (
            Stream::new(StreamKind::NodeKey, "27bb8e6627a5b5db"),
            Event::Resource(Resource::NodeKeyReplaced(Box::new(NodeKeyReplaced {
                node_key: "27bb8e6627a5b5db".to_owned(),
                previous: Some("9c02f1d5a7e36b48".to_owned()),
                resealed: 4,
                discarded: 0,
            }))),
        ),
        (
            Stream::new(StreamKind::LogKey, "gateway.example/ledger"),
            Event::Resource(Resource::LogKeyCreated(Box::new(LogKeyCreated {
                origin: "gateway.example/ledger".to_owned(),
                generation: 1,
                verifier_key: "gateway.example/ledger+12345678+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh".to_owned(),
            }))),
        ),
        resource(
            StreamKind::Revaluation,
            "prc",
            Event::Resource(Resource::PriceRevalued(Box::new(PriceRevalued {
                price_id: id(31),
                version: 41,
                requests: 2_000,
                delta_usd: Some(usd(-1_500_000)),
            }))),
        ),
        resource(
            StreamKind::Import,
            "req",
            Event::Resource(Resource::CatalogueImported(Box::new(CatalogueImported {
                import: id(31),
                from_version: "2026-11-20".parse().expect("a day"),
                to_version: "2026-12-01".parse().expect("a day"),
                document_sha256: "3b1f".repeat(16),
                prices: ImportedResources { created: 4, changed: 1, ended: 0 },
                models: ImportedResources { created: 8, changed: 0, ended: 2 },
            }))),
        ),
        resource(
            StreamKind::Access,
            "key",
            Event::Access(Access::Denied(Box::new(AccessDenied { code: ErrorCode::Unauthenticated, count: 3 }))),
        ),
        resource(
            StreamKind::Access,
            "key",
            Event::Access(Access::RateLimited(Box::new(AccessRateLimited {
                limit_id: LimitName::Configured(id(31)),
                measure: Measure::RequestsPerMinute.into(),
                limit: 60,
                count: 11,
            }))),
        ),
        resource(
            StreamKind::Access,
            "key",
            Event::Access(Access::Read(Box::new(AccessRead { kind: ReadKind::Audit, minute: start(), count: 41 }))),
        ),
        resource(
            StreamKind::Access,
            "key",
            Event::Access(Access::Rejected(Box::new(AdminRejected {
                code: ErrorCode::Conflict,
                resource: StreamKind::Budget,
                resource_id: Some("bud_0000000000000000000000000000001f".to_owned()),
                method: ChangeMethod::Patch,
                count: 1,
            }))),
        ),
        (
            Access::limits_stream(),
            Event::from(AccessLimitsLocal {
                node: "0b5c01e0a2a1c3d4".to_owned(),
                nodes: ["0b5c01e0a2a1c3d4", "93f1a7c2d4e5b6a8"].map(str::to_owned).to_vec(),
                began_at: start(),
                reason: "no answer from Redis within 500 ms".to_owned(),
            }),
        ),
        (
            Access::limits_stream(),
            Event::from(AccessLimitsShared {
                node: "93f1a7c2d4e5b6a8".to_owned(),
                ends: 4711,
                began_at: start(),
                ended_at: start(),
                admitted: 120,
                refused: 3,
            }),
        ),
        (
            Stream::new(StreamKind::PublishedLog, "gateway.example/ledger"),
            Event::Resource(Resource::PublishedLogRepaired(Box::new(PublishedLogRepaired {
                origin: "gateway.example/ledger".to_owned(),
                size: 70_000,
                files: vec![
                    RepairedFile {
                        path: "tlog/tile/0/000".to_owned(),
                        found_sha256: Some("9c02".repeat(16)),
                        first: 1,
                        last: 256,
                    },
                    RepairedFile {
                        path: "tlog/tile/entries/001".to_owned(),
                        found_sha256: None,
                        first: 257,
                        last: 512,
                    },
                ],
                more: 0,
            }))),
        ),
    ]
}
