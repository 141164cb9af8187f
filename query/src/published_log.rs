//! The published log: `/v1/log/checkpoint`, `/v1/log/key`, `/v1/log/tile/…` and `/v1/log/proof`, which need no key, and the entry
//! bundles, which do. Its files are those of C2SP `tlog-tiles`; a mirror of these paths is a complete log.

mod receipt;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::refusal::{ErrorCode, Refusal};
use events_log::concurrency::{QUERY_MAX, Requester};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use openapi::schema::{self, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::caller::Caller;
use projections::visible::Visible;
use serde_json::{Value, json};
use tlog::{EntryBundleId, Hash, TileId, TreeHead};
use tokio::time::timeout;
use transparency::{NewestTree, PublishedError, ReaderKind};

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::parameters::Parameters;
use crate::query_context::QueryContext;
use receipt::{described_receipt, receipt};

const TAG: &str = "Log";
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// A whole tile never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const NOT_KEPT: &str = "no-cache";

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Open)
        .get("/v1/log/checkpoint", checkpoint, described_checkpoint)
        .get("/v1/log/key", key, described_key)
        .get("/v1/log/proof", proof, described_proof)
        .get("/v1/log/tile/{level}/{*tile}", tile, described_tile)
        .merge(Api::of(Entrance::Key).get("/v1/log/tile/entries/{*bundle}", bundle, described_bundle).get(
            "/v1/inferences/{request_id}/receipt",
            receipt,
            described_receipt,
        ))
}

fn operation(id: &str, summary: &str) -> Operation {
    Operation::new(id, TAG, summary).refuses(&[ErrorCode::NotFound, ErrorCode::PublishedLogUnavailable])
}

fn described_checkpoint() -> Operation {
    operation("log_checkpoint", "The newest checkpoint of the published log")
        .says("A signed note (C2SP `tlog-checkpoint`). 404 if the log is not published.")
        .answers(StatusCode::OK, Answer::of("The checkpoint", "text/plain", schema::string()))
}

fn described_key() -> Operation {
    operation("log_key", "The public keys of the published log")
        .says("A line for each key that has signed checkpoints, as verifiers take it (C2SP `signed-note`); the newest is the last.")
        .answers(StatusCode::OK, Answer::of("The keys", "text/plain", schema::string()))
}

fn described_tile() -> Operation {
    operation("log_tile", "A tile of hashes of the published log")
        .says("As C2SP `tlog-tiles` lays them out.")
        .path("level", schema::string(), "The level of the tile")
        .path("tile", schema::string(), "Its index and width: `x001/x234/067`, `000.p/17`")
        .answers(StatusCode::OK, Answer::of("Up to 256 hashes", BYTES, schema::string()))
}

fn described_bundle() -> Operation {
    described::permitted("log_entries", TAG, "A bundle of entries of the published log", Permission::AuditRead)
        .refuses(&[ErrorCode::NotFound, ErrorCode::PublishedLogUnavailable])
        .says("The events themselves, as C2SP `tlog-tiles` lays them out. Needs `audit:read` on the platform.")
        .path("bundle", schema::string(), "Its index and width: `x001/x234/067`, `000.p/17`")
        .answers(StatusCode::OK, Answer::of("Up to 256 entries", BYTES, schema::string()))
}

fn described_proof() -> Operation {
    let hashes = || schema::list(schema::described(schema::string(), "Base64 of 32 bytes"), None);
    let shape = object()
        .optional("position", schema::count())
        .optional("from_size", schema::count())
        .required("size", schema::count())
        .required("root", schema::string())
        .required("hashes", hashes());
    operation("log_proof", "A proof from the published log")
        .says(
            "With `position`, that the tree of `size` leaves has the event at this position as leaf `position − 1` (RFC 6962, \
             2.1.1); with `from_size`, that it continues the tree of that size (2.1.2). `size` defaults to that of the newest \
             checkpoint.",
        )
        .refuses(&[ErrorCode::InvalidRequest])
        .query("position", schema::count(), "The position of an event")
        .query("from_size", schema::count(), "The size of an earlier checkpoint")
        .query("size", schema::count(), "The size of a later one, at most that of the newest")
        .answers(StatusCode::OK, Answer::json("The proof", shape.open()))
}

async fn checkpoint(State(state): State<QueryState>) -> Result<Response, QueryError> {
    let newest = |newest: NewestTree| async move { Ok(newest.checkpoint.bytes) };
    let bytes = read_published(&state, ReaderKind::Anybody, newest).await?;
    Ok(([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, NOT_KEPT)], bytes).into_response())
}

async fn key(State(state): State<QueryState>) -> Result<Response, QueryError> {
    let tables = state.tables.load();
    let keys = tables.log_keys();
    if state.published.is_none() || keys.is_empty() {
        return Err(NOTHING);
    }
    let lines: String = keys.iter().map(|key| format!("{}\n", key.verifier_key)).collect();
    Ok(([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, NOT_KEPT)], lines).into_response())
}

