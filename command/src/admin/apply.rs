//! `POST /v1/admin/apply`: several changes of resources, which are made together or not at all.
//!
//! Each change is a request as it would be sent alone, and is planned by the same code, but on tables that have the changes before it.
//! So one may name what an earlier one creates: the client chooses what stands for the id of that, and the gateway puts the id in its
//! place wherever a body or a path has it. The gateway makes the ids, because nobody else may choose ids that collide.
//!
//! Keys are left out: in a shared log, hashing thousands of secrets would keep others from sealing theirs for minutes, and no file
//! has a key.

mod based_on;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::event::{Context, Event, Stream, StreamKind};
use events::named::NamedValue;
use events_log::{AppendAllError, AppendError, Appended, Basis, PositionStatus, StoredReply};
use http::{Method, StatusCode};
use openapi::schema::{self, object};
use openapi::{Answer, Operation};
use serde_json::{Map, Value, json};

use super::AdminState;
use super::admin_context::AdminContext;
use super::described;
use super::error::CommandError;
use super::execution::{
    ATTEMPTS_MAX, Written, catch_up_after, reply, stored_body, wait_until_current, wait_until_in_force, write,
};
use super::fields::{Field, FieldError, FieldResult, Fields};
use super::rejected::{NotedResource, RejectedResource};
use super::request::AdminRequest;
use super::resource_kind::{self, CommandInput, DecidedCommand, Decider, ResourceKind};
use super::store::StoredStream;
use based_on::{ChangedSince, unnamed};

/// The most changes of one request.
pub const CHANGES_MAX: usize = 5_000;
/// The values of its body, nested ones included.
const VALUES_MAX: usize = 250_000;
/// The streams that one look-up reads: others wait for it.
const READ_AT_ONCE: usize = 16;
/// The payloads of the events that the resources have and get. Until they are recorded, memory has each several times.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
const PATH_LEN_MAX: usize = 200;
const ID_LEN_MAX: usize = 64;

const METHODS: &[NamedValue<Action>] = &[
    NamedValue::new("POST", Action::Create),
    NamedValue::new("PATCH", Action::Change),
    NamedValue::new("DELETE", Action::End),
];
const NO_PATH: &str = "must be a path that this method changes, such as /v1/admin/tenants for POST, or /v1/admin/tenants/ID; keys are \
                       changed by requests of their own";
const TWICE: &str = "is changed twice: leave one out, or put both into one";

const TOO_LARGE: &str = "have more than 16 MiB together with the resources that they change: send fewer in a request";

const BASED_ON: &str = "The smallest `as_of_position` of the lists that the changes were planned on. If another request has changed one \
                        of the resources after it, or made a budget, a rate limit or a price of the same scope and period or of the \
                        same model, the answer is 409 with `details.based_on` and `details.changed_at`";

/// The name of the schema of the reply.
const APPLIED: &str = "AppliedChanges";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Change,
    End,
}

/// The changes of one request.
struct RequestedChanges {
    changes: Vec<RequestedChange>,
    /// The position at which the client has read what it changes; `None` if it does not say.
    based_on: Option<u64>,
}

/// One of the changes.
struct RequestedChange {
    of: &'static ResourceKind,
    action: Action,
    /// For a resource that is created, its new id.
    id: String,
    body: Map<String, Value>,
    noted: NotedResource,
}

/// The changes as they are read, with the ids of those that are created by what stands for them.
#[derive(Default)]
struct ChangeReader {
    new_ids: HashMap<String, String>,
    streams: HashSet<(&'static str, String)>,
}

/// The bytes of payloads that a request may still have.
struct PayloadRoom(usize);

impl PayloadRoom {
    fn take<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) -> Result<(), FieldError> {
        for event in events {
            let bytes = event.payload().map_or(0, |payload| payload.len());
            self.0 = self.0.checked_sub(bytes).ok_or_else(|| FieldError::new("changes", TOO_LARGE))?;
        }
        Ok(())
    }
}

