//! The twelve kinds of resources without their types: what the path of a command needs of each, behind pointers, so that the path is
//! compiled once and commands to different kinds can be recorded together.

use std::pin::Pin;
use std::sync::LazyLock;

use events::event::admin::{
    AuditSearch, Budget, Key, Model, Partner, Price, Provider, ProviderKey, RateLimit, Team, Tenant, User,
};
use events::event::{Chain, Change, Event, Resource, ResourceState, Stream, StreamKind};
use events::ids::{IdMaker, UserId};
use events_log::SideRow;
use projections::resource::{Lifetime, resource_json};
use secrets::Secret;
use serde_json::{Map, Value};

use super::AdminState;
use super::admin_context::AdminContext;
use super::administered::{Administered, CommandPlan, ConsecutiveEvents, PlanResult};
use super::declaration::Declaration;
use super::fields::{FieldResult, Fields};
use super::lifecycle::{Command, Rules, StateOf};
use super::rejected::NotedResource;
use super::resource_bounds::{
    StateBytes, require_bytes_of_day, require_one_event, require_room, require_room_for_bytes,
};
use super::store::{Loaded, StoredStream};
use crate::admin::error::CommandError;

/// The fields of a body, or what is wrong with it: that is told after what is wrong with the resource.
pub type GivenFields = FieldResult<Fields>;
/// A future behind a pointer, whichever kind it is of.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, CommandError>> + Send + 'a>>;
pub type Deciding<'a> = Pending<'a, DecidedCommand>;
/// Plans and decides a command.
pub type Decider = for<'a> fn(CommandInput<'a>) -> Deciding<'a>;

/// The input of a command to the resource of a stream.
pub struct CommandInput<'a> {
    pub cx: &'a AdminContext<'a>,
    pub stored: StoredStream,
    pub fields: GivenFields,
    /// Learns of the resource if the caller can see it.
    pub noted: &'a NotedResource,
}

/// A command that was decided, with everything that is recorded or replied along with it. See [`CommandPlan`].
pub struct DecidedCommand {
    pub stored: StoredStream,
    /// Empty if it changes nothing.
    pub events: Vec<Event>,
    pub chain: Chain,
    pub side: Vec<SideRow>,
    pub based_on: Vec<Stream>,
    pub secret: Option<Secret>,
    pub extra_fields: Map<String, Value>,
}

/// A resource as replies show it, but for its person.
pub struct Shown {
    pub body: Value,
    /// The user whose name and e-mail are added.
    pub person: Option<UserId>,
}

/// One kind of resource.
pub struct ResourceKind {
    pub kind: StreamKind,
    /// The path of the collection.
    pub path: &'static str,
    pub declared: &'static LazyLock<Declaration>,
    pub create: Decider,
    pub change: Decider,
    pub end: Decider,
    pub new_id: fn(&IdMaker) -> String,
    /// An id in its usual form; `None` for what is none.
    pub id_of: fn(&str) -> Option<String>,
    /// Checks that the caller can see and manage the resource.
    pub check: fn(&AdminContext<'_>, StoredStream) -> Result<(), CommandError>,
    pub shown: fn(StoredStream) -> Result<Shown, CommandError>,
    pub consequences: for<'a> fn(&'a AdminState, ConsecutiveEvents) -> Pending<'a, Map<String, Value>>,
}

pub static USERS: ResourceKind = ResourceKind::of::<User>();
pub static KEYS: ResourceKind = ResourceKind::of::<Key>();
pub static ALL: [&ResourceKind; 12] = [
    &ResourceKind::of::<Partner>(),
    &ResourceKind::of::<Tenant>(),
    &USERS,
    &ResourceKind::of::<Team>(),
    &KEYS,
    &ResourceKind::of::<Provider>(),
    &ResourceKind::of::<ProviderKey>(),
    &ResourceKind::of::<Model>(),
    &ResourceKind::of::<Price>(),
    &ResourceKind::of::<Budget>(),
    &ResourceKind::of::<RateLimit>(),
    &ResourceKind::of::<AuditSearch>(),
];

impl ResourceKind {
    const fn of<R: Administered>() -> Self {
        Self {
            kind: R::KIND,
            path: R::PATH,
            declared: R::DECLARATION,
            create: |input| Box::pin(created::<R>(input)),
            change: |input| Box::pin(decided_on(input, plan_change::<R>)),
            end: |input| Box::pin(decided_on(input, plan_end::<R>)),
            new_id: |ids| ids.make::<R::Id>().to_string(),
            id_of: |text| Some(text.parse::<R::Id>().ok()?.to_string()),
            check: |cx, stored| reached::<R>(cx, stored, &NotedResource::default()).map(drop),
            shown: shown::<R>,
            consequences: |admin, of| Box::pin(R::consequences(admin, of)),
        }
    }
}

