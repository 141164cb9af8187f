//! `POST`, `PATCH` and `DELETE` under `/v1/admin`: one path through load, authority, command, append and reply for all
//! nine resources. What differs between them is an [`Administered`] each, in `resources`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::event::{Chain, Context};
use events::ids::UserId;
use events::log::{AppendError, SideRow, StoredReply};
use http::StatusCode;
use openapi::{Api, Entrance};
use projections::caller::{AtPosition, Caller};
use projections::resource::{Lifetime, Person, resource_json, with_person};
use projections::tables::Tables;
use secrets::Secret;
use secrets::vault::Sealed;
use serde_json::{Map, Value, json};

use super::AdminState;
use super::admin_context::AdminContext;
use super::declaration::Declaration;
use super::described;
use super::fields::Fields;
use super::given::Given;
use super::lifecycle::{Command, CommandOf, Rules, StateOf};
use super::request::AdminRequest;
use super::store::{Loaded, Unwritten, Write};
use crate::admin::error::CommandError;

/// How often at most a command is decided anew because somebody else changed the resource meanwhile.
const ATTEMPTS_MAX: usize = 10;
/// How long a reply waits for its change to be in force on this node.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(2);
/// Where [`Plan::shown`] stands in what is kept of an answer.
const SHOWN: &str = "shown";

/// How one of the nine resources is administered.
pub trait Administered: Rules {
    /// Path of the collection.
    const PATH: &'static str;

    /// Its fields.
    fn declaration() -> &'static Declaration;

    /// Whose it is, itself included; nobody's where it is shared by all.
    fn chain(state: &Self::State, tables: &Tables) -> Chain;

    /// The user whose name and e-mail belong into the reply.
    fn person(_: &Self::State) -> Option<UserId> {
        None
    }

    fn refused(error: Self::Error) -> CommandError;

    /// Whether the caller may make one, whatever its body gives.
    fn may_create(_: &AdminContext<'_>) -> Result<(), CommandError> {
        Ok(())
    }

    /// Whether the caller, who can see it, may change and end it.
    fn manage(_: &AdminContext<'_>, _: &Self::State) -> Result<(), CommandError> {
        Ok(())
    }

    /// Whether the caller, who may manage it, may end it.
    fn may_end(_: &AdminContext<'_>) -> Result<(), CommandError> {
        Ok(())
    }

    /// Draws up the command that makes it as `id`.
    fn create(
        cx: &AdminContext<'_>,
        id: Self::Id,
        given: Given,
    ) -> impl Future<Output = Result<Plan<Self>, CommandError>> + Send;

    /// Draws up the command that changes it.
    fn change(
        cx: &AdminContext<'_>,
        state: &Self::State,
        given: Given,
    ) -> impl Future<Output = Result<Plan<Self>, CommandError>> + Send {
        std::future::ready(Ok(Plan::of(Command::Change(given), state, cx)))
    }

    /// What ends along with it.
    fn side_of_end(_: &Self::State) -> Vec<SideRow> {
        Vec::new()
    }

    /// Fields of the reply to its end, as in [`Plan::shown`].
    fn shown_of_end() -> Map<String, Value> {
        Map::new()
    }
}

/// A command and what goes along with it.
pub struct Plan<R: Rules> {
    pub command: CommandOf<R>,
    /// Whom its events are about.
    pub chain: Chain,
    pub side: Vec<SideRow>,
    /// A provider's key on its way into the log.
    pub sealed: Option<Sealed>,
    /// Shown in the reply, this once.
    pub secret: Option<Secret>,
    /// Fields of the reply besides those of the resource. They are kept for a retry: neither secrets nor personal data.
    pub shown: Map<String, Value>,
}

impl<R: Rules> Plan<R> {
    pub fn new(command: CommandOf<R>, chain: Chain) -> Self {
        Self { command, chain, side: Vec::new(), sealed: None, secret: None, shown: Map::new() }
    }

