//! Outages of Redis and the returns from them. Both are recorded, so that all nodes change how they count at one position.
//!
//! When a node cannot count in Redis, it records `access.limits_local`, and every node counts by itself from there on. Each then
//! tries to reach Redis again; one that does puts all that it has counted, and from then on whatever it admits before it admits
//! it, and says that it is ready. When all running nodes are that were given a share, one of them records `access.limits_shared`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::access::{AccessLimitsLocal, AccessLimitsShared};
use events::event::{Access, Actor, Context, Event};
use events::log::{Append, AppendError, Basis, LimitSharing, LogError, Reader, RunningNode};
use events::shown_text::shown_text;
use shared_limits::{CountReply, CounterConnection, CounterError, LimitCall, LimitState, NodeState, PutReply};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::SharedLimitsError;
use super::group::Group;
use super::link::{LOST, Phase};
use super::mode::{LocalPeriod, Mode};
use super::other_nodes::{self, ConnectedNodes, DEAD_NODE_LISTED_MAX, OthersReach};
use super::state::SharedLimiter;
use crate::limits::binding::locked;
use crate::limits::slots::SlotKey;

/// How often a node in a local period tries to reach Redis, and asks who is ready and, at its start, which earlier nodes run.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How often a node whose counts are shared asks whether Redis is there, and claims the places of running requests again;
/// they are freed after five seconds.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The limits of one call.
const LIMITS_PER_CALL: usize = 32;
/// An outage that follows the last one so soon lets the node wait before it says again that it is ready.
const STEADY_AFTER: Duration = Duration::from_secs(60);
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const REASON_CHARS_MAX: usize = 300;
/// For how long a starting node makes new attempts to reach Redis before it ends, or records an outage for all nodes: one answer may be
/// late, and during a failover an address may lead to a replica. An attempt that began in time runs to its own limit of two seconds, so
/// that a slow Redis is not taken for an absent one.
const ASKED_FIRST_MAX: Duration = Duration::from_secs(3);
/// How long after Redis has gone every node that runs has noticed it, and has said in the register that it is not connected: each asks
/// once a second, waits half a second, and gives a sign each second.
const OUTAGE_NOTICED_MAX: Duration = Duration::from_secs(5);
/// For how long a node that runs cannot use Redis, while others can, before it ends: longer than a failover takes, in which an address may
/// lead to a replica or to nobody, and than most disturbances of a network.
const CUT_OFF_MAX: Duration = Duration::from_secs(30);
/// The most that the clocks of a node and of the database may differ.
const CLOCKS_DIFFER_MAX: TimeDelta = TimeDelta::seconds(5);

/// Leads a node through outages.
pub struct Conductor {
    limiter: Arc<SharedLimiter>,
    /// Since when counts are shared, by the monotonic clock.
    shared_since: Option<Duration>,
    /// Before the node says that it is ready.
    pause: Duration,
    /// The beginning of the local period that this node knows of.
    known_period: Option<u64>,
    /// The last turn in which it has said that it is ready.
    declared: Option<u64>,
    /// This node cannot use Redis in a local period.
    cut_off: Option<CutOff>,
    /// Gets the reason if this node must end; once.
    end: Option<oneshot::Sender<CounterError>>,
}

/// A node that has failed in Redis again and again.
struct CutOff {
    /// The first failure, by the monotonic clock.
    since: Duration,
    /// What others have said once it had lasted for long.
    connected: ConnectedNodes,
}

/// Why a return from a local period did not succeed.
#[derive(Debug, thiserror::Error)]
enum ReturnError {
    #[error(transparent)]
    Redis(#[from] CounterError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("another turn has begun")]
    Superseded,
    /// Redis has failed another call, or has lost data.
    #[error("{0}")]
    Link(String),
}

impl Conductor {
    /// With what gets the reason if this node must end.
    pub const fn new(limiter: Arc<SharedLimiter>, end: oneshot::Sender<CounterError>) -> Self {
        Self {
            limiter,
            shared_since: None,
            pause: Duration::ZERO,
            known_period: None,
            declared: None,
            cut_off: None,
            end: Some(end),
        }
    }

    /// Asks whether this node can use Redis, in a local period as well, and stays connected if it can: counts may be shared again
    /// before it has a share.
    ///
    /// Errors: it cannot, and other nodes can, or may, which could not share their counts as long as this one runs.
    pub async fn connect_first(&self) -> Result<(), SharedLimitsError> {
        self.judge_first().await?;
        self.limiter.link.show_start();
        Ok(())
    }

