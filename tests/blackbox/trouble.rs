//! A disk that is full, read-only, broken or slow, a clock that was put elsewhere, pages that were damaged. Nothing is
//! dispatched that is not durable, nothing that was answered is lost, and when the trouble is over the gateway goes on by
//! itself.

mod clock;
mod damage;
mod disk;
pub mod fault;
mod full;
mod stall;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use testing::upstream::MockUpstream;

use crate::books::Books;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant};

/// Longer than any of the waits after which the gateway tries again.
const RECOVERED_MAX: Duration = Duration::from_secs(5);

/// The requests that were sent during the trouble, by their outcome.
#[derive(Default)]
pub struct ClientRecord {
    answered: Mutex<BTreeSet<String>>,
    refused: Mutex<BTreeSet<String>>,
}

impl ClientRecord {
    pub fn answered(&self) -> BTreeSet<String> {
        self.answered.lock().expect("answers").clone()
    }

    pub fn refused(&self) -> BTreeSet<String> {
        self.refused.lock().expect("refusals").clone()
    }

    /// Asks so many times, whole and streamed in turns; an answer is whole, or it is the refusal that the ledger is not
    /// there.
    pub async fn ask(&self, tenant: &Tenant, model: &str, times: usize) {
        let asked = (0..times).map(|time| async move {
            match time % 2 {
                0 => self.ask_whole(tenant, model).await,
                _ => self.ask_streamed(tenant, model).await,
            }
        });
        futures_util::future::join_all(asked).await;
    }

    async fn ask_whole(&self, tenant: &Tenant, model: &str) {
        let reply = tenant.app.post(NATIVE, &tenant.ask(model)).await;
        let request = reply.request_id();
        if reply.status == 200 {
            self.answered.lock().expect("answers").insert(request);
        } else {
            let reply = reply.must_be(503, "LEDGER_UNAVAILABLE");
            assert!(!reply.header("retry-after").is_empty(), "it does not say when to come back");
            self.refused.lock().expect("refusals").insert(request);
        }
    }

    async fn ask_streamed(&self, tenant: &Tenant, model: &str) {
        let stream = tenant.app.stream(OPENAI, &tenant.ask_streamed(model)).await.expect("a stream");
        let (status, request) = (stream.status, stream.request_id());
        let (events, _) = stream.rest().await;
        if events.last().is_some_and(|event| event.is_done()) {
            self.answered.lock().expect("answers").insert(request);
        } else {
            assert!(status == 503 || status == 200 && events.last().is_some(), "{status} {events:?}");
            self.refused.lock().expect("refusals").insert(request);
        }
    }

    /// Every answer is settled in this log, and everything that an upstream saw was admitted in it.
    pub fn must_stand_in(&self, books: &Books, upstream: &MockUpstream) {
        for request in self.answered() {
            assert_eq!(books.end_of(&request), Some("budget.settled"), "{request} was answered");
        }
        for seen in upstream.seen() {
            let request = seen.headers["x-request-id"].to_str().expect("an id");
            assert!(books.admitted().contains(request), "{request} was sent and is not admitted");
        }
    }
}

/// Waits until a request is answered again, without a restart.
pub async fn must_recover(tenant: &Tenant, model: &str, record: &ClientRecord) {
    let began = Instant::now();
    let before = record.answered().len();
    while record.answered().len() == before {
        assert!(began.elapsed() < RECOVERED_MAX, "the trouble is over, and nothing is answered");
        record.ask(tenant, model, 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The end of every one of these tests: all is answered again, every hold has ended, log and views are sound.
pub async fn must_be_sound(gateway: &mut Gateway, upstream: &MockUpstream, tenant: &Tenant, record: &ClientRecord) {
    let books = gateway.books_when_all_ended(Duration::from_secs(10)).await;
    record.must_stand_in(&books, upstream);
    let budget = gateway.budget(&tenant.budget).await;
    assert_eq!(budget["held_usd"], "0.000000000");
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}
