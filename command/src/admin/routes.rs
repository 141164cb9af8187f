//! `POST`, `PATCH` and `DELETE` under `/v1/admin`: load, check authority, decide, append and reply, in one path for all twelve
//! resources. Each resource implements [`Administered`] for what is special to it.

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use events::event::{Chain, Context, Stream, StreamKind};
use events::ids::{TenantId, UserId};
use events_log::{Append, AppendError, SideRow, StoredReply};
use http::StatusCode;
use openapi::{Api, Entrance, Json};
use projections::caller::{AtPosition, Caller};
use projections::resource::{Lifetime, put_person, resource_json};
use projections::tables::{CatchUp, Tables};
use secrets::Secret;
use secrets::vault::Sealed;
use serde_json::{Map, Value, json};

use super::AdminState;
use super::admin_context::AdminContext;
use super::declaration::Declaration;
use super::described;
use super::field_values::FieldValues;
use super::lifecycle::{Command, RuleError, Rules, StateOf};
use super::names::release;
use super::rejected::noted;
use super::request::AdminRequest;
use super::store::Loaded;
use crate::admin::error::CommandError;

/// How often a command is decided at most, if other commands change the resource meanwhile.
pub const ATTEMPTS_MAX: usize = 10;
/// How long a reply waits until this node's tables have the change.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(2);
/// The field of a stored reply that has [`CommandPlan::extra_fields`]. Logs contain it, so it cannot change.
const EXTRA_FIELDS: &str = "shown";
/// The field of a stored reply that has [`ConsecutiveEvents::before`]. Replies of earlier versions lack it.
const BEFORE: &str = "before";

/// A planned command, or the reason why the caller may not give it.
pub type PlanResult<R> = Result<CommandPlan<R>, CommandError>;

/// The parts of the administration in which the twelve resources differ.
pub trait Administered: Rules {
    /// The path of the collection.
    const PATH: &'static str;
    const DECLARATION: &'static LazyLock<Declaration>;

    /// Completes the values of a creation, so that a state follows from them without a gateway. Returns the fields that the
    /// state does not have: they are kept beside it, or depend on when the resource is created.
    fn complete(_: &mut FieldValues) -> Result<Map<String, Value>, RuleError> {
        Ok(Map::new())
    }

    /// The owners of the resource and the resource itself; empty for a resource that all tenants share, or that is the
    /// platform's alone.
    fn chain(state: &Self::State, tables: &Tables) -> Chain;

    /// The user whose name and e-mail are added to the reply.
    fn person(_: &Self::State) -> Option<UserId> {
        None
    }

    /// Checks that the caller may create such resources at all.
    fn may_create(_: &AdminContext<'_>) -> Result<(), CommandError> {
        Ok(())
    }

    /// Checks that the caller, which can see the resource, may change and end it.
    fn may_manage(_: &AdminContext<'_>, _: &Self::State) -> Result<(), CommandError> {
        Ok(())
    }

    /// Checks that the caller, which may manage the resource, may end it.
    fn may_end(_: &AdminContext<'_>) -> Result<(), CommandError> {
        Ok(())
    }

    /// The tenant under legal hold of which something would be deleted with the resource, if there is one.
    fn held(_: &AdminContext<'_>, _: &Self::State) -> Option<TenantId> {
        None
    }