pub fn described() -> Operation {
    let method = schema::one_of_names(METHODS);
    let change = object()
        .required("method", method)
        .required_as("path", schema::string(), "The path of the request, as `/v1/admin/tenants/ID`")
        .optional_as("body", schema::any(), "The body of the request: an object")
        .optional_as(
            "id_as",
            schema::string(),
            "For POST: what stands for the new id in the bodies and paths of the changes after it. It has the form of such an id",
        );
    let changes = schema::filled_list(change.closed(), Some(CHANGES_MAX));
    let made = object()
        .required_as("kind", schema::string(), "The kind of the resource")
        .required("id", schema::string())
        .required_as("position", schema::count(), "The log position of the last event of the resource");
    let applied = object()
        .required_as("changes", schema::list(made.open(), None), "In the order of the request")
        .required_as("position", schema::count(), "The log position of the last event");
    let stand_in = "ten_00000000000000000000000000000001";
    let example = json!({ "changes": [
        { "method": "POST", "path": "/v1/admin/tenants", "body": { "name": "customer" }, "id_as": stand_in },
        { "method": "POST", "path": "/v1/admin/users", "body": { "tenant_id": stand_in, "name": "Ada" } },
    ] });
    described::command("apply_changes", "Makes several changes, all or none")
        .says(
            "Each is a request of administration as it would be sent alone; each resource can be changed once, and keys cannot. The \
             gateway decides them in their order, each as if those before it were made, and records them together. A refusal is that \
             of the first change that is refused, whose index is in `details.change`.",
        )
        .takes(object().required("changes", changes).optional_as("based_on", schema::count(), BASED_ON).closed(), example)
        .answers(StatusCode::OK, Answer::json("The changes", schema::reference(APPLIED)).recorded())
        .defines(APPLIED, applied.open())
}

pub async fn apply(State(admin): State<AdminState>, request: AdminRequest) -> Response {
    let mut rejected = None;
    let error = match run(&admin, &request, &mut rejected).await {
        Ok(response) => return response,
        Err(error) => error,
    };
    let mut response = error.into_response();
    rejected.and_then(|rejected: RejectedResource| response.extensions_mut().insert(rejected));
    response
}

/// Errors: those of the first change that is refused, which becomes `rejected`.
async fn run(
    admin: &AdminState,
    request: &AdminRequest,
    rejected: &mut Option<RejectedResource>,
) -> Result<Response, CommandError> {
    if let Some(stored) = request.earlier_reply(&admin.log).await? {
        return replay(admin, request, &stored).await;
    }
    let asked = read(admin, request)?;
    if let Some(based_on) = asked.based_on {
        require_recorded(admin, based_on).await?;
    }
    // Until the changes are in force, so that the next ones find them in the tables. Ends alone wait for nothing.
    let takes_turn = asked.changes.iter().any(|change| change.action != Action::End);
    let _turn = if takes_turn { Some(admin.concurrency.admit_change(request.caller.requester()).await?) } else { None };
    let seen = admin.tables.load().position;
    let done = match apply_once(admin, request, &asked).await {
        Err(error) => match catch_up_after(admin, seen, error).await {
            Ok(()) => apply_once(admin, request, &asked).await,
            Err(error) => Err(error),
        },
        done => done,
    };
    // An earlier attempt of the same request may have made meanwhile what this one was refused for.
    if done.is_err()
        && let Some(stored) = request.earlier_reply(&admin.log).await?
    {
        return replay(admin, request, &stored).await;
    }
    if let Err(CommandError::InChange { at, .. }) = &done {
        *rejected = asked.changes.get(*at).map(RequestedChange::rejected);
    }
    done
}

/// Errors: the log ends before the position, or this node cannot find out in time.
async fn require_recorded(admin: &AdminState, based_on: u64) -> Result<(), CommandError> {
    match admin.log.wait_until_known(based_on).await {
        PositionStatus::Recorded => Ok(()),
        PositionStatus::NotRecorded => Err(FieldError::new("based_on", "is after the end of the log").into()),
        PositionStatus::Unknown => Err(CommandError::NotCurrent),
    }
}

async fn apply_once(
    admin: &AdminState,
    request: &AdminRequest,
    asked: &RequestedChanges,
) -> Result<Response, CommandError> {
    let changes = &asked.changes;
    let mut overtaken = 0;
    for _ in 0..ATTEMPTS_MAX {
        let mut room = PayloadRoom(PAYLOAD_BYTES_MAX);
        let streams = streams_of(admin, changes, &mut room).await?;
        let known = streams.iter().map(StoredStream::position).chain(asked.based_on).max();
        wait_until_current(admin, known.unwrap_or(0)).await?;
        let cx = AdminContext::new(admin, &request.caller)?;
        let mut commands = plan(&cx, request, asked, streams, room).await?;
        let planned = changes.iter().zip(&commands).map(|(change, command)| planned_json(change, command));
        let body = json!({ "changes": planned.collect::<Vec<_>>() });
        let key = request.idempotency_key.clone();
        let idempotency = key.map(|key| key.with_reply(StatusCode::OK, body.to_string()));
        let basis = asked.basis(&cx, &commands);
        let written = write(&cx, request, &mut commands, basis, idempotency).await;
        let known = cx.tables.position;
        // Others may seal secrets now.
        drop(cx);
        match written.map_err(|refused| not_appended(changes, refused))? {
            Written::Recorded(appended) => {
                return applied(admin, body, appended.map_or(known, |appended| appended.last)).await;
            }
            Written::Replayed(stored) => return replay(admin, request, &stored).await,
            Written::Outdated { at, position } => {
                overtaken = at;
                wait_until_current(admin, position.unwrap_or(0)).await?;
            }
        }
    }
    Err(in_change(overtaken)(CommandError::Contended { kind: kind_of(changes, overtaken) }))
}

