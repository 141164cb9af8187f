//! Whether a node may serve at its start although it cannot use Redis, or was given none. It may not if others would have to stop sharing
//! their counts because of it, or would not be counted with it.

use std::time::Duration;

use events::log::{Log, LogError};
use shared_limits::CounterError;
use tokio::time::Instant;

use super::SharedLimitsError;
use super::other_nodes::{ConnectedNodes, LOOK_EVERY, Looks, OthersReach, SharingNode, Verdict};
use super::state::SharedLimiter;

/// For how long a starting node makes new attempts to reach Redis before it looks at the others: one answer may be late, and during a
/// failover an address may lead to a replica. An attempt that began in time runs to its own end.
const ASKED_FIRST_MAX: Duration = Duration::from_secs(3);
/// How many checks in a row a connection must pass after a failure: over a bad network, one attempt in several succeeds by luck.
const STEADY_CHECKS: u32 = 4;
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// How long after Redis has gone every node that runs has noticed it, and has said in the register that it is not connected: each asks
/// once a second, waits half a second for the answer, and gives a sign each second. Until then, what others say may be from before an outage.
const OUTAGE_NOTICED_MAX: Duration = Duration::from_secs(5);

/// Makes sure that no node runs that shares its counts: this one has no Redis, and would admit every limit once more. It waits for one that
/// may have died, such as this one before a restart, and for one that has not reached its Redis yet, which may never do so. Returns the
/// node because of which this one must end.
///
/// Errors: the log cannot be read.
pub async fn node_that_shares(log: &Log, own: &str) -> Result<Option<SharingNode>, LogError> {
    if !log.is_shared() {
        return Ok(None);
    }
    let (mut looks, mut may_share, mut is_said) = (Looks::begin(log, own), None, false);
    while let Some(nodes) = looks.next().await? {
        match nodes.verdict_without_redis() {
            Verdict::Serve => return Ok(None),
            Verdict::End(other) => return Ok(Some(other.into())),
            Verdict::Unclear => may_share = nodes.sharing().chain(nodes.starting()).next().map(SharingNode::from),
        }
        if !std::mem::replace(&mut is_said, true) {
            tracing::info!("waiting for up to twelve seconds: nodes with a Redis may run, or may be about to use it");
        }
    }
    Ok(may_share)
}

impl SharedLimiter {
    /// Asks whether this node can use Redis, in a local period as well, and stays connected if it can: counts may be shared again
    /// before it has a share.
    ///
    /// Errors: it cannot, and other nodes can, which could not share their counts as long as this one runs.
    pub(super) async fn connect_first(&self) -> Result<(), SharedLimitsError> {
        let began = Instant::now();
        // It cannot change in here: nothing follows the log yet.
        let mode = self.modes.mode();
        let Some(failure) = self.ask_first(mode.is_shared()).await else { return Ok(()) };
        if self.parts.log.is_shared() && self.do_others_use_redis(began, &failure).await? {
            return Err(SharedLimitsError::Unusable(failure));
        }
        if mode.is_shared() && self.link.connection().is_none() {
            self.fail(mode.turn(), &failure.to_string());
        }
        Ok(())
    }

    /// Tries to connect until it succeeds, or for so long as a start may take; in a local period, once. The first failure that is final
    /// is the one that counts: a server that has refused this node may not answer the next attempt in time.
    async fn ask_first(&self, are_counts_shared: bool) -> Option<CounterError> {
        let until = Instant::now() + ASKED_FIRST_MAX;
        let (mut refusal, mut checks): (Option<CounterError>, u32) = (None, 0);
        loop {
            let Err(failure) = self.connect(checks).await else { return None };
            checks = STEADY_CHECKS;
            if refusal.is_none() && failure.is_final() {
                refusal = Some(failure.clone());
            }
            if are_counts_shared {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if !are_counts_shared || Instant::now() >= until {
                return Some(refusal.unwrap_or(failure));
            }
        }
    }

    /// Connects, if Redis goes on answering for so many checks.
    async fn connect(&self, checks: u32) -> Result<(), CounterError> {
        let connection = self.open().await?;
        for _ in 0..checks {
            tokio::time::sleep(CHECK_EVERY).await;
            connection.check().await?;
        }
        self.link.set_connection(Some(connection));
        Ok(())
    }

    /// Tries to connect until it succeeds.
    async fn connect_at_last(&self) {
        while self.connect(STEADY_CHECKS).await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether other nodes use the Redis that this one cannot use. In an outage, they notice it as well: one that says later that it is
    /// connected has had an answer in the meantime. Others may start at the same time, and connect a little later. This node also tries
    /// again beside its looks, and stays connected if that succeeds.
    async fn do_others_use_redis(&self, began: Instant, failure: &CounterError) -> Result<bool, LogError> {
        tracing::warn!(error = %failure, "this node cannot use Redis: looking for nodes that can");
        tokio::select! {
            () = self.connect_at_last() => Ok(false),
            others_do = self.see_others_use_redis(began) => others_do,
        }
    }

    async fn see_others_use_redis(&self, began: Instant) -> Result<bool, LogError> {
        let noticed_by = began + OUTAGE_NOTICED_MAX;
        let mut connected = ConnectedNodes::default();
        let mut looks = Looks::begin(&self.parts.log, &self.parts.node);
        while let Some(nodes) = looks.next().await? {
            if Instant::now() >= noticed_by {
                match connected.look(&nodes) {
                    OthersReach::Nobody if nodes.starting().next().is_none() => return Ok(false),
                    OthersReach::Certainly => return Ok(true),
                    OthersReach::Nobody | OthersReach::Perhaps => {}
                }
            } else if nodes.with_redis().next().is_none() {
                return Ok(false);
            }
        }
        Ok(false)
    }
}