async fn tile(
    State(state): State<QueryState>,
    Path((level, tile)): Path<(String, String)>,
) -> Result<Response, QueryError> {
    let id: TileId = format!("tile/{level}/{tile}").parse().map_err(|_| QueryError::NotFound("tile"))?;
    let tile = |newest: NewestTree| async move { newest.tree.tile(id).await?.ok_or(QueryError::NotFound("tile")) };
    let bytes = read_published(&state, ReaderKind::Anybody, tile).await?;
    Ok(file(bytes, id.is_partial()))
}

async fn bundle(mut context: QueryContext, Path(bundle): Path<String>) -> Result<Response, QueryError> {
    let (parameters, _) = context.begin(Permission::AuditRead)?;
    parameters.finish()?;
    if !matches!(Visible::for_caller(&context.caller), Visible::Platform) {
        return Err(Refusal::new(ErrorCode::Forbidden, "entries of the log need audit:read on the platform").into());
    }
    let id: EntryBundleId =
        format!("tile/entries/{bundle}").parse().map_err(|_| QueryError::NotFound("entry bundle"))?;
    let entries =
        |newest: NewestTree| async move { newest.tree.bundle(id).await?.ok_or(QueryError::NotFound("entry bundle")) };
    let bytes = read_published(&context.state, reader(&context.caller), entries).await?;
    context.look_up_again()?;
    (context.state.reads)(&context.caller, ReadKind::Events);
    Ok(([(CONTENT_TYPE, BYTES)], bytes).into_response())
}

fn file(bytes: Bytes, is_partial: bool) -> Response {
    let kept = if is_partial { NOT_KEPT } else { FOR_EVER };
    ([(CONTENT_TYPE, BYTES), (CACHE_CONTROL, kept)], bytes).into_response()
}

/// The property to prove.
enum Wanted {
    Inclusion { position: u64 },
    Consistency { from: u64 },
}

async fn proof(State(state): State<QueryState>, RawQuery(query): RawQuery) -> Result<Json<Value>, QueryError> {
    let mut parameters = Parameters::parse(query.as_deref().unwrap_or_default())?;
    let (position, from, size) =
        (parameters.number("position")?, parameters.number("from_size")?, parameters.number("size")?);
    parameters.finish()?;
    let wanted = match (position, from) {
        (Some(position), None) => Wanted::Inclusion { position },
        (None, Some(from)) => Wanted::Consistency { from },
        _ => return Err(Refusal::invalid("position", "give either position or from_size").into()),
    };
    read_published(&state, ReaderKind::Anybody, |newest| prove(newest, wanted, size)).await.map(Json)
}

async fn prove(
    NewestTree { checkpoint, tree }: NewestTree,
    wanted: Wanted,
    size: Option<u64>,
) -> Result<Value, QueryError> {
    let newest = checkpoint.head;
    let size = size.unwrap_or(newest.size);
    if size == 0 || size > newest.size {
        return Err(Refusal::invalid("size", format!("the newest checkpoint is of {} events", newest.size)).into());
    }
    let head = match size == newest.size {
        true => newest,
        false => TreeHead { size, root: tree.root(size).await? },
    };
    let (name, at) = match wanted {
        Wanted::Inclusion { position } => ("position", position),
        Wanted::Consistency { from } => ("from_size", from),
    };
    if !(1..=size).contains(&at) {
        return Err(Refusal::invalid(name, format!("must be from 1 to {size}, the size")).into());
    }
    let hashes = match wanted {
        Wanted::Inclusion { position } => tree.inclusion_proof(position - 1, size).await?,
        Wanted::Consistency { from } => tree.consistency_proof(from, size).await?,
    };
    let hashes: Vec<String> = hashes.iter().map(Hash::to_string).collect();
    Ok(json!({ name: at, "size": head.size, "root": head.root.to_string(), "hashes": hashes }))
}

const NOTHING: QueryError = QueryError::NotFound(
    "published log: LEDGERWAY_TRANSPARENCY publishes it, and its first checkpoint comes within a second of the first event",
);

fn reader(caller: &Caller) -> ReaderKind {
    match caller.requester() {
        Requester::TenantKey { tenant, .. } => ReaderKind::Caller(Some(tenant)),
        Requester::Operator | Requester::PlatformKey(_) => ReaderKind::Caller(None),
    }
}

/// Reads the published log for a response, for at most [`QUERY_MAX`]: an object store may hang. Of what is read, each file was checked.
async fn read_published<T, F: Future<Output = Result<T, QueryError>>>(
    state: &QueryState,
    kind: ReaderKind,
    read: impl FnOnce(NewestTree) -> F,
) -> Result<T, QueryError> {
    let published = state.published.as_ref().ok_or(NOTHING)?;
    let reading = published.read(kind).await?;
    let answer = async { read(reading.newest().await?.ok_or(NOTHING)?).await };
    timeout(QUERY_MAX, answer).await.map_err(|_| PublishedError::Silent(QUERY_MAX))?
}

impl From<PublishedError> for QueryError {
    fn from(error: PublishedError) -> Self {
        let refusal = Refusal::new(ErrorCode::PublishedLogUnavailable, "the published log cannot be read now");
        Self::Refused(refusal.try_again().because(error))
    }
}
