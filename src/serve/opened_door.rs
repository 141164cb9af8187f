//! The door with every route behind it, and what these are made of.

use std::sync::Arc;

use access_control::auth::hashing::KeyHasher;
use access_control::auth::{AuthParts, Authenticator};
use access_control::limits::RateLimiter;
use access_log::AccessLog;
use command::admin::{self, AdminState, FactsLookup, ImportQueue, setup};
use command::body::large_bodies::LargeBodies;
use command::doctor::{self, Doctor};
use command::environment::NamedProviders;
use command::figures::RequestFigures;
use command::inference::{
    self, AbandonedCalls, AccessTokens, AdmissionControl, BackgroundWork, Breakers, ContentKeeper, ContentRecording,
    Copies, Gateway, LeafOf, ObservedTargets, ProviderAccess, ProviderHealth, ProviderKeys, RequestMemory,
    RetryBudgets, TargetPlaces, TargetState, UpstreamCalls,
};
use command::model_explain::{self, ModelExplainer};
use command::provider_health;
use command::trace::Tracer;
use dialects::surfaces::MODELS_WORDING;
use events::event::Recorded;
use events::event::admin::StatedFacts;
use events::ids::IdMaker;
use events::time::Clock;
use events_log::concurrency::ConcurrencyLimiter;
use projections::last_use::LastUses;
use projections::tables::TablesHandle;
use query::{Capabilities, LimitsLeft, QueryState, ReadRecord};
use secrets::{Secret, Vault, operator_key};
use tokio::runtime::Handle;
use transparency::{PublishedPlace, Repairer};

use super::ServeError;
use super::content::{self, ContentParts};
use super::engines::{Engines, metrics_of};
use super::vault::{OpenedVault, open_vault};
use crate::config::Config;
use crate::http::{Cors, Door, DoorParts, Health, grpc_routes, health_routes, published};
use crate::in_flight::InFlight;
use crate::metrics::{self, ResponseMetrics};

/// The door, and what has to be followed while it is open.
pub struct OpenedDoor {
    pub door: Door,
    /// The same door in front of gRPC, if it is served.
    pub grpc: Option<Door>,
    pub vault: Arc<Vault>,
    pub access_tokens: Arc<AccessTokens>,
    pub provider_keys: Arc<ProviderKeys>,
    pub breakers: Arc<Breakers>,
    pub imports: ImportQueue,
    /// Repairs files of the published log, if there is one.
    pub repairer: Option<Repairer>,
}

/// The dependencies of the door, beside the configuration and the engines.
pub struct DoorDependencies<'a> {
    pub clock: &'a Arc<dyn Clock>,
    pub ids: &'a IdMaker,
    pub running: RunningCalls<'a>,
    /// Runs what tenants ask of administration.
    pub commands: &'a Handle,
    pub tracer: Option<Arc<Tracer>>,
    pub content: Option<&'a ContentParts>,
}

/// The counts of running calls, for which a shutdown waits.
#[derive(Clone, Copy)]
pub struct RunningCalls<'a> {
    pub in_flight: &'a InFlight,
    pub abandoned: &'a AbandonedCalls,
    pub copies: &'a Copies,
}

