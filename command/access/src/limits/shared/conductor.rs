//! Outages of Redis and the returns from them. Both are recorded, so that all nodes change how they count at one position.
//!
//! When a node cannot count in Redis, it records `access.limits_local`, and every node counts by itself from there on. Each then
//! tries to reach Redis again; one that does puts all that it has counted, and from then on whatever it admits before it admits
//! it, and says that it is ready. When all running nodes are that were given a share, one of them records `access.limits_shared`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::access::{AccessLimitsLocal, AccessLimitsShared};
use events::event::{Access, Actor, Context, Event};
use events::log::{Append, AppendError, Basis, LimitSharing, LogError, RunningNode};
use events::shown_text::shown_text;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use shared_limits::{ANSWER_MAX, CounterConnection, CounterError};
use tokio::time::timeout;

use super::group::Group;
use super::link::{LOST, Phase};
use super::mode::{LocalPeriod, Mode};
use super::putting::PutError;
use super::return_pause::ReturnPause;
use super::state::SharedLimiter;
use super::telling::GROUPS_AT_A_TIME;

/// How often a node in a local period tries to reach Redis, and asks who is ready.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long a node that has no connection in a turn in which counts are shared may take to make one: requests wait for two seconds.
const CONNECTED_WITHIN: Duration = Duration::from_millis(1500);
/// How often a node whose counts are shared asks whether Redis is there, and claims the places of running requests again;
/// they are freed after five seconds.
const RENEW_EVERY: Duration = Duration::from_secs(1);
const REASON_CHARS_MAX: usize = 300;
const IN_DOUBT: &str = "an answer of Redis was lost while the nodes began to share their counts";
/// After how long it is said which nodes are waited for, and how often a changed cause of a local period is said.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Leads a node through outages.
pub struct Conductor {
    limiter: Arc<SharedLimiter>,
    /// Before the node says that it is ready.
    pause: ReturnPause,
    /// Whether it may have counted anything: before that, Redis lacks nothing of it.
    may_have_counted: bool,
    unrecorded: FirstSeen,
    /// The beginning of the local period that this node knows of.
    known_period: Option<u64>,
    /// The last turn in which it has said that it is ready.
    declared: Option<u64>,
    /// Why the local period lasts.
    cause: LastMessage,
    /// Why it cannot be recorded how limits are counted.
    not_recorded: LastMessage,
}

/// Why counts cannot be shared from this turn on.
#[derive(Clone, Debug)]
struct Outage {
    turn: u64,
    reason: String,
    began_at: DateTime<Utc>,
    /// When it was noticed, by the monotonic clock.
    noticed: Duration,
}

/// The outage that is to be recorded, as it was first seen: what is seen while it cannot be recorded follows from it.
#[derive(Debug, Default)]
struct FirstSeen(Option<Outage>);

impl FirstSeen {
    fn first_of(&mut self, seen: Outage) -> Outage {
        let first = self.0.take().filter(|first| first.turn == seen.turn).unwrap_or(seen);
        self.0.insert(first).clone()
    }
}

/// The last message of a kind that was logged, and when, by the monotonic clock: attempts follow each other several times a second.
#[derive(Debug, Default)]
struct LastMessage(Option<(Duration, String)>);

impl LastMessage {
    /// True if the message differs from the last one, and that was logged at least ten seconds ago; it is then the last one.
    fn replace_if_new(&mut self, message: &str, now: Duration) -> bool {
        let is_new = |(at, last): &(Duration, String)| last != message && now.saturating_sub(*at) >= SAID_EVERY;
        let replaces = self.0.as_ref().is_none_or(is_new);
        if replaces {
            self.0 = Some((now, message.to_owned()));
        }
        replaces
    }
}

/// Who has recorded how limits are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recorder {
    ThisNode,
    /// It was faster.
    Another,
}

/// A node's places could not be claimed again: why, [`SharedLimiter::tell`] has noted.
struct NotClaimed;

/// Why a return from a local period did not succeed.
#[derive(Debug, thiserror::Error)]
enum ReturnError {
    #[error(transparent)]
    Redis(#[from] CounterError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Put(#[from] PutError),
    /// Redis has failed another call, or has lost data.
    #[error("{0}")]
    Link(String),
}

impl Conductor {
    pub fn new(limiter: Arc<SharedLimiter>) -> Self {
        Self {
            limiter,
            pause: ReturnPause::default(),
            may_have_counted: false,
            unrecorded: FirstSeen::default(),
            known_period: None,
            declared: None,
            cause: LastMessage::default(),
            not_recorded: LastMessage::default(),
        }
    }

