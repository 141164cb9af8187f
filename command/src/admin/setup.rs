//! The resources that a gateway creates itself: on the first start the default partner, tenant and user, so that a single
//! tenant needs no setup, and with `--dev` a simulated provider and a key to try it. They are ordinary events whose actor is
//! `system:setup`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use access_control::auth::token::Token;
use dialects::provider_dialects::DEV_KIND;
use events::event::admin::{
    Budget, Handles, Key, Model, Partner, Price, Provider, Scope, StatedWindow, Target, Tenant, User,
};
use events::event::{Actor, Chain, Change, Context, Event, Resource};
use events::ids::{IdMaker, KeyId, PartnerId, ProviderId, TenantId, UserId};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};
use events::time::Period;
use events_log::{Append, Log, PersonalData, SideRow};
use futures_util::future::BoxFuture;
use secrets::{Secret, SecretFileError, file};

use super::AdminState;
use super::execution::wait_until_in_force;
use super::lifecycle::{Command, Rules};
use super::resources::issue_secret;
use super::resources::person::digest;
use super::store::Loaded;
use crate::admin::error::CommandError;

const NAME: &str = "default";
const ACTOR: Actor = Actor::System("setup");
/// The partner, the tenant and the user.
const TENANCY_PARTS: usize = 3;
/// How often several nodes that create what `--dev` promises may be in each other's way.
const DEV_TRIES: u32 = 5;
const DEV_TABLES_WAIT_MAX: Duration = Duration::from_secs(5);

/// The file that [`ensure_dev`] writes its key to.
pub const DEV_KEY_FILE: &str = "dev.key";
/// A model that the key of [`ensure_dev`] can use.
pub const DEV_MODEL: &str = "sim-small";

const DEV_PROVIDER: &str = "sim";
const DEV_LIMIT: NanoUsd = NanoUsd::new(5_000_000_000);
const DEV_CONTEXT_WINDOW: u64 = 131_072;
const DEV_MAX_OUTPUT_TOKENS: u64 = 8_192;
const DEV_DEFAULT_MAX_OUTPUT_TOKENS: u64 = 1_024;

/// A simulated model: its name for clients, its name in the simulator, and its prices.
struct DevModel {
    name: &'static str,
    backend: &'static str,
    input: NanoUsd,
    output: NanoUsd,
}

const DEV_MODELS: &[DevModel] = &[
    DevModel {
        name: DEV_MODEL,
        backend: "echo",
        input: NanoUsd::new(500_000_000),
        output: NanoUsd::new(1_500_000_000),
    },
    DevModel {
        name: "sim-large",
        backend: "lorem",
        input: NanoUsd::new(3_000_000_000),
        output: NanoUsd::new(15_000_000_000),
    },
];

/// The reason why the gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot set up the gateway: {0}")]
    Command(#[from] CommandError),
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// The owners of every resource that names no parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultTenancy {
    pub partner: PartnerId,
    pub tenant: TenantId,
    pub user: UserId,
}

/// A key to try the gateway with. Only the file has its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevKey {
    pub path: PathBuf,
    pub model: &'static str,
}

impl DefaultTenancy {
    /// The owners of the operator's own inference requests.
    pub const fn chain(&self) -> Chain {
        Chain { partner: Some(self.partner), tenant: Some(self.tenant), user: Some(self.user), key: None }
    }
}

/// The default partner, tenant and user. They are the first three events of the log, and are created if the log is empty or
/// ends in the middle of them. Call this before anything else is recorded. `first` is written with the first event.
///
/// Several nodes may do this at the same time on one log. Each part claims a name, so only one of them creates it, and the others
/// find it.
pub fn ensure_default_tenancy<'a>(
    log: &'a Log,
    ids: &'a IdMaker,
    first: &'a [SideRow],
) -> BoxFuture<'a, Result<DefaultTenancy, SetupError>> {
    Box::pin(ensure_tenancy(log, ids, first))
}

async fn ensure_tenancy(log: &Log, ids: &IdMaker, first: &[SideRow]) -> Result<DefaultTenancy, SetupError> {
    for _ in 0..TENANCY_PARTS {
        match complete_tenancy(log, ids, first).await {
            Err(CommandError::NameTaken { .. }) => {}
            done => return Ok(done?),
        }
    }
    // As many others have created all of it.
    Ok(complete_tenancy(log, ids, first).await?)
}

