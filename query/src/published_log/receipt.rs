//! `GET /v1/inferences/{request_id}/receipt`: the events of a request, each with the proof that it is in the published log. Whoever
//! has the log's public key can check it without the gateway.

use std::collections::HashMap;

use axum::extract::Path;
use events::event::Recorded;
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::ids::RequestId;
use events::refusal::{ErrorCode, Refusal};
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Json, Operation};
use tlog::{Hash, SignedCheckpoint, TlogProof, verify_inclusion};
use transparency::{NewestTree, Receipt, ReceiptEntry};

use super::{TAG, read_published, reader};
use crate::described;
use crate::error::QueryError;
use crate::inferences;
use crate::query_context::QueryContext;

pub fn described_receipt() -> Operation {
    let entry = object()
        .required("position", schema::count())
        .required_as("entry", schema::string(), "The canonical JSON of the event: the leaf")
        .required_as("proof", schema::string(), "A file `c2sp.org/tlog-proof@v1`, with a signed checkpoint")
        .open();
    let receipt = object()
        .required("request_id", schema::id(RequestId::PREFIX))
        .required("entries", schema::list(entry, None))
        .open();
    described::permitted("get_receipt", TAG, "Proofs that a request is in the published log", Permission::UsageRead)
        .says("503 `PUBLISHED_LOG_UNAVAILABLE` until a checkpoint has all of its events, which takes a second.")
        .refuses(&[ErrorCode::PublishedLogUnavailable])
        .path("request_id", schema::id(RequestId::PREFIX), "Id of the request")
        .answers(StatusCode::OK, Answer::json("The receipt", receipt))
}

/// Errors: 404 if the caller cannot see the request, or the log is not published.
pub async fn receipt(mut context: QueryContext, Path(request): Path<String>) -> Result<Json<Receipt>, QueryError> {
    let (query, request_id, request) = inferences::find(&mut context, Permission::UsageRead, &request).await?;
    let mut positions = request.positions();
    positions.sort_unstable();
    let events = inferences::events(&query, std::slice::from_ref(&request)).await?;
    // The object store may take its time, and others need the permit meanwhile.
    drop(query);
    let entries =
        read_published(&context.state, reader(&context.caller), |newest| prove(newest, positions, events)).await?;
    context.look_up_again()?;
    (context.state.reads)(&context.caller, ReadKind::Inferences);
    Ok(Json(Receipt { request_id, entries }))
}

/// The events at these positions, in order, each with its proof.
async fn prove(
    NewestTree { checkpoint: newest, tree }: NewestTree,
    positions: Vec<u64>,
    events: HashMap<u64, Recorded>,
) -> Result<Vec<ReceiptEntry>, QueryError> {
    let size = newest.head.size;
    if positions.last().is_some_and(|last| *last > size) {
        let refusal =
            Refusal::new(ErrorCode::PublishedLogUnavailable, "no checkpoint has all events of the request yet");
        return Err(refusal.try_again().into());
    }
    let checkpoint = SignedCheckpoint::parse(&newest.bytes).map_err(|error| QueryError::Answer(error.to_string()))?;
    let mut entries = Vec::with_capacity(positions.len());
    for position in positions {
        let recorded = events.get(&position);
        let recorded = recorded.ok_or_else(|| QueryError::Answer(format!("the log has no event at {position}")))?;
        let mut entry = Vec::new();
        transparency::push_entry(&mut entry, recorded).map_err(|error| QueryError::Answer(error.to_string()))?;
        let hashes = tree.inclusion_proof(position - 1, size).await?;
        // Otherwise the ledger is not the one that was published.
        verify_inclusion(position - 1, &Hash::of_leaf(&entry), &newest.head, &hashes).map_err(|error| {
            let refusal = "the published log has another event at a position of the request";
            Refusal::new(ErrorCode::PublishedLogUnavailable, refusal).try_again().because(error)
        })?;
        let proof = TlogProof { extra: Vec::new(), index: position - 1, hashes, checkpoint: checkpoint.clone() };
        let entry = String::from_utf8(entry).map_err(|error| QueryError::Answer(error.to_string()))?;
        entries.push(ReceiptEntry { position, entry, proof: proof.to_string() });
    }
    Ok(entries)
}