    /// Plans the creation of the resource as `id`.
    fn create(cx: &AdminContext<'_>, id: Self::Id, given: FieldValues)
    -> impl Future<Output = PlanResult<Self>> + Send;

    /// Plans a change of the resource.
    fn change(
        cx: &AdminContext<'_>,
        state: &Self::State,
        given: FieldValues,
    ) -> impl Future<Output = PlanResult<Self>> + Send {
        std::future::ready(Ok(CommandPlan::of(Command::Change(given), state, cx)))
    }

    /// The side rows that are written with its end. By default, its names are free again.
    fn side_rows_at_end(_: &AdminContext<'_>, state: &Self::State) -> Vec<SideRow> {
        vec![release(state.resource().id())]
    }

    /// Fields of the reply to a creation or a change that tell what follows from it: from its event, and the resource's event
    /// before it.
    fn consequences(
        _: &AdminState,
        _: ConsecutiveEvents,
    ) -> impl Future<Output = Result<Map<String, Value>, CommandError>> + Send {
        std::future::ready(Ok(Map::new()))
    }

    /// Fields of the reply to its end, as in [`CommandPlan::extra_fields`].
    fn extra_fields_at_end() -> Map<String, Value> {
        Map::new()
    }
}

/// The log positions of an event of a resource and of the one before it; 0 if there is none.
#[derive(Clone, Copy, Debug)]
pub struct ConsecutiveEvents {
    pub before: u64,
    pub position: u64,
}

/// A command with everything that is recorded or replied along with it.
#[must_use]
pub struct CommandPlan<R: Rules> {
    pub command: Command<R>,
    /// The owners that its events are about.
    pub chain: Chain,
    pub side: Vec<SideRow>,
    /// Other resources that it was planned on: if one changes before the command is recorded, it is planned again.
    pub based_on: Vec<Stream>,
    /// The sealed key of a provider, to be appended.
    pub sealed: Option<Sealed>,
    /// A new secret, which only this reply has.
    pub secret: Option<Secret>,
    /// Fields of the reply besides those of the resource. They are stored for retries, so they hold neither secrets nor
    /// personal data.
    pub extra_fields: Map<String, Value>,
}

impl<R: Rules> CommandPlan<R> {
    fn new(command: Command<R>, chain: Chain) -> Self {
        Self {
            command,
            chain,
            side: Vec::new(),
            based_on: Vec::new(),
            sealed: None,
            secret: None,
            extra_fields: Map::new(),
        }
    }

    /// Plans a creation, which claims the name of what is made.
    pub fn creation(made: R, chain: Chain) -> Self {
        let claim = made.claim();
        Self::new(Command::Create(made), chain).with_side(claim)
    }