/// The streams of the resources as the log has them; new ones have none.
async fn streams_of(
    admin: &AdminState,
    changes: &[RequestedChange],
    room: &mut PayloadRoom,
) -> Result<Vec<StoredStream>, CommandError> {
    let mut streams = Vec::with_capacity(changes.len());
    for part in changes.chunks(READ_AT_ONCE) {
        let is_new = |change: &RequestedChange| change.action == Action::Create;
        let stored = part.iter().filter(|change| !is_new(change)).map(RequestedChange::stream).collect();
        let mut stored = StoredStream::read_all(&admin.log, stored, None).await?.into_iter();
        for change in part {
            let absent = || StoredStream::absent(change.of.kind, &change.id);
            let stream = if is_new(change) { absent() } else { stored.next().unwrap_or_else(absent) };
            room.take(stream.events.iter().map(|recorded| &recorded.event))?;
            streams.push(stream);
        }
    }
    Ok(streams)
}

/// The refusal of an append. Only that of a taken name concerns one of the changes.
fn not_appended(changes: &[RequestedChange], AppendAllError { at, error }: AppendAllError) -> CommandError {
    let is_of_change = matches!(error, AppendError::NameTaken { .. });
    let error = CommandError::of_append(kind_of(changes, at), error);
    if is_of_change { in_change(at)(error) } else { error }
}

fn kind_of(changes: &[RequestedChange], at: usize) -> StreamKind {
    changes.get(at).map_or(StreamKind::Import, |change| change.of.kind)
}

/// Plans the changes in their order, each on tables that have those before it.
async fn plan(
    cx: &AdminContext<'_>,
    request: &AdminRequest,
    asked: &RequestedChanges,
    streams: Vec<StoredStream>,
    mut room: PayloadRoom,
) -> Result<Vec<DecidedCommand>, CommandError> {
    let since = asked.based_on.map(|based_on| ChangedSince { based_on, tables: &cx.tables });
    let mut tables = Arc::clone(&cx.tables);
    let mut commands = Vec::new();
    for (at, (change, stored)) in asked.changes.iter().zip(streams).enumerate() {
        let sealing = Arc::clone(&cx.sealing);
        let step = AdminContext::at(cx.admin, &request.caller, Arc::clone(&tables), sealing).map_err(in_change(at))?;
        let fields = Ok(Fields::of_members(change.body.clone()));
        let changed = since.as_ref().and_then(|since| since.changed(&stored));
        let input = CommandInput { cx: &step, stored, fields, noted: &change.noted };
        let planned = (change.decider())(input).await.map_err(|error| match (error, changed) {
            // Somebody else has ended it, and the client did not know that.
            (CommandError::Ended { .. }, Some(changed)) => changed,
            (error, _) => error,
        });
        let planned = planned.map_err(in_change(at))?;
        since.as_ref().map_or(Ok(()), |since| since.check(&planned)).map_err(in_change(at))?;
        room.take(&planned.events)?;
        let context = Context::about(step.caller.actor.clone(), planned.chain);
        let first = tables.position + 1;
        let appended = Appended { first, last: first, recorded_at: step.now };
        drop(step);
        let mut after = planned.stored.clone();
        let before = after.events.len();
        after.extend(planned.events.clone(), &context, appended);
        after.events[before..].iter().for_each(|event| Arc::make_mut(&mut tables).fold(event));
        commands.push(planned);
        tokio::task::yield_now().await;
    }
    Ok(commands)
}

fn in_change(at: usize) -> impl Fn(CommandError) -> CommandError {
    move |error| CommandError::InChange { at, error: Box::new(error) }
}

/// A change in the stored reply. The position of its event follows from that of the last one; without an event, it has its own.
fn planned_json(change: &RequestedChange, command: &DecidedCommand) -> Value {
    let mut planned = json!({ "kind": change.of.kind.as_str(), "id": change.id });
    if command.events.is_empty() {
        planned["position"] = command.stored.position().into();
    }
    planned
}

/// The reply to changes whose last event is at this position.
async fn applied(admin: &AdminState, mut body: Value, position: u64) -> Result<Response, CommandError> {
    wait_until_in_force(admin, position).await?;
    let mut next = position;
    for change in body["changes"].as_array_mut().into_iter().flatten().rev() {
        if change["position"].is_null() {
            change["position"] = next.into();
            next = next.saturating_sub(1);
        }
    }
    body["position"] = position.into();
    Ok(reply(StatusCode::OK, position, body))
}