    async fn judge_first(&self) -> Result<(), SharedLimitsError> {
        let began = Instant::now();
        // It cannot change in here: nothing follows the log yet.
        let mode = self.limiter.modes.mode();
        let Some(failure) = self.ask_first(&mode).await else { return Ok(()) };
        if failure.is_final() {
            if self.may_earlier_nodes_run(&failure).await? {
                return Err(SharedLimitsError::Refused(failure));
            }
        } else if self.do_others_reach_redis(began, &failure).await? {
            return Err(SharedLimitsError::Unreached(failure));
        }
        if mode.is_shared() && self.limiter.link.connection().is_none() {
            self.limiter.fail(mode.turn(), &failure.to_string());
        }
        Ok(())
    }

    /// Tries to connect until it succeeds, or for so long as a start may take. In a local period, one attempt without an answer is
    /// enough: the return from the period connects anew. The first failure that is final decides: a server that has refused this node may
    /// not answer the next attempt in time.
    async fn ask_first(&self, mode: &Mode) -> Option<CounterError> {
        let until = Instant::now() + ASKED_FIRST_MAX;
        let mut refusal: Option<CounterError> = None;
        loop {
            let Err(failure) = self.connect().await else { return None };
            if refusal.is_none() && failure.is_final() {
                refusal = Some(failure.clone());
            }
            if !mode.is_shared() && refusal.is_none() {
                return None;
            }
            tokio::time::sleep(PROBE_EVERY).await;
            if Instant::now() >= until {
                return Some(refusal.unwrap_or(failure));
            }
        }
    }

    async fn connect(&self) -> Result<(), CounterError> {
        let connection = self.open().await?;
        self.limiter.link.set_connection(Some(connection));
        Ok(())
    }

