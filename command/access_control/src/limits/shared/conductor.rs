//! The connection of a node to Redis: it is made, watched, and made again. Over a new one, Redis is sent all that this node counts.

use std::collections::HashMap;
use std::time::Duration;

use events::shown_text::shown_text;
use events_log::{LimitSharing, LogError, RunningNode};
use futures_util::stream::{self, StreamExt};
use shared_limits::{CountReply, CounterConnection, CounterError, LimitCall};

use super::limiter::SharedLimiter;
use super::link::{Connection, LinkState};
use crate::limits::binding::locked;
use crate::limits::slots::SlotKey;

/// How often this node says that it is there, and looks for others; places of running requests are freed after five seconds.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long this node waits before it tries to connect: twice as long after each connection that did not last, up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A connection that lasts for so long is steady.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// The partners whose limits are told to Redis at a time: answered one after the other, many calls would take longer than the places of
/// running requests are kept.
const GROUPS_AT_A_TIME: usize = 32;
/// The limits of one call: the script of one with more could keep others from their answers.
pub(super) const LIMITS_PER_CALL: usize = 32;
/// After how many looks a node that this Redis does not know is named.
const UNKNOWN_LOOKS: u32 = 5;
const REASON_CHARS_MAX: usize = 300;

impl SharedLimiter {
    /// Keeps a connection until the process ends.
    pub(super) async fn stay_connected(&self) {
        let (mut pause, mut last_cause) = (PAUSE, String::new());
        loop {
            if let Some(connection) = self.link.connection() {
                self.figures.shared.set(1);
                let began = self.parts.clock.monotonic();
                self.keep(&connection).await;
                self.figures.shared.set(0);
                let lasted = self.parts.clock.monotonic().saturating_sub(began);
                pause = if lasted >= STEADY_AFTER { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            }
            tokio::time::sleep(pause).await;
            match self.open().await {
                Ok(counter) => {
                    let connection = self.connected(counter);
                    let told = self.tell(&connection, self.slots.all().into_iter().map(|(key, _)| key)).await;
                    self.figures.restored.inc_by(told);
                    self.link.show_connected();
                    last_cause.clear();
                    tracing::info!("this node counts rate limits in Redis again");
                }
                Err(error) => {
                    let cause = shown_text(error, REASON_CHARS_MAX);
                    if cause != last_cause {
                        tracing::warn!(cause, "this node cannot count rate limits in Redis");
                        last_cause = cause;
                    }
                }
            }
        }
    }

    pub(super) async fn open(&self) -> Result<CounterConnection, CounterError> {
        CounterConnection::open(&self.parts.address, &self.parts.node).await
    }

    pub(super) fn connected(&self, counter: CounterConnection) -> Connection {
        let connection = Connection { counter, number: self.next_number() };
        self.link.connect(connection.clone());
        connection
    }

    /// Says each second that this node is there, until the connection fails: an outage begins when Redis goes, not with the next request.
    async fn keep(&self, connection: &Connection) {
        let mut state = self.link.watch();
        loop {
            let is_over = |state: &LinkState| matches!(state, LinkState::Away(_));
            if tokio::time::timeout(RENEW_EVERY, state.wait_for(is_over)).await.is_ok() {
                return;
            }
            let renew = async |group: &str| {
                if let Err(error) = connection.counter.renew(group).await {
                    self.fail(connection.number, &error.to_string());
                }
            };
            if let Err(error) = connection.counter.check().await {
                self.fail(connection.number, &error.to_string());
                continue;
            }
            let running = stream::iter(self.groups.running());
            running.for_each_concurrent(GROUPS_AT_A_TIME, async |group| renew(&group.name).await).await;
        }
    }

    /// Tells Redis what has become of requests, until the process ends. While it is away, the states of the next connection have it.
    pub(super) async fn tell_corrections(&self) {
        loop {
            let owed = self.owed().await;
            if let Some(connection) = self.link.connection() {
                self.tell(&connection, owed.into_iter()).await;
            }
        }
    }

    /// Tells Redis of these limits what it does not know. Returns their number.
    async fn tell(&self, connection: &Connection, keys: impl Iterator<Item = SlotKey>) -> u64 {
        let (mut by_group, mut count): (HashMap<String, Vec<SlotKey>>, u64) = (HashMap::new(), 0);
        for key in keys {
            let Some(slot) = self.slots.get(key) else { continue };
            by_group.entry(locked(&slot).group.name.clone()).or_default().push(key);
            count += 1;
        }
        let tell = async |(group, keys): (String, Vec<SlotKey>)| {
            for keys in keys.chunks(LIMITS_PER_CALL) {
                self.tell_group(connection, &group, keys).await;
            }
        };
        stream::iter(by_group).for_each_concurrent(GROUPS_AT_A_TIME, tell).await;
        count
    }

    async fn tell_group(&self, connection: &Connection, group: &str, keys: &[SlotKey]) {
        if self.link.number() != Some(connection.number) {
            return;
        }
        let (next, now_micros) = (|| self.next_number(), self.now_micros());
        let slots: Vec<_> = keys.iter().filter_map(|key| Some((*key, self.slots.get(*key)?))).collect();
        let of_slots = slots.iter().map(|(key, slot)| (key.to_string(), locked(slot)));
        let calls: Vec<LimitCall> =
            of_slots.map(|(name, mut slot)| slot.call(name, connection.number, next, now_micros)).collect();
        let reply = connection.counter.count(group, &calls).await;
        if matches!(reply, Ok(CountReply::Counted(_) | CountReply::Refused(_))) {
            return;
        }
        for ((key, slot), call) in slots.iter().zip(&calls) {
            locked(slot).forget_sent(call.number);
            // Of a connection that has failed, the next one tells it.
            self.owe(*key);
        }
        if let Err(error) = reply {
            self.fail(connection.number, &error.to_string());
        }
    }

    /// Keeps the list of the nodes among which limits are divided, until the process ends. While the ledger is away, it stays as it is:
    /// nothing is admitted then.
    pub(super) async fn watch_nodes(&self) {
        let mut elsewhere: HashMap<String, u32> = HashMap::new();
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match self.look_for_nodes().await {
                Ok(connected) => self.warn_of_another_redis(connected, &mut elsewhere).await,
                Err(error) => tracing::debug!(%error, "cannot read which nodes run"),
            }
        }
    }