/// The reply to a retry. It names only what the caller itself has changed.
async fn replay(admin: &AdminState, request: &AdminRequest, stored: &StoredReply) -> Result<Response, CommandError> {
    AdminContext::new(admin, &request.caller)?;
    applied(admin, stored_body(stored)?, stored.position).await
}

fn read(admin: &AdminState, request: &AdminRequest) -> Result<RequestedChanges, FieldError> {
    let mut fields = request.fields_within(VALUES_MAX)?.refuse_unknown(&["changes", "based_on"])?;
    let based_on = fields.optional("based_on", |field| field.whole(0..=u64::MAX))?;
    let changes = fields.required("changes", |field| field.list(CHANGES_MAX, Ok))?;
    if changes.is_empty() {
        return Err(FieldError::new("changes", "must have at least one item"));
    }
    let mut reader = ChangeReader::default();
    let changes: FieldResult<_> = changes.into_iter().map(|change| reader.read(admin, change)).collect();
    Ok(RequestedChanges { changes: changes?, based_on })
}

impl ChangeReader {
    fn read(&mut self, admin: &AdminState, change: Field) -> Result<RequestedChange, FieldError> {
        let mut fields = change.object()?.refuse_unknown(&["method", "path", "body", "id_as"])?;
        let action = fields.required("method", |field| field.one_of(METHODS))?;
        let wrong_path = FieldError::new(fields.path_of("path"), NO_PATH);
        let mut path = fields.required("path", |field| field.text(PATH_LEN_MAX))?;
        let mut body = Value::Object(fields.optional("body", Field::members)?.unwrap_or_default());
        let id_as = fields.path_of("id_as");
        let stand_in = fields.optional("id_as", |field| field.text(ID_LEN_MAX))?;
        self.put_ids_into_text(&mut path);
        self.put_ids_into(&mut body);
        let mut kinds = resource_kind::ALL.into_iter().filter(|of| of.kind != StreamKind::Key);
        let found = kinds.find_map(|of| Some((of, path.strip_prefix(of.path)?)));
        let (of, id) = match (action, found) {
            (Action::Create, Some((of, ""))) => (of, (of.new_id)(&admin.ids)),
            // A text that is no id is taken as the id of a resource that does not exist.
            (Action::Change | Action::End, Some((of, given))) if given.starts_with('/') => {
                (of, (of.id_of)(&given[1..]).unwrap_or_else(|| given[1..].to_owned()))
            }
            _ => return Err(wrong_path),
        };
        if !self.streams.insert((of.kind.as_str(), id.clone())) {
            return Err(FieldError::new(wrong_path.field, TWICE));
        }
        if let Some(stand_in) = stand_in {
            let is_usable = action == Action::Create && (of.id_of)(&stand_in).as_ref() == Some(&stand_in);
            if !is_usable || self.new_ids.insert(stand_in, id.clone()).is_some() {
                let reason = "must have the form of an id of what this change creates, and be given once";
                return Err(FieldError::new(id_as, reason));
            }
        }
        let Value::Object(body) = body else { return Err(wrong_path) };
        Ok(RequestedChange { of, action, id, body, noted: NotedResource::default() })
    }

    fn put_ids_into(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.put_ids_into_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.put_ids_into(item)),
            Value::Object(members) => members.values_mut().for_each(|member| self.put_ids_into(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Puts new ids in the place of what stands for them, wherever that is a word of the text.
    fn put_ids_into_text(&self, text: &mut String) {
        if self.new_ids.is_empty() {
            return;
        }
        let (mut replaced, mut rest) = (String::with_capacity(text.len()), &**text);
        while let Some(next) = rest.chars().next() {
            let len = rest.find(|next: char| !next.is_ascii_alphanumeric() && next != '_').unwrap_or(rest.len());
            let (word, after) = rest.split_at(if len == 0 { next.len_utf8() } else { len });
            replaced.push_str(self.new_ids.get(word).map_or(word, String::as_str));
            rest = after;
        }
        *text = replaced;
    }
}

impl RequestedChanges {
    /// The caller's right to the changes and, if they were planned before, the kinds of which nothing new may come between.
    fn basis(&self, cx: &AdminContext<'_>, commands: &[DecidedCommand]) -> Basis {
        let kinds = if self.based_on.is_some() { unnamed(commands) } else { Vec::new() };
        Basis { kinds, ..cx.basis() }
    }
}

impl RequestedChange {
    fn stream(&self) -> Stream {
        Stream::new(self.of.kind, &self.id)
    }

    const fn decider(&self) -> Decider {
        match self.action {
            Action::Create => self.of.create,
            Action::Change => self.of.change,
            Action::End => self.of.end,
        }
    }

    fn rejected(&self) -> RejectedResource {
        let method = match self.action {
            Action::Create => Method::POST,
            Action::Change => Method::PATCH,
            Action::End => Method::DELETE,
        };
        self.noted.rejected(self.of.kind, method)
    }
}
