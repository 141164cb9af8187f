//! Writers: each sends one request after the other to its node, admitted and then settled.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use events::event::Chain;
use events::event::inference::InferenceEnded;
use events::ids::IdMaker;
use events::ledger::{Charge, Outcome};
use events::log::{Admitted, Log};
use tokio::task::JoinSet;

use super::request::{COST, admission};
use super::{Acknowledged, Hunt, HuntState};

pub(super) const ADMITTED: &str = "inference.admitted";
pub(super) const SETTLED: &str = "budget.settled";
/// How long a client waits before it tries again.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Written {
    pub(super) acknowledged: Vec<Acknowledged>,
    /// How long each of them was waited for.
    waits: Vec<Duration>,
    pub(super) errors: u64,
}

/// Writes until the log has all events of the hunt.
pub(super) async fn all(nodes: &[Log], ids: &IdMaker, state: &HuntState, hunt: Hunt) -> Vec<Written> {
    let mut writing = JoinSet::new();
    for writer in 0..hunt.writers {
        writing.spawn(write(nodes[writer % nodes.len()].clone(), ids.clone(), hunt.events));
    }
    let (mut written, mut tick) = (Vec::new(), tokio::time::interval(PAUSE));
    loop {
        tokio::select! {
            joined = writing.join_next() => match joined {
                Some(joined) => written.push(joined.expect("no panic")),
                None => return written,
            },
            _ = tick.tick() => {
                // What a node publishes is durable.
                nodes.iter().for_each(|log| state.acknowledge(log.head().position));
                assert!(!state.is_over.load(Ordering::SeqCst), "somebody has found something");
            }
        }
    }
}

async fn write(log: Log, ids: IdMaker, events: u64) -> Written {
    let mut written = Written::default();
    while log.head().position < events {
        let sent = Instant::now();
        let hold = match log.admit(admission(ids.make(), Chain::default()), None).await {
            Ok(Admitted::Hold(hold)) => hold,
            Ok(other) => panic!("no budget binds: {other:?}"),
            Err(_) => {
                written.errors += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let request = hold.request_id;
        written.note((hold.admitted_position, request, ADMITTED), sent.elapsed());
        let outcome = InferenceEnded::new(hold.model.clone(), hold.admitted_at, COST);
        let sent = Instant::now();
        match hold.end(Vec::new(), Outcome::Completed(Box::new(outcome)), Charge::Settle(COST)).await {
            Ok(ended) => written.note((ended.position, request, SETTLED), sent.elapsed()),
            Err(_) => written.errors += 1,
        }
    }
    written
}

impl Written {
    fn note(&mut self, acknowledged: Acknowledged, waited: Duration) {
        self.acknowledged.push(acknowledged);
        self.waits.push(waited);
    }
}

/// The waits for the first tenth of the log, and for the last.
pub(super) fn tenths(written: &[Written], events: u64) -> (Vec<Duration>, Vec<Duration>) {
    let tenth = events / 10;
    let all = || written.iter().flat_map(|written| written.acknowledged.iter().zip(&written.waits));
    let within = |from: u64, to: u64| {
        all().filter(|((at, ..), _)| (from..=to).contains(at)).map(|(_, waited)| *waited).collect::<Vec<_>>()
    };
    (within(1, tenth), within(events - tenth, events))
}