    pub async fn run(mut self) {
        loop {
            let mode = self.limiter.modes.mode();
            self.show(&mode);
            match &*mode {
                Mode::Shared { turn } => self.keep_shared(*turn).await,
                Mode::Local(period) if period.member_since.is_none() => {
                    let reason = "a node was not given a share yet".to_owned();
                    self.record_local(self.outage(period.turn, reason, period.began_at)).await;
                }
                Mode::Local(period) => self.return_from(period).await,
            }
        }
    }

    fn show(&mut self, mode: &Mode) {
        let figures = &self.limiter.figures;
        figures.shared.set(i64::from(mode.is_shared()));
        match mode {
            Mode::Shared { .. } if self.known_period.take().is_some() => {
                tracing::info!("the counts of rate limits are shared again");
            }
            Mode::Local(period) if self.known_period != Some(period.began) => {
                self.known_period = Some(period.began);
                figures.local_period_begins();
                tracing::warn!(
                    node = period.beginning.node,
                    reason = period.beginning.reason,
                    nodes = period.nodes.len(),
                    "each node counts rate limits by itself: see access.limits_local"
                );
            }
            Mode::Shared { .. } | Mode::Local(_) => {}
        }
    }

    /// Keeps what runs claimed, until the turn ends.
    async fn keep_shared(&mut self, turn: u64) {
        self.pause.begin_shared(turn, self.limiter.parts.clock.monotonic());
        self.cause = LastMessage::default();
        self.limiter.link.set_phase(Phase::Away);
        // A start that could not use Redis has said so.
        let mut wait = Duration::ZERO;
        loop {
            let mut known = self.limiter.modes.subscribe();
            let failure = tokio::select! {
                biased;
                // Another node may have recorded the outage that has failed a call here.
                _ = known.wait_for(|known| known.mode.turn() != turn) => {
                    return self.pause.note_outage_of_another(self.limiter.parts.clock.monotonic());
                }
                failure = self.limiter.link.failure(turn, wait) => failure,
            };
            if let Some(failure) = failure {
                self.may_have_counted |= self.limiter.link.connection().is_some();
                self.limiter.link.set_connection(None);
                let seen = self.outage(turn, failure.reason, self.limiter.parts.clock.now());
                let first = self.unrecorded.first_of(seen);
                self.record_local(first).await;
                return;
            }
            if let Some(connection) = self.connection_in(turn).await {
                self.renew(turn, &connection).await;
            }
            wait = RENEW_EVERY;
        }
    }

    fn outage(&self, turn: u64, reason: String, began_at: DateTime<Utc>) -> Outage {
        Outage { turn, reason, began_at, noticed: self.limiter.parts.clock.monotonic() }
    }

    /// The connection of a turn in which counts are shared. Without one, the turn fails, unless it has ended.
    async fn connection_in(&mut self, turn: u64) -> Option<CounterConnection> {
        if self.limiter.link.connection().is_none() {
            match self.open_in(turn).await? {
                Ok(connection) => {
                    self.unrecorded = FirstSeen::default();
                    self.limiter.link.set_connection(Some(connection));
                }
                Err(reason) => self.limiter.fail(turn, &reason),
            }
        }
        let connection = self.limiter.link.connection();
        self.may_have_counted |= connection.is_some();
        connection
    }

    /// Connects in a turn in which counts are shared; `None` if it ends meanwhile.
    async fn open_in(&self, turn: u64) -> Option<Result<CounterConnection, String>> {
        if self.may_have_counted {
            // Others have gone on without what this node counts: it puts that in a period of its own.
            return Some(Err("not connected to Redis".to_owned()));
        }
        // Counts are shared again since it could not use Redis at its start.
        let mut known = self.limiter.modes.subscribe();
        tokio::select! {
            _ = known.wait_for(|known| known.mode.turn() != turn) => None,
            opened = timeout(CONNECTED_WITHIN, self.limiter.open()) => Some(match opened {
                Ok(opened) => opened.map_err(|error| error.to_string()),
                Err(_) => Err(format!(
                    "{} has not answered all that a new connection asks within {} ms",
                    self.limiter.parts.address.shown(),
                    CONNECTED_WITHIN.as_millis()
                )),
            }),
        }
    }

    /// Asks whether Redis is there, and claims the places of running requests again.
    async fn renew(&self, turn: u64, connection: &CounterConnection) {
        // An outage begins when Redis goes, not with the next request.
        if let Err(error) = connection.check().await {
            return self.limiter.fail(turn, &error.to_string());
        }
        self.limiter.link.show_connected();
        let tell = |group: Arc<Group>| async move {
            let is_claimed = self.limiter.tell(connection, &group, turn, &[]).await;
            is_claimed.then_some(()).ok_or(NotClaimed)
        };
        let running = stream::iter(self.limiter.groups.running()).map(Ok);
        // Each call may take half a second: after a failure, the others would only delay what is recorded.
        let _ = running.try_for_each_concurrent(GROUPS_AT_A_TIME, tell).await;
        if self.limiter.corrections.are_any_in_doubt() {
            // Of a call that ended after the turn in which it was made.
            self.limiter.fail(turn, IN_DOUBT);
        }
    }

