//! The shutdown that the first signal begins.
//!
//! Not ready, but serving, for the drain delay; then new requests are refused until those in flight have ended or the drain
//! timeout is over; event streams and tails end meanwhile; then connections are closed, imports that are still to be recorded
//! are tried once more, and the engines stop, the log last, because the others write to it. A second signal skips the waits.
//! Nothing that was recorded is lost, however the process ends.

use std::sync::Arc;
use std::time::Duration;

use blocking_work::STARTING;
use command::environment::KeptImports;
use command::inference::{AbandonedCalls, Breakers, Copies};
use command::trace::Exporting;
use content_store::ContentWriter;
use tokio::task::JoinSet;
use transparency::PendingRepairs;

use super::engines::{Engines, stop_engines};
use crate::config::Config;
use crate::http::ConnectionThreads;
use crate::in_flight::InFlight;
use crate::server_process::{LAST_BYTES_WAIT, Signals};

/// Time limit for event streams and tails to tell their clients that they end.
const STREAMS_END_MAX: Duration = Duration::from_secs(1);
/// Time limit for the ledger and the views to write what they still have.
const STOP_MAX: Duration = Duration::from_secs(15);
/// The time limit for what must end at once: abandoned calls, connection threads, and everything after a second signal.
const STOP_AT_ONCE_MAX: Duration = Duration::from_secs(1);
/// Imports that could not be recorded yet may take this part of the engines' time limit: a quarter.
const KEPT_IMPORTS_PART: u32 = 4;

/// Content that is not stored yet may take this part of it: half.
const CONTENT_PART: u32 = 2;

/// Why the engines were not waited for, if a second signal came.
const SECOND_SIGNAL: &str = "second signal: stopped at once";

/// Everything that is to be stopped, in no order.
pub struct Running {
    pub engines: Engines,
    pub in_flight: InFlight,
    pub abandoned: AbandonedCalls,
    pub copies: Copies,
    pub breakers: Arc<Breakers>,
    pub content: Option<ContentWriter>,
    pub kept_imports: Arc<KeptImports>,
    /// Repairs of the published log, if there is one.
    pub pending_repairs: Option<Arc<PendingRepairs>>,
    /// The servers, and what follows the tables and the log for them.
    pub serving: JoinSet<()>,
    pub connection_threads: ConnectionThreads,
    pub exporting: Option<Exporting>,
}

/// Shuts down after the first signal. Returns whether a second signal cut it short.
pub async fn shut_down(config: &Config, running: Running, mut signals: Signals) -> bool {
    let Running { engines, in_flight, abandoned, copies, breakers, mut serving, .. } = running;
    let got_second_signal = keep_serving(config, &in_flight, &mut signals).await;
    tracing::info!("draining: waiting for requests in flight, refusing new ones");
    // Requests that outlast the timeout are cut off and recorded, as they are by a second signal.
    let (all_ended, got_second_signal) = if got_second_signal {
        (false, true)
    } else {
        tokio::select! {
            () = async { tokio::join!(in_flight.drain(), copies.drain()); abandoned.drain().await } => (true, false),
            () = tokio::time::sleep(config.drain_timeout) => (false, false),
            () = signals.next() => (false, true),
        }
    };
    let left_without_clients = abandoned.count() + copies.count();
    if !got_second_signal {
        // A client that does not read its stream learns nothing.
        let _ = tokio::time::timeout(STREAMS_END_MAX, in_flight.streams_ended()).await;
        tokio::time::sleep(LAST_BYTES_WAIT).await;
    }
    // What is cut off from here on says nothing of the targets.
    breakers.stop();
    // Connections before the log: a request that is cut off still records its end. Calls do not continue without their
    // clients any more.
    let _ = tokio::time::timeout(STOP_AT_ONCE_MAX, async {
        copies.stop().await;
        abandoned.stop().await
    })
    .await;
    let cut_off = if all_ended { 0 } else { in_flight.count() + left_without_clients };
    serving.shutdown().await;
    let threads_stop = STARTING.run(None, || running.connection_threads.stop());
    if tokio::time::timeout(STOP_AT_ONCE_MAX, threads_stop).await.is_err() {
        tracing::warn!("stopping without waiting for a thread that is still computing");
    }
    if let Some(exporting) = running.exporting {
        exporting.close().await;
    }
    let (limit, too_late) = if got_second_signal {
        (STOP_AT_ONCE_MAX, SECOND_SIGNAL)
    } else {
        (STOP_MAX, "the engines did not stop in time")
    };
    // A disk that hangs must not keep the process alive; what is durable by then stays durable.
    let mut stopping = std::pin::pin!(async {
        if let Some(content) = running.content {
            store_content(&content, limit / CONTENT_PART).await;
        }
        if let Some(repairs) = &running.pending_repairs {
            repairs.record().await;
        }
        running.kept_imports.record_before_stop(&engines.log, limit / KEPT_IMPORTS_PART).await;
        stop_engines(engines).await;
    });
    let given_up = tokio::select! {
        () = &mut stopping => None,
        () = tokio::time::sleep(limit) => Some(too_late),
        () = signals.next() => Some(SECOND_SIGNAL),
    };
    if let Some(reason) = given_up {
        tracing::error!("{reason}; the next start recovers the log as far as it is durable");
        // Dropping the log would wait for its writer, which hangs.
        std::process::exit(1);
    }
    match cut_off {
        0 => tracing::info!("stopped: all requests ended"),
        requests => tracing::info!(requests, "stopped: requests were cut off"),
    }
    got_second_signal
}

/// Waits until the content of the requests that have ended is stored.
async fn store_content(content: &ContentWriter, at_most: Duration) {
    match content.drain(at_most).await {
        0 => {}
        objects => tracing::error!(objects, "the store of sealed content did not take all of it: it is lost"),
    }
}

/// Keeps serving for the drain delay while not ready, so that load balancers stop sending requests. Returns whether a second
/// signal cut it short.
async fn keep_serving(config: &Config, in_flight: &InFlight, signals: &mut Signals) -> bool {
    in_flight.leave();
    if config.drain_delay.is_zero() {
        return false;
    }
    tracing::info!(seconds = config.drain_delay.as_secs(), "no longer ready, still serving");
    tokio::select! {
        () = tokio::time::sleep(config.drain_delay) => false,
        () = signals.next() => true,
    }
}