async fn created<R: Administered>(input: CommandInput<'_>) -> Result<DecidedCommand, CommandError> {
    let CommandInput { cx, stored, fields, noted: _ } = input;
    let members = &R::DECLARATION.members;
    let fields = fields?.refuse_unknown(&members.names())?;
    R::may_create(cx)?;
    let no_id = || CommandError::Defect(format!("{} is no id", stored.stream.id));
    let id: R::Id = stored.stream.id.parse().map_err(|_| no_id())?;
    let plan = R::create(cx, id, members.read_creation(fields)?).await?;
    require_room(&cx.tables, R::KIND, &plan.chain)?;
    decided(cx, Loaded::of(stored)?, plan).await
}

async fn plan_change<R: Administered>(cx: &AdminContext<'_>, state: &R::State, fields: GivenFields) -> PlanResult<R> {
    cx.require_live_owners(R::KIND, &R::chain(state, &cx.tables))?;
    R::change(cx, state, R::DECLARATION.members.read_change(fields?)?).await
}

async fn plan_end<R: Administered>(cx: &AdminContext<'_>, state: &R::State, fields: GivenFields) -> PlanResult<R> {
    let fields = fields?;
    R::may_end(cx)?;
    fields.finish()?;
    if let Some(tenant) = R::held(cx, state) {
        return Err(CommandError::LegalHold { tenant });
    }
    let plan = CommandPlan::of(Command::End, state, cx).with_side(R::side_rows_at_end(cx, state));
    Ok(CommandPlan { extra_fields: R::extra_fields_at_end(), ..plan })
}

/// Plans and decides a command to a resource that the caller can see and manage.
pub async fn decided_on<R: Administered>(
    input: CommandInput<'_>,
    plan: impl AsyncFnOnce(&AdminContext<'_>, &R::State, GivenFields) -> PlanResult<R>,
) -> Result<DecidedCommand, CommandError> {
    let CommandInput { cx, stored, fields, noted } = input;
    let loaded = reached::<R>(cx, stored, noted)?;
    let plan = plan(cx, loaded.state()?, fields).await?;
    decided(cx, loaded, plan).await
}

/// The resource of a stream, which the caller can see and manage.
fn reached<R: Administered>(
    cx: &AdminContext<'_>,
    stored: StoredStream,
    noted: &NotedResource,
) -> Result<Loaded<R>, CommandError> {
    let loaded = Loaded::<R>::of(stored)?;
    let state = loaded.state()?;
    let owners = R::chain(state, &cx.tables);
    cx.require_visible(R::KIND, &owners)?;
    noted.reached(state.resource().id(), owners);
    R::may_manage(cx, state)?;
    Ok(loaded)
}

async fn decided<R: Rules>(
    cx: &AdminContext<'_>,
    mut loaded: Loaded<R>,
    plan: CommandPlan<R>,
) -> Result<DecidedCommand, CommandError> {
    let CommandPlan { command, chain, side, based_on, secret, extra_fields } = plan;
    let events = loaded.handle(command).await?;
    for event in &events {
        require_bytes::<R>(cx, event, &chain)?;
    }
    Ok(DecidedCommand { stored: loaded.stored, events, chain, side, based_on, secret, extra_fields })
}

/// Errors: the new state of a resource has more bytes than one event may have, or than there is room for; or the event has more than
/// may be written today. Whoever reaches the platform has room, and an end makes some.
fn require_bytes<R: ResourceState>(cx: &AdminContext<'_>, event: &Event, owners: &Chain) -> Result<(), CommandError> {
    let Event::Resource(resource) = event else { return Ok(()) };
    let change = R::change_in(resource);
    if change.is_some_and(|change| change.state().is_none()) || matches!(resource, Resource::UserErased(_)) {
        return Ok(());
    }
    let payload = event.payload().map_err(|error| CommandError::Defect(error.to_string()))?;
    let after = payload.len() as u64;
    require_one_event(R::KIND, after)?;
    if cx.caller.reaches_platform() {
        return Ok(());
    }
    if let Some(state) = change.and_then(Change::state) {
        let before = cx.tables.bytes_kept_of(state.id());
        require_room_for_bytes(&cx.tables, R::KIND, owners, StateBytes { before, after })?;
    }
    if let Some(tenant) = cx.tables.bounded_writer(&cx.caller.actor) {
        require_bytes_of_day(&cx.tables, tenant, after, cx.now)?;
    }
    Ok(())
}

fn shown<R: Administered>(stored: StoredStream) -> Result<Shown, CommandError> {
    let loaded = Loaded::<R>::of(stored)?;
    let broken = || CommandError::Defect(format!("a {} has no state", R::KIND.as_str()));
    let (state, lifetime): (&R::State, Lifetime) = loaded.lifecycle.state().zip(loaded.lifetime).ok_or_else(broken)?;
    Ok(Shown { body: resource_json(state.resource(), lifetime), person: R::person(state) })
}