    /// Records that each node counts by itself from here on, and waits until it is known here. Another node may be faster.
    async fn record_local(&mut self, outage: Outage) {
        let Outage { turn, reason, began_at, noticed } = outage;
        let reason = shown_text(reason, REASON_CHARS_MAX);
        let known = self.limiter.modes.known();
        if known.mode.turn() != turn {
            return self.pause.note_outage_of_another(noticed);
        }
        let listed = match self.serving_nodes().await {
            // One that starts records itself before it admits anything alone, and may never serve.
            Ok(listed) => listed.into_iter().filter(|running| !running.is_starting()).map(|running| running.node_id),
            Err(error) => return self.wait_for_ledger(&error).await,
        };
        let own = self.limiter.parts.node.clone();
        let nodes = known.mode.nodes_to_record(&own, listed, self.limiter.now_micros());
        let event = AccessLimitsLocal { node: own, nodes, began_at, reason };
        match self.record(event.into(), known.sequence).await {
            Some(Recorder::ThisNode) => self.pause.note_outage(noticed),
            Some(Recorder::Another) => self.pause.note_outage_of_another(noticed),
            None => {}
        }
    }

    /// Appends to the stream, unless it has moved on, and waits until that is known here. `None` if nobody could record anything.
    async fn record(&mut self, event: Event, known_sequence: u64) -> Option<Recorder> {
        let append = Append {
            stream: Access::limits_stream(),
            expected_sequence: known_sequence,
            events: vec![event],
            context: Context::of(Actor::System("gateway")),
            side: Vec::new(),
            idempotency: None,
            basis: Basis::default(),
        };
        let recorder = match self.limiter.parts.log.append(append).await {
            Ok(_) => Recorder::ThisNode,
            Err(AppendError::OptimisticLock) => Recorder::Another,
            Err(error) => {
                self.wait_for_ledger(&error).await;
                return None;
            }
        };
        self.not_recorded = LastMessage::default();
        self.limiter.modes.wait_for(|known| known.sequence > known_sequence, RENEW_EVERY).await;
        Some(recorder)
    }