    /// Plans a command to an existing resource.
    pub fn of(command: Command<R>, state: &R::State, cx: &AdminContext<'_>) -> Self
    where
        R: Administered,
    {
        Self::new(command, R::chain(state, &cx.tables))
    }

    pub fn based_on(mut self, streams: impl IntoIterator<Item = Stream>) -> Self {
        self.based_on.extend(streams);
        self
    }

    pub fn with_side(mut self, rows: impl IntoIterator<Item = SideRow>) -> Self {
        self.side.extend(rows);
        self
    }
}

/// The routes that change one resource.
pub fn resource_routes<R: Administered>() -> Api<AdminState> {
    let one = format!("{}/{{id}}", R::PATH);
    let routes = Api::of(Entrance::Administration)
        .post(R::PATH, create::<R>, || described::creation(R::DECLARATION))
        .patch(&one, change::<R>, || described::change(R::DECLARATION))
        .delete(&one, end::<R>, || described::end(R::DECLARATION));
    changes_of(R::KIND, routes)
}

/// The same routes, whose refusals say that they are about a resource of this kind.
pub fn changes_of<S: Clone + Send + Sync + 'static>(kind: StreamKind, routes: Api<S>) -> Api<S> {
    routes.layer(from_fn(move |request: Request, next: Next| noted(kind, request, next)))
}

async fn create<R: Administered>(
    State(admin): State<AdminState>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    let seen = admin.tables.load().position;
    match create_once::<R>(&admin, &request).await {
        Err(error) => {
            catch_up_after(&admin, seen, error).await?;
            create_once::<R>(&admin, &request).await
        }
        done => done,
    }
}

async fn create_once<R: Administered>(admin: &AdminState, request: &AdminRequest) -> Result<Response, CommandError> {
    if let Some(reply) = earlier_reply::<R>(admin, request).await? {
        return Ok(reply);
    }
    let id: R::Id = admin.ids.make();
    let members = &R::DECLARATION.members;
    for _ in 0..ATTEMPTS_MAX {
        let cx = AdminContext::new(admin, &request.caller)?;
        let fields = request.fields()?.refuse_unknown(&members.names())?;
        R::may_create(&cx)?;
        let plan = R::create(&cx, id, members.read_creation(fields)?).await?;
        if let Some(reply) = execute(&cx, request, Loaded::absent(id), id, plan, StatusCode::CREATED).await? {
            return Ok(reply);
        }
    }
    Err(CommandError::Contended { kind: R::KIND })
}

async fn change<R: Administered>(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    execute_on::<R, _>(&admin, &id, &request, plan_change::<R>).await
}

async fn end<R: Administered>(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    execute_on::<R, _>(&admin, &id, &request, plan_end::<R>).await
}

async fn plan_change<R: Administered>(
    cx: &AdminContext<'_>,
    state: &R::State,
    request: &AdminRequest,
) -> PlanResult<R> {
    cx.require_live_owners(R::KIND, &R::chain(state, &cx.tables))?;
    R::change(cx, state, R::DECLARATION.members.read_change(request.fields()?)?).await
}

async fn plan_end<R: Administered>(cx: &AdminContext<'_>, state: &R::State, request: &AdminRequest) -> PlanResult<R> {
    let fields = request.fields()?;
    R::may_end(cx)?;
    fields.finish()?;
    if let Some(tenant) = R::held(cx, state) {
        return Err(CommandError::LegalHold { tenant });
    }
    let plan = CommandPlan::of(Command::End, state, cx).with_side(R::side_rows_at_end(cx, state));
    Ok(CommandPlan { extra_fields: R::extra_fields_at_end(), ..plan })
}

/// Plans a command to an existing resource that the caller may manage, and executes it. If another command was faster, or another
/// node has just made what it names, it starts over.
pub async fn execute_on<R: Administered, F>(
    admin: &AdminState,
    id: &str,
    request: &AdminRequest,
    plan: F,
) -> Result<Response, CommandError>
where
    F: AsyncFn(&AdminContext<'_>, &R::State, &AdminRequest) -> PlanResult<R>,
{
    let seen = admin.tables.load().position;
    match execute_once::<R, F>(admin, id, request, &plan).await {
        Err(error) => {
            catch_up_after(admin, seen, error).await?;
            execute_once::<R, F>(admin, id, request, &plan).await
        }
        done => done,
    }
}

/// Catches up with other nodes if a command has not found something, which one of them may have made a moment ago: then the command
/// should be tried once more. `seen` is the position of the tables in which it was looked for.
///
/// Errors: the command's error, or that nobody knows what others have made.
pub async fn catch_up_after(admin: &AdminState, seen: u64, error: CommandError) -> Result<(), CommandError> {
    if !matches!(error, CommandError::NotFound { .. } | CommandError::ReferenceNotFound { .. }) {
        return Err(error);
    }
    match admin.tables.catch_up_with_others(&admin.log, seen).await {
        CatchUp::FoundMore => Ok(()),
        CatchUp::FoundNothing => Err(error),
        CatchUp::TimedOut => Err(CommandError::NotCurrent),
    }
}

async fn execute_once<R: Administered, F>(
    admin: &AdminState,
    id: &str,
    request: &AdminRequest,
    plan: &F,
) -> Result<Response, CommandError>
where
    F: AsyncFn(&AdminContext<'_>, &R::State, &AdminRequest) -> PlanResult<R>,
{
    if let Some(reply) = earlier_reply::<R>(admin, request).await? {
        return Ok(reply);
    }
    let not_found = || CommandError::NotFound { kind: R::KIND };
    let id: R::Id = id.parse().map_err(|_| not_found())?;
    for _ in 0..ATTEMPTS_MAX {
        let loaded = Loaded::<R>::read(&admin.log, id, None).await?;
        // Its owners are older than it is: with tables that are older, they would be missing.
        wait_until_current(admin, loaded.position).await?;
        let cx = AdminContext::new(admin, &request.caller)?;
        let state = loaded.lifecycle.state().ok_or_else(not_found)?;
        let owners = R::chain(state, &cx.tables);
        cx.require_visible(R::KIND, &owners)?;
        request.resource.reached(id, owners);
        R::may_manage(&cx, state)?;
        let plan = plan(&cx, state, request).await?;
        if let Some(reply) = execute(&cx, request, loaded, id, plan, StatusCode::OK).await? {
            return Ok(reply);
        }
    }
    Err(CommandError::Contended { kind: R::KIND })
}

/// Decides and appends a planned command, and replies. `None` if the resource or the caller's right has changed since it was
/// loaded: the command must start over.
async fn execute<R: Administered>(
    cx: &AdminContext<'_>,
    request: &AdminRequest,
    mut loaded: Loaded<R>,
    id: R::Id,
    plan: CommandPlan<R>,
    status: StatusCode,
) -> Result<Option<Response>, CommandError> {
    let admin = cx.admin;
    let CommandPlan { command, chain, mut side, based_on, sealed, secret, extra_fields } = plan;
    let (sealed, sealing) = sealed.map(|Sealed { rows, permit }| (rows, permit)).unzip();
    side.extend(sealed.into_iter().flatten());
    side.push(request.client_address());
    let context = Context::about(cx.caller.actor.clone(), chain).in_request(request.request_id);
    // A secret is shown once and personal data can be erased, so neither is stored with the reply.
    let before = loaded.position;
    let mut stored = json!({ "id": id.to_string(), BEFORE: before });
    if !extra_fields.is_empty() {
        stored[EXTRA_FIELDS] = extra_fields.clone().into();
    }
    let idempotency = request.idempotency_key.clone().map(|key| key.with_reply(status, stored.to_string()));
    let events = loaded.handle(command).await?;
    let mut basis = cx.basis();
    basis.streams.extend(based_on);
    let append = Append { side, idempotency, basis, ..loaded.append_of(events, context) };
    let written = loaded.write(&admin.log, append).await;
    drop(sealing);
    let loaded = match written {
        Ok(loaded) => loaded,
        // Another attempt of the same request was faster.
        Err(AppendError::Replayed(stored)) => return replay::<R>(admin, &cx.caller, &stored).await.map(Some),
        Err(AppendError::OptimisticLock) => return Ok(None),
        Err(AppendError::Outdated { position }) => return wait_until_current(admin, position).await.map(|()| None),
        Err(error) => return Err(CommandError::of_append(R::KIND, error)),
    };
    wait_until_in_force(admin, loaded.position).await?;
    let body = changed_body(admin, &loaded, Some(before)).await.map_err(|error| match error {
        CommandError::Log(error) => CommandError::NotShown { position: loaded.position, error },
        other => other,
    });
    let mut body = with_extra_fields(body?, extra_fields);
    if let (Some(secret), Some(fields)) = (secret, body.as_object_mut()) {
        fields.insert("secret".to_owned(), secret.reveal().into());
    }
    Ok(Some(reply(status, loaded.position, body)))
}

/// The reply to an earlier attempt of the same request.
/// Errors: the key was used for a different request.
async fn earlier_reply<R: Administered>(
    admin: &AdminState,
    request: &AdminRequest,
) -> Result<Option<Response>, CommandError> {
    match request.earlier_reply(&admin.log).await? {
        None => Ok(None),
        Some(stored) => replay::<R>(admin, &request.caller, &stored).await.map(Some),
    }
}

/// The reply to a retry: the resource at the position of the first reply, without its secret. The caller must still be able
/// to see and manage the resource.
async fn replay<R: Administered>(
    admin: &AdminState,
    caller: &Arc<Caller>,
    stored: &StoredReply,
) -> Result<Response, CommandError> {
    let broken = || damaged_reply(stored);
    let body = stored_body(stored)?;
    let id: R::Id = body["id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(broken)?;
    let status = StatusCode::from_u16(stored.status).map_err(|_| broken())?;
    wait_until_in_force(admin, stored.position).await?;
    let newest = Loaded::<R>::read(&admin.log, id, None).await?;
    let cx = AdminContext::new(admin, caller)?;
    let state = newest.lifecycle.state().ok_or_else(broken)?;
    cx.require_visible(R::KIND, &R::chain(state, &cx.tables))?;
    R::may_manage(&cx, state)?;
    let loaded = Loaded::<R>::read(&admin.log, id, Some(stored.position)).await?;
    let extra_fields = body.get(EXTRA_FIELDS).and_then(Value::as_object).cloned().unwrap_or_default();
    let body_now = changed_body(admin, &loaded, body[BEFORE].as_u64()).await?;
    Ok(reply(status, stored.position, with_extra_fields(body_now, extra_fields)))
}

/// The body of a stored reply.
pub fn stored_body(stored: &StoredReply) -> Result<Value, CommandError> {
    serde_json::from_str(&stored.body).map_err(|_| damaged_reply(stored))
}

fn damaged_reply(stored: &StoredReply) -> CommandError {
    CommandError::Defect(format!("the stored reply of position {} is damaged", stored.position))
}

fn with_extra_fields(mut body: Value, extra_fields: Map<String, Value>) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.extend(extra_fields);
    }
    body
}

/// Waits until this node's tables have the change, so that the next request is decided by it. Another node may have recorded it.
pub async fn wait_until_in_force(admin: &AdminState, position: u64) -> Result<(), CommandError> {
    if wait_for_tables(admin, position).await { Ok(()) } else { Err(CommandError::NotYetInForce { position }) }
}

/// Waits until this node's tables have what a command depends on.
///
/// Errors: `NotCurrent`; nothing was decided.
pub async fn wait_until_current(admin: &AdminState, position: u64) -> Result<(), CommandError> {
    if wait_for_tables(admin, position).await { Ok(()) } else { Err(CommandError::NotCurrent) }
}

/// Waits until this node's tables have this position. Returns false if that takes too long.
async fn wait_for_tables(admin: &AdminState, position: u64) -> bool {
    let until = tokio::time::Instant::now() + IN_FORCE_WITHIN;
    // The tables wait only for positions that this process has published.
    admin.log.wait_until_published(position, IN_FORCE_WITHIN).await
        && admin.tables.wait_for(position, until.saturating_duration_since(tokio::time::Instant::now())).await
}

/// The resource after a command, and what follows from it. `before` is the position of its event before.
async fn changed_body<R: Administered>(
    admin: &AdminState,
    loaded: &Loaded<R>,
    before: Option<u64>,
) -> Result<Value, CommandError> {
    let body = resource_body(admin, loaded).await?;
    let Some(before) = before.filter(|before| *before < loaded.position) else { return Ok(body) };
    let consequences = R::consequences(admin, ConsecutiveEvents { before, position: loaded.position }).await?;
    Ok(with_extra_fields(body, consequences))
}

async fn resource_body<R: Administered>(admin: &AdminState, loaded: &Loaded<R>) -> Result<Value, CommandError> {
    let broken = || CommandError::Defect(format!("a {} has no state", R::KIND.as_str()));
    let (state, lifetime) = (loaded.lifecycle.state(), loaded.lifetime);
    let (state, lifetime): (&R::State, Lifetime) = state.zip(lifetime).ok_or_else(broken)?;
    let mut body = resource_json(state.resource(), lifetime);
    let Some(user) = R::person(state) else { return Ok(body) };
    let person = admin.log.read(move |reader| Ok(reader.personal_data(&[user])?.remove(&user))).await?;
    put_person(&mut body, person.as_ref());
    Ok(body)
}

/// The reply to a command that was recorded at this position.
pub fn reply(status: StatusCode, position: u64, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.extensions_mut().insert(AtPosition(position));
    response
}