/// Errors: [`CommandError::NameTaken`] if another node created a part at the same time.
async fn complete_tenancy(log: &Log, ids: &IdMaker, side: &[SideRow]) -> Result<DefaultTenancy, CommandError> {
    let first = log.read(|reader| reader.after(0, TENANCY_PARTS)).await?;
    let (mut partner, mut tenant, mut user) = (None, None, None);
    for recorded in first.iter().filter(|recorded| recorded.context.actor == ACTOR) {
        if let Event::Resource(Resource::Partner(Change::Created(made))) = &recorded.event {
            partner = Some(made.partner_id);
        } else if let Event::Resource(Resource::Tenant(Change::Created(made))) = &recorded.event {
            tenant = Some(made.tenant_id);
        } else if let Event::Resource(Resource::User(Change::Created(made))) = &recorded.event {
            user = Some(made.user_id);
        }
    }
    let partner = if let Some(partner) = partner { partner } else { make_partner(log, ids, side).await? };
    let tenant = if let Some(tenant) = tenant { tenant } else { make_tenant(log, ids, partner).await? };
    let user = if let Some(user) = user { user } else { make_user(log, ids, partner, tenant).await? };
    Ok(DefaultTenancy { partner, tenant, user })
}

fn handles() -> Handles {
    Handles { slug: Some(NAME.to_owned()), external_id: None }
}

async fn make_partner(log: &Log, ids: &IdMaker, side: &[SideRow]) -> Result<PartnerId, CommandError> {
    let id: PartnerId = ids.make();
    let made = Partner { handles: handles(), ..Partner::new(id, NAME) };
    record(log, made, Chain { partner: Some(id), ..Chain::default() }, side.iter().cloned()).await?;
    Ok(id)
}

async fn make_tenant(log: &Log, ids: &IdMaker, partner: PartnerId) -> Result<TenantId, CommandError> {
    let id: TenantId = ids.make();
    let made = Tenant { handles: handles(), ..Tenant::new(id, partner, NAME) };
    record(log, made, Chain { partner: Some(partner), tenant: Some(id), ..Chain::default() }, None).await?;
    Ok(id)
}

async fn make_user(log: &Log, ids: &IdMaker, partner: PartnerId, tenant: TenantId) -> Result<UserId, CommandError> {
    let id: UserId = ids.make();
    let person = PersonalData { subject: id, name: NAME.to_owned(), email: None, salt: ids.bytes::<16>().to_vec() };
    let made = User { handles: handles(), ..User::new(id, tenant, digest(&person.salt, NAME)) };
    let chain = Chain { partner: Some(partner), tenant: Some(tenant), user: Some(id), key: None };
    record(log, made, chain, [SideRow::PersonalData(person)]).await?;
    Ok(id)
}

/// Creates a simulated provider, its models and prices, and an app key with a budget of 5 USD, which is written to
/// `DIR/dev.key` (0600). Does nothing while that file has a live key, and reuses what exists.
pub fn ensure_dev<'a>(
    admin: &'a AdminState,
    tenancy: &'a DefaultTenancy,
    data: &'a Path,
) -> BoxFuture<'a, Result<DevKey, SetupError>> {
    Box::pin(ensure_dev_key(admin, tenancy, data))
}

async fn ensure_dev_key(admin: &AdminState, tenancy: &DefaultTenancy, data: &Path) -> Result<DevKey, SetupError> {
    let dev = DevKey { path: data.join(DEV_KEY_FILE), model: DEV_MODEL };
    if let Some(secret) = file::read(&dev.path)? {
        if is_live_key(admin, secret.reveal()) {
            return Ok(dev);
        }
        file::remove(&dev.path)?;
    }
    ensure_dev_models(admin).await?;
    // Key and budget first, the file last: if the file exists, so does all that it needs.
    let key: KeyId = admin.ids.make();
    let secret = make_key(admin, tenancy, key).await?;
    open_budget(admin, tenancy, key).await?;
    file::write_new(&dev.path, &secret)?;
    Ok(dev)
}

/// The simulator and its models. Another node may create them at the same time: then its resources are used.
async fn ensure_dev_models(admin: &AdminState) -> Result<(), CommandError> {
    for _ in 1..DEV_TRIES {
        match try_dev_models(admin).await {
            Err(CommandError::NameTaken { .. }) => admin.tables.catch_up(DEV_TABLES_WAIT_MAX).await,
            done => return done,
        };
    }
    try_dev_models(admin).await
}

async fn try_dev_models(admin: &AdminState) -> Result<(), CommandError> {
    let provider = ensure_provider(admin).await?;
    for model in DEV_MODELS {
        ensure_model(admin, provider, model).await?;
    }
    Ok(())
}