pub async fn open_door(
    config: &Config,
    engines: &Engines,
    dependencies: DoorDependencies<'_>,
) -> Result<OpenedDoor, ServeError> {
    let DoorDependencies { clock, ids, running, commands, tracer, content } = dependencies;
    let RunningCalls { in_flight, abandoned, copies } = running;
    let (log, tables) = (&engines.log, &engines.tables);
    let OpenedVault { vault, served, key_check, tenancy } = open_vault(config, engines, ids).await?;
    let operator_key = operator_key::load(config.admin_key.as_ref().map(Secret::reveal), &config.data, ids)?;
    if let Some(path) = &operator_key.made {
        // A warning, so that it is seen at most log levels: without this file there is no administration.
        tracing::warn!(path = %path.display(), "created the operator's key");
    }
    let content_salts = key_check.content_salts();
    let keeper = |content: &ContentParts| ContentKeeper::new(Arc::clone(&vault), content.writer.clone());
    let content_keeper = content.map(|content| Arc::new(keeper(content)));
    if content_keeper.is_none() && config.mode.serves_requests() {
        content::warn_without_store(&tables.load());
    }
    let (hasher, concurrency) = (KeyHasher::default(), ConcurrencyLimiter::default());
    let (importer, imports) = ImportQueue::new();
    let admin = AdminState {
        log: log.clone(),
        tables: tables.clone(),
        clock: Arc::clone(clock),
        ids: ids.clone(),
        key_check: key_check.clone(),
        hasher: hasher.clone(),
        vault: Arc::clone(&vault),
        bodies: Arc::clone(&engines.memories.administration),
        concurrency: concurrency.clone(),
        imports: importer,
        catalogued: catalogued(config.providers.clone()),
        publishes_log: config.publishing.is_some(),
        keeps_content: content.is_some(),
    };
    if config.dev && config.mode.serves_requests() {
        setup::ensure_dev(&admin, &tenancy, &config.data).await?;
    }
    let authenticator = Arc::new(Authenticator::new(AuthParts {
        key_check: key_check.clone(),
        operator_key: operator_key.key,
        operator_chain: tenancy.chain(),
        log: log.clone(),
        tables: tables.clone(),
        clock: Arc::clone(clock),
        hasher,
    }));
    inference::warn_of_unknown_kinds(&tables.load());
    let limits = Arc::clone(&engines.limits);
    let access_tokens = AccessTokens::new(Arc::clone(clock));
    let provider_keys = ProviderKeys::new(log.clone(), tables.clone(), Arc::clone(clock), ids.clone());
    let breakers = Breakers::new(config.breakers, log.clone(), tables.clone(), Arc::clone(clock));
    let gateway = Gateway {
        log: log.clone(),
        tables: tables.clone(),
        providers: ProviderAccess {
            clients: Arc::clone(&engines.upstreams),
            vault: Arc::clone(&vault),
            access_tokens: Arc::clone(&access_tokens),
            keys: Arc::clone(&provider_keys),
        },
        targets: TargetState {
            observed: ObservedTargets::new(Arc::clone(clock)),
            breakers: Arc::clone(&breakers),
            retries: RetryBudgets::new(config.retries, Arc::clone(clock)),
            places: TargetPlaces::register(&engines.registry)?,
            call_places: UpstreamCalls::register(&engines.registry, engines.upstreams.sockets_max())?,
            health: ProviderHealth::new(Arc::clone(clock)),
        },
        admission: AdmissionControl {
            served,
            limits: Arc::clone(&limits),
            hold_share: config.hold_share,
            key_check,
            access: Arc::clone(&engines.access),
        },
        content: ContentRecording { salts: content_salts.clone(), keeper: content_keeper },
        memory: RequestMemory {
            bodies: Arc::clone(&engines.memories.inference),
            answers: Arc::clone(&engines.memories.answers),
            large_bodies: LargeBodies::default(),
        },
        background: BackgroundWork {
            timers: tokio_util::task::TaskTracker::new(),
            abandoned: abandoned.clone(),
            copies: copies.clone(),
        },
        figures: Arc::new(RequestFigures::register(&engines.registry)?),
        tracer,
        leaf_of: config.publishing.is_some().then_some(leaf_of as LeafOf),
        clock: Arc::clone(clock),
        ids: ids.clone(),
        keep_alive: config.keep_alive,
    };
    let last_uses = LastUses::new(Arc::clone(clock));
    let published_log = engines.published.clone().map(|open| {
        let (repairs, repairer) = transparency::repairer(log.clone());
        (PublishedPlace::new(open, log.clone(), repairs), repairer)
    });
    let (published_log, repairer) = published_log.unzip();
    let queries = QueryState {
        log: log.for_queries(),
        tables: tables.clone(),
        views: engines.node_views(),
        clock: Arc::clone(clock),
        is_current: {
            let authenticator = Arc::clone(&authenticator);
            Arc::new(move || authenticator.is_current())
        },
        closing: in_flight.draining(),
        limits_left: limits_left(&limits, tables),
        capabilities: capabilities(config.providers.clone()),
        concurrency,
        last_uses: last_uses.clone(),
        reads: read_record(config, engines),
        access_log: engines.access_log.as_ref().and_then(AccessLog::view),
        published: published_log,
        content_salts,
        content: content.map(|content| content::reader(content.store.clone(), &vault)),
    };
    let health = Arc::new(Health {
        log: log.clone(),
        tables: tables.clone(),
        views: engines.node_views(),
        in_flight: in_flight.clone(),
        roles: engines.roles.clone(),
        limits: Arc::clone(&limits),
    });
    let grpc = config.grpc_listen.as_ref().map(|_| grpc_routes(queries.clone(), Arc::clone(&health))).transpose()?;
    let gateway = Arc::new(gateway);
    let doctor = Doctor::new(admin.clone(), Arc::clone(&gateway), config.providers.clone(), config.data.clone());
    let explainer = ModelExplainer::new(admin.clone(), Arc::clone(&gateway));
    let health_of_providers = provider_health::routes(admin.clone(), Arc::clone(&gateway));
    let mut api = health_routes(health);
    if config.mode.serves_requests() {
        api = inference::routes(gateway)
            .merge(admin::routes(admin))
            .merge(doctor::routes(doctor))
            .merge(model_explain::routes(explainer))
            .merge(health_of_providers)
            .merge(query::routes(queries, MODELS_WORDING))
            .merge(api);
    }
    if config.metrics_listen.is_none() {
        api = api.merge(metrics::routes(metrics_of(engines, in_flight, clock)));
    }
    let parts = DoorParts {
        authenticator,
        tables: tables.clone(),
        access: Arc::clone(&engines.access),
        access_log: engines.access_log.as_ref().map(AccessLog::recorder),
        limits,
        ids: ids.clone(),
        commands: commands.clone(),
        in_flight: in_flight.clone(),
        responses: ResponseMetrics::register(&engines.registry)?,
        cors: config.cors.clone().map(Cors::new),
        trusted_proxies: config.trusted_proxies.clone(),
        last_uses,
        loop_mark: engines.upstreams.loop_mark().clone(),
    };
    let door = Door::new(Arc::new(parts), published(api)?);
    let grpc = grpc.map(|routes| door.with_routes(routes));
    Ok(OpenedDoor { door, grpc, vault, access_tokens, provider_keys, breakers, imports, repairer })
}