    /// About a resource that is there.
    pub fn of(command: CommandOf<R>, state: &R::State, cx: &AdminContext<'_>) -> Self
    where
        R: Administered,
    {
        Self::new(command, R::chain(state, &cx.tables))
    }

    #[must_use]
    pub fn with_side(mut self, rows: impl IntoIterator<Item = SideRow>) -> Self {
        self.side.extend(rows);
        self
    }
}

/// The write side of one resource.
pub fn of_resource<R: Administered>() -> Api<AdminState> {
    let one = format!("{}/{{id}}", R::PATH);
    Api::of(Entrance::Administration)
        .post(R::PATH, create::<R>, || described::creation(R::declaration()))
        .patch(&one, change::<R>, || described::change(R::declaration()))
        .delete(&one, end::<R>, || described::end(R::declaration()))
}

async fn create<R: Administered>(
    State(admin): State<AdminState>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    if let Some(reply) = answered_before::<R>(&admin, &request).await? {
        return Ok(reply);
    }
    let id: R::Id = admin.ids.make();
    let members = &R::declaration().members;
    for _ in 0..ATTEMPTS_MAX {
        let cx = AdminContext::new(&admin, &request.caller)?;
        let fields = request.fields()?.known(&members.names())?;
        R::may_create(&cx)?;
        let plan = R::create(&cx, id, members.created(fields)?).await?;
        if let Some(outcome) = carry_out(&cx, &request, Loaded::absent(id), id, plan, StatusCode::CREATED).await? {
            return outcome.into_reply(&cx).await;
        }
    }
    Err(CommandError::Contended { kind: R::KIND })
}

async fn change<R: Administered>(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    decide_on::<R, _>(&admin, &id, &request, (Purpose::Change, plan_change::<R>)).await
}

async fn end<R: Administered>(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    decide_on::<R, _>(&admin, &id, &request, (Purpose::End, plan_end::<R>)).await
}

async fn plan_change<R: Administered>(
    cx: &AdminContext<'_>,
    state: &R::State,
    fields: Fields,
) -> Result<Plan<R>, CommandError> {
    R::change(cx, state, R::declaration().members.changed(fields)?).await
}

async fn plan_end<R: Administered>(
    cx: &AdminContext<'_>,
    state: &R::State,
    fields: Fields,
) -> Result<Plan<R>, CommandError> {
    R::may_end(cx)?;
    fields.finish()?;
    let plan = Plan::of(Command::End, state, cx).with_side(R::side_of_end(state));
    Ok(Plan { shown: R::shown_of_end(), ..plan })
}

/// What a command does to an existing resource. One whose owner has ended can be ended, but no longer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Change,
    End,
}