fn is_live_key(admin: &AdminState, secret: &str) -> bool {
    let tables = admin.tables.load();
    let token = Token::parse(secret).filter(|token| token.is_ours(&admin.key_check));
    let entry = token.and_then(|token| tables.key(token.key_id));
    entry.is_some_and(|entry| tables.key_is_live(entry, admin.clock.now()))
}

/// The shared simulator `sim`. If a provider of another kind has that name: `sim-2` and so on.
async fn ensure_provider(admin: &AdminState) -> Result<ProviderId, CommandError> {
    let tables = admin.tables.load();
    let shared = tables.providers_of(None);
    let shared: Vec<_> = shared.map(|entry| &entry.value).collect();
    for number in 1..=shared.len() + 1 {
        let name = if number == 1 { DEV_PROVIDER.to_owned() } else { format!("{DEV_PROVIDER}-{number}") };
        let of_that_name: Vec<_> = shared.iter().filter(|provider| provider.name == name).collect();
        if let Some(existing) = of_that_name.iter().find(|provider| provider.kind == DEV_KIND.into()) {
            return Ok(existing.provider_id);
        }
        if of_that_name.is_empty() {
            return make_simulator(admin, name).await;
        }
    }
    Err(CommandError::Defect("more names are taken than there are providers".to_owned()))
}

async fn make_simulator(admin: &AdminState, name: String) -> Result<ProviderId, CommandError> {
    let id: ProviderId = admin.ids.make();
    make(admin, Provider::new(id, name, DEV_KIND), Chain::default(), None).await?;
    Ok(id)
}

async fn ensure_model(admin: &AdminState, provider: ProviderId, model: &DevModel) -> Result<(), CommandError> {
    let tables = admin.tables.load();
    if tables.price_in_force(provider, model.backend, admin.clock.now()).is_none() {
        let made = Price::new(admin.ids.make(), provider, model.backend, rates_of(model)?, admin.clock.now());
        make(admin, made, Chain::default(), None).await?;
    }
    if tables.shared_model(model.name).is_none() {
        let made = Model::new(admin.ids.make(), model.name, vec![target(provider, model)]);
        make(admin, made, Chain::default(), None).await?;
    }
    Ok(())
}

fn rates_of(model: &DevModel) -> Result<GivenRates, CommandError> {
    let negative = || CommandError::Defect(format!("a negative price of {}", model.name));
    let input = NanoUsdPerMtok::new(model.input).ok_or_else(negative)?;
    let output = NanoUsdPerMtok::new(model.output).ok_or_else(negative)?;
    Ok(GivenRates::new(input, output))
}

fn target(provider: ProviderId, model: &DevModel) -> Target {
    Target {
        window: StatedWindow { tokens: Some(DEV_CONTEXT_WINDOW), ..StatedWindow::default() },
        max_output_tokens: Some(DEV_MAX_OUTPUT_TOKENS),
        default_max_output_tokens: Some(DEV_DEFAULT_MAX_OUTPUT_TOKENS),
        ..Target::new(provider, model.backend)
    }
}

async fn make_key(admin: &AdminState, tenancy: &DefaultTenancy, id: KeyId) -> Result<Secret, CommandError> {
    let (secret, stored) = issue_secret(admin, Some(tenancy.tenant), id, 1).await?;
    let made = Key::new(id, tenancy.user, "dev");
    make(admin, made, Chain { key: Some(id), ..tenancy.chain() }, Some(stored)).await?;
    Ok(secret)
}

async fn open_budget(admin: &AdminState, tenancy: &DefaultTenancy, key: KeyId) -> Result<(), CommandError> {
    let opened = Budget::new(admin.ids.make(), Scope::Key(key), DEV_LIMIT, Period::Total);
    make(admin, opened, Chain { key: Some(key), ..tenancy.chain() }, None).await
}

/// Records a creation, and waits until the tables have it.
async fn make<R: Rules>(admin: &AdminState, made: R, chain: Chain, side: Option<SideRow>) -> Result<(), CommandError> {
    wait_until_in_force(admin, record(&admin.log, made, chain, side).await?).await
}

/// Records a creation, and claims its name: the position of its event.
async fn record<R: Rules>(
    log: &Log,
    made: R,
    chain: Chain,
    side: impl IntoIterator<Item = SideRow>,
) -> Result<u64, CommandError> {
    let mut absent = Loaded::<R>::absent(made.id());
    let side = side.into_iter().chain(made.claim()).collect();
    let events = absent.handle(Command::Create(made)).await?;
    let append = Append { side, ..absent.stored.append_of(events, Context::about(ACTOR, chain)) };
    absent.write(log, append).await.map_err(|error| CommandError::of_append(R::KIND, error))
}