    /// Warns of nodes that are connected, as they say, and that this Redis does not know: `elsewhere` has how often they were not known
    /// in a row.
    async fn warn_of_another_redis(&self, connected: Vec<String>, elsewhere: &mut HashMap<String, u32>) {
        let Some(connection) = self.link.connection() else { return elsewhere.clear() };
        let Ok(live) = connection.counter.live_nodes().await else { return elsewhere.clear() };
        let unknown: Vec<String> = connected.into_iter().filter(|node| !live.contains(node)).collect();
        elsewhere.retain(|node, _| unknown.contains(node));
        for node in unknown {
            let looks = elsewhere.entry(node.clone()).or_default();
            *looks = looks.saturating_add(1);
            if *looks == UNKNOWN_LOOKS {
                tracing::warn!(
                    node,
                    "this node uses another Redis, or another database of it, and admits every rate limit once more"
                );
            }
        }
    }

    /// Finds out among which nodes limits are divided, and returns those that say that they are connected to Redis.
    ///
    /// A node without a Redis counts every limit by itself in any case, and one that has not finished its start admits nothing.
    pub(super) async fn look_for_nodes(&self) -> Result<Vec<String>, LogError> {
        let running = self.parts.log.read(|reader| reader.running_nodes()).await?;
        let is_connected = |node: &&RunningNode| node.limit_sharing == Some(LimitSharing::Connected);
        let connected = running.iter().filter(is_connected).map(|node| node.node_id.clone()).collect();
        let serves = |node: &RunningNode| {
            node.serves_requests && node.limit_sharing != Some(LimitSharing::Off) && !node.is_starting()
        };
        let mut nodes: Vec<String> = running.into_iter().filter(serves).map(|node| node.node_id).collect();
        nodes.push(self.parts.node.clone());
        nodes.sort_unstable();
        nodes.dedup();
        self.nodes.send_if_modified(|known| {
            let is_new = *known != nodes;
            *known = nodes;
            is_new
        });
        Ok(connected)
    }
}