    /// Whether other nodes reach the Redis that gives this one no answer. In an outage, they notice it as well: one that says later that
    /// it is connected has had an answer in the meantime. It also tries again, and stays connected if that succeeds.
    async fn do_others_reach_redis(&self, began: Instant, failure: &CounterError) -> Result<bool, LogError> {
        let noticed_by = began + OUTAGE_NOTICED_MAX;
        let until = Instant::now() + DEAD_NODE_LISTED_MAX;
        let mut connected = ConnectedNodes::default();
        tracing::warn!(error = %failure, "this node gets no answer from Redis: looking for nodes that do");
        while Instant::now() < until {
            let listed = self.limiter.parts.log.read(|reader| reader.running_nodes()).await?;
            match connected.look(&self.limiter.parts.node, &listed) {
                OthersReach::Nobody => return Ok(false),
                OthersReach::Certainly => return self.are_counts_still_shared().await,
                OthersReach::Perhaps => {}
            }
            if Instant::now() < noticed_by {
                // What they say until then may be from before an outage.
                connected = ConnectedNodes::default();
            }
            if self.connect().await.is_ok() {
                return Ok(false);
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
        Ok(false)
    }

    /// Whether the log says so now. [`Modes`](super::mode::Modes) says it as of the start, until the log is followed.
    async fn are_counts_still_shared(&self) -> Result<bool, LogError> {
        let last_of_each_type = |reader: &dyn Reader| reader.last_of_each_type(&Access::limits_stream(), None);
        let recorded = self.limiter.parts.log.read(last_of_each_type).await?;
        let last = recorded.iter().max_by_key(|recorded| recorded.position);
        Ok(!last.is_some_and(|last| matches!(last.event, Event::Access(Access::LimitsLocal(_)))))
    }

    /// Whether nodes that started before this one run, or may run. One that was seen since this one started does. One that died, such
    /// as this one before a restart, is listed for ten seconds more: this waits until it is not. Of several that start at once, the
    /// first one serves.
    async fn may_earlier_nodes_run(&self, error: &CounterError) -> Result<bool, LogError> {
        tracing::warn!(%error, "this node cannot use Redis: looking for nodes that started earlier");
        let until = Instant::now() + DEAD_NODE_LISTED_MAX;
        loop {
            if let Some(mut earlier) = self.limiter.parts.log.earlier_nodes().await? {
                earlier.retain(|node| node.could_append_lately);
                if earlier.is_empty() {
                    return Ok(false);
                }
                if earlier.iter().any(|node| node.was_seen_since) {
                    return Ok(true);
                }
            }
            if Instant::now() >= until {
                return Ok(true);
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    pub async fn run(mut self) {
        loop {
            let mode = self.limiter.modes.mode();
            self.show(&mode);
            match &*mode {
                Mode::Shared { turn } => self.keep_shared(*turn).await,
                Mode::Local(period) if period.member_since.is_none() => {
                    self.record_local("a node was not given a share yet", period.began_at).await;
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
        self.shared_since = Some(self.limiter.parts.clock.monotonic());
        self.cut_off = None;
        self.limiter.link.set_phase(Phase::Away);
        loop {
            let mut known = self.limiter.modes.subscribe();
            let failure = tokio::select! {
                failure = self.limiter.link.failure(turn, RENEW_EVERY) => failure,
                _ = known.wait_for(|known| known.mode.turn() != turn) => return,
            };
            if let Some(failure) = failure {
                self.limiter.link.set_connection(None);
                self.record_local(&failure.reason, self.limiter.parts.clock.now()).await;
                return;
            }
            self.renew(turn).await;
        }
    }

    /// Asks whether Redis is there, and claims the places of running requests again.
    async fn renew(&self, turn: u64) {
        let Some(connection) = self.limiter.link.connection() else {
            return self.limiter.fail(turn, "not connected to Redis");
        };
        // An outage begins when Redis goes, not with the next request.
        if let Err(error) = connection.ping().await {
            return self.limiter.fail(turn, &error.to_string());
        }
        for group in self.limiter.groups.running() {
            // Each call may take half a second: after a failure, the others would only delay what is recorded.
            if !self.limiter.tell(&connection, &group, turn, &[]).await {
                return;
            }
        }
    }

    /// Records that each node counts by itself from here on, and waits until it is known here. Another node may be faster.
    async fn record_local(&mut self, reason: &str, began_at: DateTime<Utc>) {
        let reason = shown_text(reason, REASON_CHARS_MAX);
        self.note_unsteadiness();
        let known = self.limiter.modes.known();
        let listed = match self.serving_nodes().await {
            Ok(listed) => listed.into_iter().map(|running| running.node_id),
            Err(error) => return self.wait_for_ledger(&error).await,
        };
        let own = self.limiter.parts.node.clone();
        let nodes = known.mode.nodes_to_record(&own, listed, self.limiter.now_micros());
        tracing::warn!(reason, "the counts of rate limits cannot be shared: each node counts by itself");
        let event = AccessLimitsLocal { node: own, nodes, began_at, reason };
        self.record(event.into(), known.sequence).await;
    }

    fn note_unsteadiness(&mut self) {
        let Some(since) = self.shared_since.take() else { return };
        let lasted = self.limiter.parts.clock.monotonic().saturating_sub(since);
        self.pause = match lasted < STEADY_AFTER {
            true => (self.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX),
            false => Duration::ZERO,
        };
    }

    /// Appends to the stream, unless it has moved on, and waits until that is known here.
    async fn record(&self, event: Event, known_sequence: u64) {
        let append = Append {
            stream: Access::limits_stream(),
            expected_sequence: known_sequence,
            events: vec![event],
            context: Context::of(Actor::System("gateway")),
            side: Vec::new(),
            idempotency: None,
            basis: Basis::default(),
        };
        match self.limiter.parts.log.append(append).await {
            Ok(_) | Err(AppendError::OptimisticLock) => {
                self.limiter.modes.wait_for(|known| known.sequence > known_sequence, RENEW_EVERY).await;
            }
            Err(error) => self.wait_for_ledger(&error).await,
        }
    }

    async fn wait_for_ledger(&self, error: &(dyn std::error::Error + Sync)) {
        tracing::warn!(error = %error, "cannot record how rate limits are counted: trying again");
        tokio::time::sleep(PROBE_EVERY).await;
    }

    /// The nodes that were seen lately and may share their counts.
    async fn serving_nodes(&self) -> Result<Vec<RunningNode>, LogError> {
        let mut running = self.limiter.parts.log.read(|reader| reader.running_nodes()).await?;
        // Those without Redis are never ready, and count every limit by themselves in any case.
        running.retain(|running| running.serves_requests && running.limit_sharing != Some(LimitSharing::Off));
        Ok(running)
    }

    async fn open(&self) -> Result<CounterConnection, CounterError> {
        let parts = &self.limiter.parts;
        CounterConnection::open(&parts.address, &parts.node).await
    }

    /// Tries once to come back. It ends with another turn, or with a failure.
    async fn return_from(&mut self, period: &LocalPeriod) {
        let turn = period.turn;
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
            tracing::debug!(%error, "the counts of rate limits cannot be shared yet");
            if let ReturnError::Redis(error) = &error {
                self.note_cut_off(error).await;
            }
            if self.declared == Some(turn) {
                // Others rely on it that this node tells Redis of all that it admits, until another turn begins.
                return self.record_local(&error.to_string(), period.began_at).await;
            }
        }
        self.limiter.link.set_phase(Phase::Away);
        tokio::time::sleep(PROBE_EVERY).await;
    }

    /// Lets this node end if it has not been able to use Redis for long, and at least half of the nodes are connected: these can share
    /// their counts again without this one, as after any other end of a node. If fewer are, it serves: they may be the ones that are set
    /// up wrongly.
    async fn note_cut_off(&mut self, error: &CounterError) {
        let now = self.limiter.parts.clock.monotonic();
        let since =
            self.cut_off.get_or_insert_with(|| CutOff { since: now, connected: ConnectedNodes::default() }).since;
        if self.end.is_none() || now.saturating_sub(since) < CUT_OFF_MAX {
            return;
        }
        let Ok(listed) = self.serving_nodes().await else { return };
        let Some(cut_off) = &mut self.cut_off else { return };
        if cut_off.connected.look(&self.limiter.parts.node, &listed) == OthersReach::Certainly
            && other_nodes::are_half_connected(&listed)
            && let Some(end) = self.end.take()
        {
            tracing::error!(%error, "this node cannot use Redis, and others share their counts in it: ending");
            // If nobody waits for it, the process ends already.
            let _ = end.send(error.clone());
        }
    }

    async fn put_all_and_wait(&mut self, period: &LocalPeriod) -> Result<(), ReturnError> {
        let turn = period.turn;
        let connection = self.open().await?;
        self.limiter.groups.forget_markers();
        self.limiter.link.set_connection(Some(connection.clone()));
        // From here on, every request is told to Redis. Those before it are in the slots.
        self.limiter.link.set_phase(Phase::Putting { turn });
        let restored = self.put(&connection, turn, self.limiter.slots.all().into_iter().map(|(key, _)| key)).await?;
        self.limiter.figures.restored.inc_by(restored);
        self.cut_off = None;
        let ready_at = self.limiter.parts.clock.monotonic() + self.pause;
        loop {
            // What was corrected meanwhile, and what nobody knows.
            self.put(&connection, turn, self.limiter.corrections.limits().into_iter()).await?;
            for group in self.limiter.groups.running() {
                self.put_states(&connection, turn, &group, &[]).await?;
            }
            if self.limiter.parts.clock.monotonic() >= ready_at {
                self.declare(&connection, period).await?;
            }
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
    /// counts are shared.
    async fn declare(&mut self, connection: &CounterConnection, period: &LocalPeriod) -> Result<(), ReturnError> {
        let was_declared = self.declared == Some(period.turn);
        // Before it is sent: Redis may know of it although nobody hears the answer.
        self.declared = Some(period.turn);
        let ready = connection.ready(period.turn).await?;
        if was_declared && !ready.was_known {
            return Err(ReturnError::Link(LOST.to_owned()));
        }
        let running = self.serving_nodes().await?;
        // One that started in the period, and has no share, has admitted nothing, and may never be ready: a node that cannot use
        // Redis starts again and again. One that is older may have been suspended when the period began.
        let last_start = period.beginning.recorded_at + CLOCKS_DIFFER_MAX;
        let has_admitted = |node: &RunningNode| period.members.contains(&node.node_id) || node.started_at <= last_start;
        if running.iter().filter(|node| has_admitted(node)).all(|node| ready.nodes.contains(&node.node_id)) {
            self.record_shared(period).await;
        }
        Ok(())
    }

    async fn record_shared(&self, period: &LocalPeriod) {
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

    /// Puts all that this node counts of these limits. Returns their number.
    async fn put(
        &self,
        connection: &CounterConnection,
        turn: u64,
        keys: impl Iterator<Item = SlotKey>,
    ) -> Result<u64, ReturnError> {
        let mut by_group: Vec<(Arc<Group>, Vec<SlotKey>)> = Vec::new();
        let mut count = 0;
        for key in keys {
            let slot = self.limiter.slots.get(key);
            let group = slot.map(|slot| Arc::clone(&locked(&slot).group));
            let Some(group) = group.or_else(|| self.limiter.corrections.group_of(key)) else { continue };
            count += 1;
            match by_group.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &group)) {
                Some((_, keys)) => keys.push(key),
                None => by_group.push((group, vec![key])),
            }
        }
        for (group, keys) in by_group {
            for keys in keys.chunks(LIMITS_PER_CALL) {
                let states: Vec<LimitState> = keys.iter().map(|key| self.state_of(*key)).collect();
                let put = self.put_states(connection, turn, &group, &states).await;
                if put.is_err() {
                    self.limiter.corrections.doubt(keys.iter().map(|key| (*key, Arc::clone(&group))));
                }
                put?;
            }
        }
        Ok(count)
    }

    /// What this node counts of a limit. Corrections that were not told yet are part of it.
    fn state_of(&self, key: SlotKey) -> LimitState {
        // If it has no slot yet, the states of one that is made now have higher numbers.
        let number = self.limiter.next_state();
        let Some(slot) = self.limiter.slots.get(key) else {
            // Nothing of it counts any more, but Redis may have a request that still ran when it was told last.
            self.limiter.corrections.drop_for_state(key);
            return LimitState { limit: key.to_string(), number, ..LimitState::default() };
        };
        let mut slot = locked(&slot);
        self.limiter.corrections.drop_for_state(key);
        slot.state(key.to_string(), self.limiter.next_state(), self.limiter.now_micros())
    }

    async fn put_states(
        &self,
        connection: &CounterConnection,
        turn: u64,
        group: &Group,
        states: &[LimitState],
    ) -> Result<(), ReturnError> {
        let new_marker = self.limiter.new_marker();
        let put = connection.put(&self.limiter.putting(group, turn, &new_marker), states).await;
        match put? {
            PutReply::Put(answer) => {
                group.learn_marker(&answer.marker, self.limiter.now_micros());
                Ok(())
            }
            PutReply::Superseded => Err(ReturnError::Superseded),
        }
    }
}

impl SharedLimiter {
    /// Tells Redis the corrections of requests until the process ends.
    pub(super) async fn tell_corrections(&self) {
        let mut known = self.modes.subscribe();
        let mut last_turn = 0;
        loop {
            tokio::select! {
                () = self.corrections.added() => {}
                known = known.wait_for(|known| known.mode.turn() != last_turn) => match known {
                    Ok(known) => last_turn = known.mode.turn(),
                    Err(_) => return,
                },
            }
            // In a local period, the states that are put contain them.
            let (Mode::Shared { turn }, Some(connection)) = (&*self.modes.mode(), self.link.connection()) else {
                continue;
            };
            let mut by_group: Vec<(Arc<Group>, Vec<SlotKey>, Vec<LimitCall>)> = Vec::new();
            for (key, pending) in self.corrections.take() {
                let slot = self.slots.get(key);
                let must_be_there = slot.is_some_and(|slot| locked(&slot).must_be_in_redis(self.now_micros()));
                let (limit, corrections) = (key.to_string(), pending.list());
                let call = LimitCall { limit, must_be_there, corrections, counts: Vec::new() };
                match by_group.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, &pending.group)) {
                    Some((_, keys, calls)) => {
                        keys.push(key);
                        calls.push(call);
                    }
                    None => by_group.push((pending.group, vec![key], vec![call])),
                }
            }
            for (group, keys, calls) in by_group {
                for (keys, calls) in keys.chunks(LIMITS_PER_CALL).zip(calls.chunks(LIMITS_PER_CALL)) {
                    if !self.tell(&connection, &group, *turn, calls).await {
                        self.corrections.doubt(keys.iter().map(|key| (*key, Arc::clone(&group))));
                    }
                }
            }
        }
    }

    /// Tells Redis something that it does not have to decide. Returns false if nobody knows whether it has heard it: a failure ends
    /// the turn, and what is put then contains it.
    pub(super) async fn tell(
        &self,
        connection: &CounterConnection,
        group: &Group,
        turn: u64,
        calls: &[LimitCall],
    ) -> bool {
        let (marker, new_marker) = (group.marker(self.now_micros()), self.new_marker());
        let state = NodeState {
            group: &group.name,
            turn,
            marker: marker.as_deref(),
            new_marker: &new_marker,
            has_running: group.has_running(),
        };
        match connection.count(&state, calls).await {
            Ok(CountReply::Counted(answer) | CountReply::Refused(answer)) => {
                group.learn_marker(&answer.marker, self.now_micros());
                return true;
            }
            Ok(CountReply::Superseded) => {}
            Ok(CountReply::Lost) => self.fail(turn, LOST),
            Err(error) => self.fail(turn, &error.to_string()),
        }
        false
    }
}
