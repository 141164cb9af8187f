//! Carries out commands, whatever they are about: load, plan, append, wait until the change is in force, and reply. A command that
//! others have overtaken starts over.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use events::event::{Context, Stream};
use events_log::{Append, AppendAllError, AppendError, Appended, Basis, Idempotency, StoredReply};
use http::StatusCode;
use openapi::Json;
use projections::caller::{AtPosition, Caller};
use projections::resource::put_person;
use projections::tables::CatchUp;
use serde_json::{Map, Value, json};

use super::AdminState;
use super::admin_context::AdminContext;
use super::administered::ConsecutiveEvents;
use super::request::AdminRequest;
use super::resource_kind::{CommandInput, DecidedCommand, Decider, ResourceKind, Shown};
use super::store::StoredStream;
use crate::admin::error::CommandError;

/// How often a command is decided at most, if other commands change the resource meanwhile.
pub const ATTEMPTS_MAX: usize = 10;
/// How long a reply waits until this node's tables have the change.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(2);
/// The field of a stored reply that has [`DecidedCommand::extra_fields`]. Logs contain it, so it cannot change.
const EXTRA_FIELDS: &str = "shown";
/// The field of a stored reply that has [`ConsecutiveEvents::before`]. Replies of earlier versions lack it.
const BEFORE: &str = "before";

/// A command to one resource.
#[derive(Clone, Copy)]
pub struct CommandTo<'a> {
    of: &'static ResourceKind,
    decide: Decider,
    /// The id as the path has it; `None` for a resource that is created.
    id: Option<&'a str>,
    /// Whether it may make something larger, so that it waits for the turn of its tenant.
    takes_turn: bool,
}

impl<'a> CommandTo<'a> {
    pub const fn new(of: &'static ResourceKind) -> Self {
        Self { of, decide: of.create, id: None, takes_turn: true }
    }

    pub const fn existing(of: &'static ResourceKind, decide: Decider, id: &'a str) -> Self {
        Self { of, decide, id: Some(id), takes_turn: true }
    }

    /// The end of a resource, which waits for nothing.
    pub const fn end(of: &'static ResourceKind, id: &'a str) -> Self {
        Self { of, decide: of.end, id: Some(id), takes_turn: false }
    }
}

/// The outcome of an attempt to append commands.
pub enum Written {
    /// `None` if they change nothing.
    Recorded(Option<Appended>),
    /// An earlier attempt of the same request was recorded.
    Replayed(StoredReply),
    /// The basis of the command of this index has changed, by the event at this position if that is known.
    Outdated { at: usize, position: Option<u64> },
}

/// Executes a command. If another command was faster, or another node has just made what it names, it starts over.
pub async fn execute(
    admin: &AdminState,
    request: &AdminRequest,
    command: CommandTo<'_>,
) -> Result<Response, CommandError> {
    let seen = admin.tables.load().position;
    match execute_once(admin, request, command).await {
        Err(error) => {
            catch_up_after(admin, seen, error).await?;
            execute_once(admin, request, command).await
        }
        done => done,
    }
}

/// Catches up with other nodes if a command has not found something, which one of them may have made a moment ago: then the command
/// should be tried once more. `seen` is the position of the tables in which it was looked for.
///
/// Errors: the command's error, or that nobody knows what others have made.
pub async fn catch_up_after(admin: &AdminState, seen: u64, error: CommandError) -> Result<(), CommandError> {
    if !matches!(error.of_change(), CommandError::NotFound { .. } | CommandError::ReferenceNotFound { .. }) {
        return Err(error);
    }
    match admin.tables.catch_up_with_others(&admin.log, seen).await {
        CatchUp::FoundMore => Ok(()),
        CatchUp::FoundNothing => Err(error),
        CatchUp::TimedOut => Err(CommandError::NotCurrent),
    }
}

async fn execute_once(
    admin: &AdminState,
    request: &AdminRequest,
    CommandTo { of, decide, id: existing, takes_turn }: CommandTo<'_>,
) -> Result<Response, CommandError> {
    if let Some(stored) = request.earlier_reply(&admin.log).await? {
        return replay(admin, &request.caller, of, &stored).await;
    }
    let kind = of.kind;
    let id = match existing {
        None => (of.new_id)(&admin.ids),
        Some(id) => (of.id_of)(id).ok_or(CommandError::NotFound { kind })?,
    };
    // Until the change is in force, so that the next one finds it in the tables.
    let _turn = if takes_turn { Some(admin.concurrency.admit_change(request.caller.requester()).await?) } else { None };
    for _ in 0..ATTEMPTS_MAX {
        let stored = match existing {
            None => StoredStream::absent(kind, &id),
            Some(_) => StoredStream::read(&admin.log, Stream::new(kind, &id), None).await?,
        };
        // Its owners are older than it is: with tables that are older, they would be missing.
        wait_until_current(admin, stored.position()).await?;
        let cx = AdminContext::new(admin, &request.caller)?;
        let input = CommandInput { cx: &cx, stored, fields: request.fields(), noted: &request.resource };
        let mut decided = match decide(input).await {
            Ok(decided) => decided,
            Err(refused) => {
                drop(cx);
                // An earlier attempt of the same request may have made meanwhile what this one is refused for.
                let Some(stored) = request.earlier_reply(&admin.log).await? else { return Err(refused) };
                return replay(admin, &request.caller, of, &stored).await;
            }
        };
        let status = if existing.is_none() { StatusCode::CREATED } else { StatusCode::OK };
        let before = decided.stored.position();
        // A secret is shown once and personal data can be erased, so neither is stored with the reply.
        let mut body = json!({ "id": id, BEFORE: before });
        if !decided.extra_fields.is_empty() {
            body[EXTRA_FIELDS] = decided.extra_fields.clone().into();
        }
        let idempotency = request.idempotency_key.clone().map(|key| key.with_reply(status, body.to_string()));
        let basis = cx.basis();
        let written = write(&cx, request, std::slice::from_mut(&mut decided), basis, idempotency).await;
        // Others may seal secrets now.
        drop(cx);
        match written.map_err(|refused| CommandError::of_append(kind, refused.error))? {
            Written::Recorded(_) => {}
            Written::Replayed(stored) => return replay(admin, &request.caller, of, &stored).await,
            Written::Outdated { position, .. } => {
                wait_until_current(admin, position.unwrap_or(0)).await?;
                continue;
            }
        }
        let DecidedCommand { stored, secret, extra_fields, .. } = decided;
        let position = stored.position();
        wait_until_in_force(admin, position).await?;
        let body = changed_body(admin, of, stored, Some(before)).await.map_err(|error| match error {
            CommandError::Log(error) => CommandError::NotShown { position, error },
            other => other,
        });
        let mut body = with_extra_fields(body?, extra_fields);
        if let (Some(secret), Some(fields)) = (secret, body.as_object_mut()) {
            fields.insert("secret".to_owned(), secret.reveal().into());
        }
        return Ok(reply(status, position, body));
    }
    Err(CommandError::Contended { kind })
}

