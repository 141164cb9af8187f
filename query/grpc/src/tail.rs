//! `ledgerway.v1.Events`: the log, event by event. The client pulls: while it does not read, nothing is read from the log.

use std::vec::IntoIter;

use events::canonical;
use events::event::Recorded;
use events::refusal::{ErrorCode, Refusal};
use events::time::rfc3339;
use futures_util::stream;
use query::{EventTail, Extent, QueryError, QueryState, TailEnd, TailStep};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::call::caller;
use crate::proto::events_server::{Events, EventsServer};
use crate::proto::{Event, TailRequest};
use crate::status::{failed, status};

pub fn service(state: QueryState) -> EventsServer<EventsService> {
    EventsServer::new(EventsService { state })
}

pub struct EventsService {
    state: QueryState,
}

#[tonic::async_trait]
impl Events for EventsService {
    type TailStream = BoxStream<Event>;

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let extent = if asked.follow { Extent::Following } else { Extent::Recorded };
        let tail = query::event_tail(self.state.clone(), caller, parameters(asked), extent).await.map_err(failed)?;
        let messages = Messages { tail, chunk: Vec::new().into_iter(), is_over: false };
        let messages = stream::unfold(messages, |mut messages| async move {
            let message = messages.next().await?;
            Some((message, messages))
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

/// The request as the parameters of `/v1/events`.
fn parameters(asked: TailRequest) -> Vec<(&'static str, String)> {
    let TailRequest { after, types, from, to, follow: _ } = asked;
    let mut parameters = vec![("after", after.to_string())];
    let texts = [("types", types.join(",")), ("from", from), ("to", to)];
    parameters.extend(texts.into_iter().filter(|(_, text)| !text.is_empty()));
    parameters
}

/// The messages of one call.
struct Messages {
    tail: EventTail,
    /// Events that were read, and not yet taken by the client.
    chunk: IntoIter<Event>,
    is_over: bool,
}

impl Messages {
    async fn next(&mut self) -> Option<Result<Event, Status>> {
        loop {
            if let Some(event) = self.chunk.next() {
                return Some(Ok(event));
            }
            if self.is_over {
                return None;
            }
            match self.tail.next(rendered).await {
                Ok(TailStep::Events(events)) => self.chunk = events.into_iter(),
                // HTTP/2 has its own signs of life.
                Ok(TailStep::Quiet) => {}
                Ok(TailStep::Ended(end)) => {
                    self.is_over = true;
                    return ended(end).map(|refusal| Err(status(&refusal)));
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(failed(error)));
                }
            }
        }
    }
}

/// Why a stream has broken off; `None` if it has everything.
fn ended(end: TailEnd) -> Option<Refusal> {
    match end {
        TailEnd::Complete => None,
        TailEnd::Closing => Some(Refusal::new(ErrorCode::Draining, "the gateway is shutting down").try_again()),
        TailEnd::NotPermitted(refusal) => Some(refusal),
    }
}

fn rendered(events: &[Recorded]) -> Result<Vec<Event>, QueryError> {
    events.iter().map(event).collect()
}

fn event(recorded: &Recorded) -> Result<Event, QueryError> {
    let canonical = canonical::envelope(recorded).map_err(|error| QueryError::Answer(error.to_string()))?;
    let context = &recorded.context;
    let text = |id: Option<String>| id.unwrap_or_default();
    Ok(Event {
        position: recorded.position,
        recorded_at: rfc3339(recorded.recorded_at),
        stream: recorded.stream.to_string(),
        sequence: recorded.sequence,
        r#type: format!("{}.v{}", recorded.event.name(), recorded.event.version()),
        actor: context.actor.to_string(),
        partner_id: text(context.partner_id.map(|id| id.to_string())),
        tenant_id: text(context.tenant_id.map(|id| id.to_string())),
        user_id: text(context.user_id.map(|id| id.to_string())),
        key_id: text(context.key_id.map(|id| id.to_string())),
        request_id: text(context.request_id.map(|id| id.to_string())),
        canonical: canonical.into_bytes(),
    })
}
