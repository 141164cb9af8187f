//! Closes the open breakers of a provider's models on the record, and forgets what this node has measured of it.

use axum::response::Response;
use events::event::admin::BreakerClosed;
use events::event::{Context, Resource, Stream, StreamKind};
use events::ids::ProviderId;
use events_log::{Append, AppendError};
use http::StatusCode;
use serde_json::json;

use super::HealthState;
use super::report::report_of;
use crate::admin::{
    AddressedProvider, AdminRequest, AdminState, CommandError, Purpose, reply, wait_until_current, wait_until_in_force,
};

const KIND: StreamKind = StreamKind::Provider;
/// How often it is decided at most, if others change the provider meanwhile.
const ATTEMPTS_MAX: usize = 10;
/// The most breakers that are closed at once.
const CLOSED_AT_ONCE_MAX: usize = 100;
/// The most that one reset closes: others may open meanwhile for as long as requests fail.
const CLOSED_MAX: usize = 1_000;

pub async fn run(state: &HealthState, id: &str, request: &AdminRequest) -> Result<Response, CommandError> {
    let HealthState { admin, gateway } = state;
    let (mut attempts, mut closed, mut position) = (0, Vec::new(), None);
    let AddressedProvider { cx, provider, .. } = loop {
        let sequence = current_sequence(admin, id).await?;
        let found = AddressedProvider::find(admin, request, id, Purpose::Use).await?;
        let AddressedProvider { cx, provider, owners } = &found;
        let provider_id = provider.provider_id;
        let open = cx.tables.open_breakers_of(provider_id).take(CLOSED_AT_ONCE_MAX);
        let mut models: Vec<String> = open.map(|open| open.fact.model.clone()).collect();
        if models.is_empty() || closed.len() >= CLOSED_MAX {
            break found;
        }
        models.sort_unstable();
        let fact = |model: &String| {
            Resource::BreakerClosed(Box::new(BreakerClosed { provider_id, model: model.clone() })).into()
        };
        let append = Append {
            stream: Stream::new(KIND, provider_id),
            expected_sequence: sequence,
            events: models.iter().map(fact).collect(),
            context: Context::about(cx.caller.actor.clone(), *owners).in_request(request.request_id),
            side: vec![request.client_address()],
            idempotency: None,
            basis: cx.basis(),
        };
        match admin.log.append(append).await {
            Ok(appended) => {
                wait_until_in_force(admin, appended.last).await?;
                (attempts, position) = (0, Some(appended.last));
                closed.append(&mut models);
            }
            Err(AppendError::OptimisticLock) => attempts += 1,
            Err(AppendError::Outdated { position }) => {
                wait_until_current(admin, position).await?;
                attempts += 1;
            }
            Err(error) => return Err(CommandError::of_append(KIND, error)),
        }
        if attempts >= ATTEMPTS_MAX {
            return Err(CommandError::Contended { kind: KIND });
        }
    };
    gateway.targets.breakers.forget(provider.provider_id);
    gateway.targets.health.forget(provider.provider_id);
    tracing::info!(provider = provider.name, provider_id = %provider.provider_id, closed = closed.len(), "the health of a provider was reset");
    let health = report_of(gateway, &cx.tables, &provider, cx.now);
    let body = json!({ "closed_breakers": closed, "health": health });
    Ok(reply(StatusCode::OK, position.unwrap_or(cx.tables.position), body))
}

/// The last sequence of the provider's stream, once the tables have its event; 0 for what is no id of a provider.
async fn current_sequence(admin: &AdminState, id: &str) -> Result<u64, CommandError> {
    let Ok(id) = id.parse::<ProviderId>() else { return Ok(0) };
    let stream = Stream::new(KIND, id);
    let events = admin.log.read(move |reader| reader.last_of_each_type(&stream, None)).await?;
    let Some(last) = events.iter().max_by_key(|event| event.sequence) else { return Ok(0) };
    wait_until_current(admin, last.position).await?;
    Ok(last.sequence)
}