    async fn wait_for_ledger(&mut self, error: &(dyn std::error::Error + Sync)) {
        let error = shown_text(error, REASON_CHARS_MAX);
        if self.not_recorded.replace_if_new(&error, self.limiter.parts.clock.monotonic()) {
            tracing::warn!(error, "cannot record how rate limits are counted: trying again");
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }

    /// The nodes that were seen lately and may share their counts.
    async fn serving_nodes(&self) -> Result<Vec<RunningNode>, LogError> {
        let mut running = self.limiter.parts.log.read(|reader| reader.running_nodes()).await?;
        // Those without Redis are never ready, and count every limit by themselves in any case.
        running.retain(|running| running.serves_requests && running.limit_sharing != Some(LimitSharing::Off));
        Ok(running)
    }

    /// Tries once to come back. It ends with another turn, or with a failure.
    async fn return_from(&mut self, period: &LocalPeriod) {
        let turn = period.turn;
        self.may_have_counted = true;
        let returned = self.put_all_and_wait(period).await;
        if self.limiter.modes.mode().turn() != turn {
            if self.declared != Some(turn) {
                // Others went on without what this node counts, which Redis may lack: the next outage makes it good.
                self.limiter.link.set_connection(None);
            }
            return;
        }
        self.limiter.link.set_connection(None);
        self.limiter.link.take_failure(turn);
        if let Err(error) = returned {
            self.say_cause(&error);
            if self.declared == Some(turn) {
                // Others rely on it that this node tells Redis of all that it admits, until another turn begins.
                return self.record_local(self.outage(turn, error.to_string(), period.began_at)).await;
            }
        }
        self.limiter.link.set_phase(Phase::Away);
        tokio::time::sleep(PROBE_EVERY).await;
    }

    /// Says why the local period lasts, when that has changed: the log of events has only its beginning.
    fn say_cause(&mut self, cause: impl std::fmt::Display) {
        let cause = shown_text(cause, REASON_CHARS_MAX);
        if self.cause.replace_if_new(&cause, self.limiter.parts.clock.monotonic()) {
            tracing::warn!(cause, "counts of rate limits cannot be shared yet");
        }
    }

    async fn put_all_and_wait(&mut self, period: &LocalPeriod) -> Result<(), ReturnError> {
        let turn = period.turn;
        let connection = self.limiter.open().await?;
        self.limiter.groups.forget_markers();
        self.limiter.link.set_connection(Some(connection.clone()));
        // From here on, every request is told to Redis. Those before it are in the slots.
        self.limiter.link.set_phase(Phase::Putting { turn });
        // Calls of the turn before have been answered or lost by then, but for the second one of a request under limits of two partners.
        let ready_at = self.limiter.parts.clock.monotonic() + self.pause.get().max(ANSWER_MAX);
        let restored =
            self.limiter.put(&connection, turn, self.limiter.slots.all().into_iter().map(|(key, _)| key)).await?;
        self.limiter.figures.restored.inc_by(restored);
        loop {
            // What was corrected meanwhile, and what nobody knows.
            self.limiter.put(&connection, turn, self.limiter.corrections.limits().into_iter()).await?;
            let renew = |group: Arc<Group>| {
                let (limiter, connection) = (&*self.limiter, &connection);
                async move { limiter.put_states(connection, turn, &group, &[]).await }
            };
            let running = stream::iter(self.limiter.groups.running()).map(Ok);
            running.try_for_each_concurrent(GROUPS_AT_A_TIME, renew).await?;
            let now = self.limiter.parts.clock.monotonic();
            if now < ready_at {
                connection.check().await?;
            } else {
                let missing = self.declare(&connection, period).await?;
                if !missing.is_empty() && now >= ready_at + SAID_EVERY {
                    self.say_cause(format_args!(
                        "this node waits for {}: they cannot use Redis, use another one, or come back from several outages",
                        missing.join(", ")
                    ));
                }
            }
            self.limiter.link.show_connected();
            let mut known = self.limiter.modes.subscribe();
            tokio::select! {
                _ = known.wait_for(|known| known.mode.turn() != turn) => return Ok(()),
                failure = self.limiter.link.failure(turn, PROBE_EVERY) => {
                    if let Some(failure) = failure { return Err(ReturnError::Link(failure.reason)) }
                }
            }
        }
    }

    /// Says that this node is ready. If all running nodes are that may have admitted something which Redis lacks, it records that
    /// counts are shared. Returns those that are not.
    async fn declare(
        &mut self,
        connection: &CounterConnection,
        period: &LocalPeriod,
    ) -> Result<Vec<String>, ReturnError> {
        let was_declared = self.declared == Some(period.turn);
        // Before it is sent: Redis may know of it although nobody hears the answer.
        self.declared = Some(period.turn);
        let ready = connection.ready(period.turn).await?;
        if was_declared && !ready.was_known {
            return Err(ReturnError::Link(LOST.to_owned()));
        }
        let mut missing = self.serving_nodes().await?;
        missing.retain(|node| period.may_have_admitted(node) && !ready.nodes.contains(&node.node_id));
        if missing.is_empty() {
            self.record_shared(period).await;
        }
        Ok(missing.into_iter().map(|node| node.node_id).collect())
    }

    async fn record_shared(&mut self, period: &LocalPeriod) {
        let known = self.limiter.modes.known();
        if known.mode.turn() != period.turn {
            return;
        }
        let figures = &self.limiter.figures;
        let event = AccessLimitsShared {
            node: self.limiter.parts.node.clone(),
            ends: period.turn,
            began_at: period.began_at,
            ended_at: self.limiter.parts.clock.now(),
            admitted: figures.admitted_locally.load(Ordering::Relaxed),
            refused: figures.refused_locally.load(Ordering::Relaxed),
        };
        self.record(event.into(), known.sequence).await;
    }
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;

    use super::*;

    #[test]
    fn an_outage_is_recorded_as_it_was_first_seen() {
        let seen = |turn, reason: &str| Outage {
            turn,
            reason: reason.to_owned(),
            began_at: from_micros(0),
            noticed: Duration::ZERO,
        };
        let mut first = FirstSeen::default();
        let reasons = [(7, "refused"), (7, "not connected"), (9, "no answer"), (9, "not connected")]
            .map(|(turn, reason)| first.first_of(seen(turn, reason)).reason);
        assert_eq!(reasons, ["refused", "refused", "no answer", "no answer"]);
    }

    #[test]
    fn what_lasts_is_said_once_and_what_changes_at_most_every_ten_seconds() {
        let mut last = LastMessage::default();
        let steps = [(0, "one", true), (60, "one", false), (61, "two", true), (62, "one", false), (71, "three", true)];
        for (seconds, cause, is_said) in steps {
            assert_eq!(last.replace_if_new(cause, Duration::from_secs(seconds)), is_said, "{cause} at {seconds}");
        }
    }
}