fn read_record(config: &Config, engines: &Engines) -> ReadRecord {
    let (access, all) = (Arc::clone(&engines.access), config.record_reads);
    Arc::new(move |caller, kind| {
        if all || kind.is_always_recorded() {
            access.read(caller.context(), kind);
        }
    })
}

fn limits_left(limits: &Arc<RateLimiter>, tables: &TablesHandle) -> LimitsLeft {
    let (limits, tables) = (Arc::clone(limits), tables.clone());
    Arc::new(move |caller| {
        let left = limits.remaining(&tables.load(), caller);
        left.iter().filter_map(|left| serde_json::to_value(left).ok()).collect()
    })
}

fn capabilities(named: Option<Arc<NamedProviders>>) -> Capabilities {
    Arc::new(move |provider, backend| named.as_ref()?.capabilities(provider, backend))
}

fn catalogued(named: Option<Arc<NamedProviders>>) -> FactsLookup {
    Arc::new(move |provider, backend| {
        named.as_ref().map_or(StatedFacts::UNKNOWN, |named| named.stated_facts(provider, backend))
    })
}

/// The text of an event's leaf; `None` if it has no JSON form, which no event of a log is without.
fn leaf_of(recorded: &Recorded) -> Option<String> {
    transparency::leaf(recorded).ok().map(|leaf| leaf.to_string())
}