/// Appends commands that were decided, all or none, and takes their events into their streams. `basis` is the caller's right to
/// them, to which that of each is added.
///
/// Errors: the first command that is refused, by its index.
pub async fn write(
    cx: &AdminContext<'_>,
    request: &AdminRequest,
    commands: &mut [DecidedCommand],
    mut basis: Basis,
    idempotency: Option<Idempotency>,
) -> Result<Written, AppendAllError> {
    let actor = &cx.caller.actor;
    let context = |chain| Context::about(actor.clone(), chain).in_request(request.request_id);
    let (mut appends, mut indexes) = (Vec::new(), Vec::new());
    for (index, command) in commands.iter_mut().enumerate() {
        basis.streams.append(&mut command.based_on);
        if !command.events.is_empty() {
            let append = command.stored.append_of(command.events.clone(), context(command.chain));
            appends.push(Append { side: std::mem::take(&mut command.side), ..append });
            indexes.push(index);
        }
    }
    // What concerns all of them goes with the last one, since a stored reply has the position of the last event.
    let Some(last) = appends.last_mut() else { return Ok(Written::Recorded(None)) };
    last.side.push(request.client_address());
    (last.idempotency, last.basis) = (idempotency, basis);
    let appended = match cx.admin.log.append_all(appends).await {
        Ok(appended) => appended,
        Err(AppendAllError { at, error }) => {
            let at = indexes.get(at).copied().unwrap_or(at);
            return match error {
                AppendError::Replayed(stored) => Ok(Written::Replayed(stored)),
                AppendError::OptimisticLock => Ok(Written::Outdated { at, position: None }),
                AppendError::Outdated { position } => Ok(Written::Outdated { at, position: Some(position) }),
                error => Err(AppendAllError { at, error }),
            };
        }
    };
    let mut next = appended;
    for command in commands {
        let events = std::mem::take(&mut command.events);
        next.first += command.stored.extend(events, &context(command.chain), next);
    }
    Ok(Written::Recorded(Some(appended)))
}

/// The reply to a retry: the resource at the position of the first reply, without its secret. The caller must still be able
/// to see and manage the resource.
async fn replay(
    admin: &AdminState,
    caller: &Arc<Caller>,
    of: &ResourceKind,
    stored: &StoredReply,
) -> Result<Response, CommandError> {
    let broken = || damaged_reply(stored);
    let body = stored_body(stored)?;
    let id = body["id"].as_str().and_then(|id| (of.id_of)(id)).ok_or_else(broken)?;
    let status = StatusCode::from_u16(stored.status).map_err(|_| broken())?;
    wait_until_in_force(admin, stored.position).await?;
    let stream = Stream::new(of.kind, id);
    let newest = StoredStream::read(&admin.log, stream.clone(), None).await?;
    (of.check)(&AdminContext::new(admin, caller)?, newest)?;
    let then = StoredStream::read(&admin.log, stream, Some(stored.position)).await?;
    let extra_fields = body.get(EXTRA_FIELDS).and_then(Value::as_object).cloned().unwrap_or_default();
    let body_now = changed_body(admin, of, then, body[BEFORE].as_u64()).await?;
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
async fn changed_body(
    admin: &AdminState,
    of: &ResourceKind,
    stored: StoredStream,
    before: Option<u64>,
) -> Result<Value, CommandError> {
    let position = stored.position();
    let Shown { mut body, person } = (of.shown)(stored)?;
    if let Some(user) = person {
        let person = admin.log.read(move |reader| Ok(reader.personal_data(&[user])?.remove(&user))).await?;
        put_person(&mut body, person.as_ref());
    }
    let Some(before) = before.filter(|before| *before < position) else { return Ok(body) };
    let consequences = (of.consequences)(admin, ConsecutiveEvents { before, position }).await?;
    Ok(with_extra_fields(body, consequences))
}

/// The reply to a command that was recorded at this position.
pub fn reply(status: StatusCode, position: u64, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.extensions_mut().insert(AtPosition(position));
    response
}
