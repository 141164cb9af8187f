//! The record of when this node counts by its share, among which nodes limits are then divided, and why. Nothing waits for it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::access::{AccessLimitsLocal, AccessLimitsShared};
use events::event::{Access, Actor, Context, Event, Recorded};
use events::shown_text::shown_text;
use events::time::rfc3339;
use events_log::{Append, AppendError, LogError, Reader, RunningNode};
use serde::{Serialize, Serializer};

use super::limiter::SharedLimiter;
use super::link::{LinkState, Outage};

const RETRY_AFTER: Duration = Duration::from_millis(250);
const REASON_CHARS_MAX: usize = 300;

/// The last record of a local period that has not ended.
struct LastRecorded {
    position: u64,
    outage: Outage,
    nodes: Vec<String>,
}

impl SharedLimiter {
    /// Records each local period of this node, until the process ends.
    pub(super) async fn record_periods(&self) {
        let (mut link, mut nodes) = (self.link.watch(), self.nodes.subscribe());
        let mut last: Option<LastRecorded> = None;
        loop {
            let (state, among) = (link.borrow_and_update().clone(), nodes.borrow_and_update().clone());
            match (state, last.take()) {
                (LinkState::Away(outage), known) => {
                    let is_known = |known: &LastRecorded| known.outage == outage && known.nodes == among;
                    last = match known.filter(is_known) {
                        Some(known) => Some(known),
                        None => Some(self.record_local(outage, among).await),
                    };
                }
                (LinkState::Connected(_), Some(known)) => {
                    self.record_shared(&known).await;
                }
                (LinkState::Connected(_), None) => {}
            }
            tokio::select! {
                _ = link.changed() => {}
                _ = nodes.changed() => {}
            }
        }
    }

    async fn record_local(&self, outage: Outage, nodes: Vec<String>) -> LastRecorded {
        let reason = shown_text(&outage.reason, REASON_CHARS_MAX);
        tracing::warn!(reason, nodes = nodes.len(), "this node counts rate limits by its share");
        let (node, began_at) = (self.parts.node.clone(), outage.began_at);
        let local = AccessLimitsLocal { node, nodes: nodes.clone(), began_at, reason };
        LastRecorded { position: self.record(local.into()).await, outage, nodes }
    }

    async fn record_shared(&self, last: &LastRecorded) {
        let shared = AccessLimitsShared {
            node: self.parts.node.clone(),
            ends: last.position,
            began_at: last.outage.began_at,
            ended_at: self.parts.clock.now(),
            admitted: self.figures.admitted_locally.load(Ordering::Relaxed),
            refused: self.figures.refused_locally.load(Ordering::Relaxed),
        };
        self.record(shared.into()).await;
    }

    /// Appends to the stream, and returns the position.
    async fn record(&self, event: Event) -> u64 {
        let mut is_said = false;
        loop {
            match self.append(event.clone()).await {
                Ok(position) => return position,
                // Another node was faster.
                Err(AppendError::OptimisticLock) => {}
                Err(error) => {
                    if !std::mem::replace(&mut is_said, true) {
                        tracing::warn!(%error, "cannot record how rate limits are counted: trying again");
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn append(&self, event: Event) -> Result<u64, AppendError> {
        let log = &self.parts.log;
        let events = log.read(|reader| reader.stream(&Access::limits_stream())).await?;
        let (sequence, context) =
            (events.last().map_or(0, |last| last.sequence), Context::of(Actor::System("gateway")));
        Ok(log.append(Append::new(Access::limits_stream(), sequence, vec![event], context)).await?.last)
    }
}

/// Since when a node counts rate limits by its share, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalSince {
    #[serde(serialize_with = "instant")]
    pub began_at: DateTime<Utc>,
    pub node: String,
    pub reason: String,
}

fn instant<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    rfc3339(*at).serialize(serializer)
}

impl LocalSince {
    /// Returns the longest local period of the nodes that run now; `None` if all count in Redis, or none of them has
    /// one.
    pub fn of(reader: &dyn Reader) -> Result<Option<Self>, LogError> {
        let running = reader.running_nodes()?;
        let with_redis: Vec<&str> =
            running.iter().filter(|node| RunningNode::has_redis(node)).map(|node| &*node.node_id).collect();
        if with_redis.is_empty() {
            return Ok(None);
        }
        Ok(Self::first_of(&reader.stream(&Access::limits_stream())?, &with_redis))
    }

    /// Expects all events of the stream `access-limits`.
    fn first_of(events: &[Recorded], running: &[&str]) -> Option<Self> {
        let mut local: Vec<Self> = Vec::new();
        for recorded in events {
            match &recorded.event {
                Event::Access(Access::LimitsLocal(begun)) => {
                    local.retain(|known| known.node != begun.node);
                    let AccessLimitsLocal { node, began_at, reason, .. } = &**begun;
                    local.push(Self { began_at: *began_at, node: node.clone(), reason: reason.clone() });
                }
                Event::Access(Access::LimitsShared(shared)) => local.retain(|known| known.node != shared.node),
                _ => {}
            }
        }
        local.retain(|known| running.contains(&&*known.node));
        local.into_iter().min_by_key(|known| known.began_at)
    }
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;

    use super::*;

    fn recorded(position: u64, event: impl Into<Event>) -> Recorded {
        let (stream, context) = (Access::limits_stream(), Context::of(Actor::System("gateway")));
        Recorded { position, recorded_at: from_micros(0), stream, sequence: position, context, event: event.into() }
    }

    fn local(node: &str, began_at: i64, reason: &str) -> AccessLimitsLocal {
        let (node, reason) = (node.to_owned(), reason.to_owned());
        AccessLimitsLocal { nodes: vec![node.clone()], node, began_at: from_micros(began_at), reason }
    }

    fn shared(node: &str, ends: u64) -> AccessLimitsShared {
        let (node, at) = (node.to_owned(), from_micros(9));
        AccessLimitsShared { node, ends, began_at: at, ended_at: at, admitted: 0, refused: 0 }
    }

    #[test]
    fn the_node_that_counts_alone_for_the_longest_time_is_shown_as_long_as_it_runs() {
        let events = [
            recorded(1, local("gone", 1, "it has ended")),
            recorded(2, local("a", 2, "no answer")),
            recorded(3, local("b", 3, "refused")),
            recorded(4, local("a", 2, "no answer")),
            recorded(5, shared("a", 4)),
            recorded(6, shared("b", 3)),
        ];
        let shown = |count: usize| {
            let since = LocalSince::first_of(&events[..count], &["a", "b"])?;
            Some((since.node, since.reason))
        };
        let a = Some(("a".to_owned(), "no answer".to_owned()));
        let b = Some(("b".to_owned(), "refused".to_owned()));
        let all: Vec<_> = (0..=6).map(shown).collect();
        assert_eq!(all, [None, None, a.clone(), a.clone(), a, b, None]);
    }
}
