//! `ledgerway.v1.Events`: the log, event by event. The client pulls: while it does not read, nothing is read from the log.

use axum::routing::MethodRouter;
use events::canonical;
use events::event::Recorded;
use events::ids::RequestId;
use events::refusal::{ErrorCode, Refusal};
use events::time::rfc3339;
use futures_util::StreamExt;
use query::{EventTail, Extent, QueryError, QueryState, TailEnd, TailFormat};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::call::caller;
use crate::method::streaming;
use crate::proto::{Event, TailRequest};
use crate::status::{failed, status};

pub fn route(state: QueryState) -> MethodRouter {
    streaming(move |request| tail(state.clone(), request))
}

async fn tail(state: QueryState, request: Request<TailRequest>) -> Result<Response<BoxStream<Event>>, Status> {
    let caller = caller(&request)?;
    let request_id = request.extensions().get::<RequestId>().copied();
    let asked = request.into_inner();
    let extent = if asked.follow { Extent::Following } else { Extent::Recorded };
    let tail = query::event_tail(state, caller, parameters(asked), extent).await;
    let tail: EventTail<Messages> = tail.map_err(failed)?;
    Ok(Response::new(tail.map(move |step| step.map_err(|end| broken_off(end, request_id))).boxed()))
}

/// The request as the parameters of `/v1/events`.
fn parameters(asked: TailRequest) -> impl Iterator<Item = (String, String)> {
    let TailRequest { after, types, from, to, follow: _, min_position } = asked;
    let mut parameters = vec![("after", after.to_string()), ("min_position", min_position.to_string())];
    let texts = [("from", from), ("to", to)];
    parameters.extend(texts.into_iter().filter(|(_, text)| !text.is_empty()));
    // A type that is empty is refused, as any that does not exist.
    if !types.is_empty() {
        parameters.push(("types", types.join(",")));
    }
    parameters.into_iter().map(|(name, value)| (name.to_owned(), value))
}

/// The status of a stream that does not have everything. The door has long logged the call, which was answered.
fn broken_off(end: TailEnd, request_id: Option<RequestId>) -> Status {
    let refusal = match end {
        TailEnd::Closing => Refusal::new(ErrorCode::Draining, "the gateway is shutting down").try_again(),
        TailEnd::NotPermitted(refusal) => refusal,
        TailEnd::Stalled => {
            let message = "nothing of this stream was read for a minute: resume after the last event that you have";
            Refusal::new(ErrorCode::QueryTimeout, message)
        }
        TailEnd::Failed(error) => error.into_refusal().0,
    };
    let (request_id, code) = (request_id.map(|id| id.to_string()), refusal.code);
    match &refusal.cause {
        Some(cause) => tracing::error!(request_id, ?code, %cause, "a tail has broken off"),
        None => tracing::debug!(request_id, ?code, "a tail has ended early"),
    }
    status(&refusal)
}

/// Messages: a chunk has one for each event. HTTP/2 has signs of life of its own.
struct Messages;

impl TailFormat for Messages {
    type Item = Event;

    fn add(chunk: &mut Vec<Event>, recorded: &Recorded) -> Result<usize, QueryError> {
        let event = event(recorded)?;
        let bytes = Self::bytes(&event);
        chunk.push(event);
        Ok(bytes)
    }

    fn bytes(event: &Event) -> usize {
        event.canonical.len()
    }

    fn quiet() -> Option<Event> {
        None
    }
}

fn event(recorded: &Recorded) -> Result<Event, QueryError> {
    let canonical = canonical::envelope(recorded).map_err(|error| QueryError::Answer(error.to_string()))?;
    let context = &recorded.context;
    let [partner_id, tenant_id, user_id, key_id] = context.chain().texts().map(Option::unwrap_or_default);
    Ok(Event {
        position: recorded.position,
        recorded_at: rfc3339(recorded.recorded_at),
        stream: recorded.stream.to_string(),
        sequence: recorded.sequence,
        r#type: format!("{}.v{}", recorded.event.name(), recorded.event.version()),
        actor: context.actor.to_string(),
        partner_id,
        tenant_id,
        user_id,
        key_id,
        request_id: context.request_id.map(|id| id.to_string()).unwrap_or_default(),
        canonical: canonical.into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_type_is_no_lack_of_types() {
        let types = |types: &[&str]| {
            let types = types.iter().map(|name| (*name).to_owned()).collect();
            let parameters = parameters(TailRequest { types, ..TailRequest::default() });
            parameters.into_iter().find(|(name, _)| *name == "types").map(|(_, value)| value)
        };
        assert_eq!(types(&[]), None);
        assert_eq!(types(&[""]).as_deref(), Some(""));
        assert_eq!(types(&["a.v1", "b.v1"]).as_deref(), Some("a.v1,b.v1"));
    }
}