/// Draws up a command for an existing resource that the caller may manage, and carries it out; anew where somebody else
/// was faster.
pub async fn decide_on<R: Administered, F>(
    admin: &AdminState,
    id: &str,
    request: &AdminRequest,
    (purpose, plan): (Purpose, F),
) -> Result<Response, CommandError>
where
    F: AsyncFn(&AdminContext<'_>, &R::State, Fields) -> Result<Plan<R>, CommandError>,
{
    if let Some(reply) = answered_before::<R>(admin, request).await? {
        return Ok(reply);
    }
    let not_found = || CommandError::NotFound { kind: R::KIND };
    let id: R::Id = id.parse().map_err(|_| not_found())?;
    for _ in 0..ATTEMPTS_MAX {
        let loaded = Loaded::<R>::read(&admin.log, id, None).await?;
        let cx = AdminContext::new(admin, &request.caller)?;
        let state = loaded.lifecycle.state().ok_or_else(not_found)?;
        let chain = managed::<R>(&cx, state)?;
        if purpose == Purpose::Change {
            cx.owners_live(R::KIND, &chain)?;
        }
        let plan = plan(&cx, state, request.fields()?).await?;
        if let Some(outcome) = carry_out(&cx, request, loaded, id, plan, StatusCode::OK).await? {
            return outcome.into_reply(&cx).await;
        }
    }
    Err(CommandError::Contended { kind: R::KIND })
}

/// Whose the resource is, where the caller can see and manage it.
fn managed<R: Administered>(cx: &AdminContext<'_>, state: &R::State) -> Result<Chain, CommandError> {
    let chain = R::chain(state, &cx.tables);
    cx.sees(R::KIND, &chain)?;
    R::manage(cx, state)?;
    Ok(chain)
}

/// What a command led to.
enum Outcome<R: Administered> {
    Changed {
        loaded: Loaded<R>,
        secret: Option<Secret>,
        shown: Map<String, Value>,
        status: StatusCode,
    },
    /// The same request had been answered meanwhile.
    Replayed(StoredReply),
}

/// `None` where the resource, or the caller's right, changed since it was decided: it is to be decided anew.
async fn carry_out<R: Administered>(
    cx: &AdminContext<'_>,
    request: &AdminRequest,
    loaded: Loaded<R>,
    id: R::Id,
    plan: Plan<R>,
    status: StatusCode,
) -> Result<Option<Outcome<R>>, CommandError> {
    let admin = cx.admin;
    let Plan { command, chain, mut side, sealed, secret, shown } = plan;
    let (sealed, sealing) = sealed.map(Sealed::into_rows).unzip();
    side.extend(sealed.into_iter().flatten());
    side.push(request.client_address());
    let context = Context::about(cx.caller.actor.clone(), chain).in_request(request.request_id);
    // A secret is shown once and personal data is erasable: neither is kept of an answer.
    let mut kept = json!({ "id": id.to_string() });
    if !shown.is_empty() {
        kept[SHOWN] = shown.clone().into();
    }
    let idempotency = request.retry.clone().map(|retry| retry.answered(status, kept.to_string()));
    let write = Write { command, context, side, idempotency, basis: cx.basis() };
    let written = loaded.write(&admin.log, write).await;
    drop(sealing);
    match written {
        Ok(loaded) => Ok(Some(Outcome::Changed { loaded, secret, shown, status })),
        Err(Unwritten::Refused(error)) => Err(R::refused(error)),
        Err(Unwritten::Append(AppendError::Replayed(stored))) => Ok(Some(Outcome::Replayed(stored))),
        Err(Unwritten::Append(AppendError::OptimisticLock)) => Ok(None),
        Err(Unwritten::Append(AppendError::Outdated { position })) => in_force(admin, position).await.map(|()| None),
        Err(Unwritten::Append(error)) => Err(CommandError::of_append(R::KIND, error)),
    }
}

impl<R: Administered> Outcome<R> {
    async fn into_reply(self, cx: &AdminContext<'_>) -> Result<Response, CommandError> {
        let admin = cx.admin;
        match self {
            Self::Replayed(stored) => replay::<R>(admin, &cx.caller, &stored).await,
            Self::Changed { loaded, secret, shown, status } => {
                in_force(admin, loaded.position).await?;
                let shown_now = body_of(admin, &loaded).await.map_err(|error| match error {
                    CommandError::Log(error) => CommandError::NotShown { position: loaded.position, error },
                    other => other,
                });
                let mut body = with_shown(shown_now?, shown);
                if let (Some(secret), Some(fields)) = (secret, body.as_object_mut()) {
                    fields.insert("secret".to_owned(), secret.reveal().into());
                }
                Ok(reply(status, loaded.position, body))
            }
        }
    }
}

async fn answered_before<R: Administered>(
    admin: &AdminState,
    request: &AdminRequest,
) -> Result<Option<Response>, CommandError> {
    let Some(retry) = &request.retry else { return Ok(None) };
    let (scope, key) = (retry.scope.clone(), retry.key.clone());
    match admin.log.read(move |reader| reader.idempotent_reply(&scope, &key)).await? {
        None => Ok(None),
        Some(stored) if stored.fingerprint != retry.fingerprint => Err(CommandError::IdempotencyKeyReused),
        Some(stored) => replay::<R>(admin, &request.caller, &stored).await.map(Some),
    }
}

/// The resource as it stood at the position of the first answer, without a secret: for a caller that can see and manage
/// it now.
async fn replay<R: Administered>(
    admin: &AdminState,
    caller: &Arc<Caller>,
    stored: &StoredReply,
) -> Result<Response, CommandError> {
    let broken = || CommandError::Defect(format!("the stored reply of position {}", stored.position));
    let kept: Value = serde_json::from_str(&stored.body).map_err(|_| broken())?;
    let id: R::Id = kept["id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(broken)?;
    let status = StatusCode::from_u16(stored.status).map_err(|_| broken())?;
    in_force(admin, stored.position).await?;
    let today = Loaded::<R>::read(&admin.log, id, None).await?;
    let cx = AdminContext::new(admin, caller)?;
    managed::<R>(&cx, today.lifecycle.state().ok_or_else(broken)?)?;
    let loaded = Loaded::<R>::read(&admin.log, id, Some(stored.position)).await?;
    let shown = kept.get(SHOWN).and_then(Value::as_object).cloned().unwrap_or_default();
    Ok(reply(status, stored.position, with_shown(body_of(admin, &loaded).await?, shown)))
}

fn with_shown(mut body: Value, shown: Map<String, Value>) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.extend(shown);
    }
    body
}

/// A change that was answered is what the next request is decided by.
pub async fn in_force(admin: &AdminState, position: u64) -> Result<(), CommandError> {
    if admin.tables.wait_for(position, IN_FORCE_WITHIN).await {
        return Ok(());
    }
    Err(CommandError::NotYetInForce { position })
}

async fn body_of<R: Administered>(admin: &AdminState, loaded: &Loaded<R>) -> Result<Value, CommandError> {
    let broken = || CommandError::Defect(format!("a {} without a state", R::KIND.as_str()));
    let (state, lifetime) = (loaded.lifecycle.state(), loaded.lifetime);
    let (state, lifetime): (&R::State, Lifetime) = state.zip(lifetime).ok_or_else(broken)?;
    let body = resource_json(state.resource(), lifetime);
    let Some(user) = R::person(state) else { return Ok(body) };
    let person = admin.log.read(move |reader| Ok(reader.personal_data(&[user])?.remove(&user))).await?;
    let person = person.map_or_else(Person::default, |row| Person { name: Some(row.name), email: row.email });
    Ok(with_person(body, &person))
}

fn reply(status: StatusCode, position: u64, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.extensions_mut().insert(AtPosition(position));
    response
}
