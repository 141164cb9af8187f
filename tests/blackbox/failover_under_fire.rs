//! Targets that fail in every known way under load, while another one answers: no client sees it, nothing is answered twice, the
//! breakers keep the calls few, and the books of the gateway are those of the providers, to the nano-dollar.
//!
//! `LEDGERWAY_TEST_FAILOVERS=10000` sends at least so many requests.

mod books;
mod clients;
mod faults;
mod phases;
mod upstream;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use serde_json::Value;

use self::books::ProviderBooks;
use self::clients::{Answered, End};
use self::faults::{Behaviour, BreakerRule};
use self::phases::{AT_ONCE, Dead, House, Phase};
use self::upstream::SeenCall;
use crate::books::{Books, nano, usd};
use crate::gateway::{Gateway, type_of};

/// Requests of the short form: as many as the breakers need to open.
const REQUESTS: usize = 600;
/// How long a breaker is open: so short that some are tried again meanwhile.
const OPEN_SECONDS: usize = 1;
/// Failures in a row after which a breaker opens by default.
const FAILURES: usize = 5;

/// Holds: inf.failover, inf.breakers, event.failed-calls
#[tokio::test(flavor = "multi_thread")]
async fn no_client_sees_a_failing_target_while_another_one_answers() {
    let requests = std::env::var("LEDGERWAY_TEST_FAILOVERS").map_or(REQUESTS, |set| set.parse().expect("a number"));
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_SECONDS", &OPEN_SECONDS.to_string())]);
    let began = Instant::now();
    let house = House::new(&gateway).await;
    let phases = house.phases(&gateway, requests).await;
    println!("set up within {:?}", began.elapsed());
    let began = Instant::now();
    let run = phases::run(&house, phases).await;
    println!("{} requests in {:?}", run.answered.len(), began.elapsed());

    let log = gateway.events().await;
    // Who has read the end of an answer finds its settlement in the log.
    let ledger = Books::of(&log);
    assert_eq!(ledger.open_holds(), BTreeSet::new());
    let provider_books = ProviderBooks::of(&house.providers);
    let broken = clients_must_see_no_failure(&run.answered, &log, &provider_books);
    println!("{broken} streams broke after something was relayed");
    let counts = Counts::of(&log, &provider_books);
    for phase in &run.phases {
        println!("{}", breakers_must_keep_calls_few(phase, &run.answered, &counts));
    }
    let (charged, failures) = provider_books.must_be_in(&log, &run.answered);
    println!("failed calls by fault and reason: {failures:#?}");
    assert_eq!(ledger.balance(&house.tenant.budget).settled, charged);
    let used = format!("/v1/usage?tenant={}&group_by=day&min_position={}", house.tenant.id, gateway.head().await);
    let used = gateway.operator().get(&used).await.must(200).json();
    assert_eq!((&used["totals"]["cost_usd"], nano(&used["totals"]["cost_usd"])), (&usd(charged).into(), charged));
    assert_eq!(used["totals"]["requests"], run.answered.len(), "{used}");
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
    println!("the gateway and the providers have {} in their books", usd(charged));
}

/// Every answer is the whole text of one call, or the beginning of one that broke after something was relayed. Returns how many
/// broke.
fn clients_must_see_no_failure(answered: &[Answered], log: &[Value], provider_books: &ProviderBooks) -> usize {
    let failed: Vec<&Answered> = answered.iter().filter(|one| one.status != 200).collect();
    if let Some(first) = failed.first() {
        let life: Vec<_> = log.iter().filter(|event| event["request_id"] == *first.request).collect();
        panic!("{} requests failed, first {first:?}: {life:?}", failed.len());
    }
    let mut broken = 0;
    for one in answered {
        let of_request = provider_books.calls_of(&one.request);
        let says = |text: &str| text.starts_with(&one.text) && !one.text.is_empty();
        let sources: Vec<_> = of_request.iter().filter(|call| says(&call.text)).collect();
        let [source] = &sources[..] else { panic!("{one:?} has other sources than one: {of_request:?}") };
        let fault = faults::of(&source.model).filter(|fault| fault.is_seen(one.is_streamed));
        match one.end {
            End::Complete => assert_eq!((&one.text, fault.is_some()), (&source.text, false), "{one:?}"),
            End::Broken => {
                assert!(fault.is_some(), "{one:?} of {source:?}");
                broken += 1;
            }
        }
    }
    let is_seen = |call: &&SeenCall| faults::of(&call.model).is_some_and(|fault| fault.is_seen(call.is_streamed));
    let breaks = provider_books.calls().filter(is_seen).count();
    assert_eq!(broken, breaks, "each stream that broke after something was relayed has ended in an error");
    broken
}

/// Counts by model: how often something happened.
#[derive(Default)]
struct ByModel(HashMap<String, usize>);

impl ByModel {
    fn add(&mut self, model: &str) {
        *self.0.entry(model.to_owned()).or_default() += 1;
    }

    fn of(&self, model: &str) -> usize {
        self.0.get(model).copied().unwrap_or(0)
    }
}

/// The numbers of calls that the log and the providers have for the targets' models.
#[derive(Default)]
struct Counts {
    opened: ByModel,
    closed: ByModel,
    failed: ByModel,
    seen: ByModel,
}

impl Counts {
    fn of(log: &[Value], provider_books: &ProviderBooks) -> Self {
        let mut counts = Self::default();
        for event in log {
            let data = &event["data"];
            let (count, model) = match type_of(event) {
                "provider.breaker_opened.v1" => (&mut counts.opened, &data["model"]),
                "provider.breaker_closed.v1" => (&mut counts.closed, &data["model"]),
                "inference.attempt_failed.v1" => (&mut counts.failed, &data["backend"]["model"]),
                _ => continue,
            };
            count.add(model.as_str().expect("a model"));
        }
        provider_books.calls().for_each(|call| counts.seen.add(&call.model));
        counts
    }
}

/// Until its breaker opens, a target gets as many calls as fail in a row, and those that are under way; then one each time that
/// the breaker was open for its time. Returns what was counted.
fn breakers_must_keep_calls_few(phase: &Phase, answered: &[Answered], counts: &Counts) -> String {
    let mut said = Vec::new();
    let of_phase: Vec<&Answered> = answered.iter().filter(|one| one.phase == phase.number).collect();
    let by_priority = of_phase.iter().filter(|one| !one.is_weighted).count();
    for (rank, Dead { model, fault }) in phase.dead.iter().enumerate() {
        let (opened, closed) = (counts.opened.of(model), counts.closed.of(model));
        let calls = match fault.behaviour {
            Behaviour::Refused => counts.failed.of(model),
            _ => counts.seen.of(model),
        };
        let words = format!("{calls} calls to {model}, whose breaker opened {opened} times in {:?}", phase.took);
        assert_eq!(closed, 0, "{words}");
        match fault.breaker {
            BreakerRule::Opens => {
                assert!(calls < FAILURES + AT_ONCE + opened.saturating_sub(1), "{words}");
                assert!(
                    opened <= 2 + usize::try_from(phase.took.as_secs()).expect("a number") / OPEN_SECONDS,
                    "{words}"
                );
                assert!(opened > 0 || rank > 0 && calls < FAILURES, "{words}");
            }
            BreakerRule::StaysClosed { calls: of_each } => {
                assert_eq!(opened, 0, "{words}");
                assert!(rank > 0 || calls >= by_priority * of_each, "{words}");
                assert!(calls <= of_phase.len() * of_each, "{words}");
            }
        }
        said.push(words);
    }
    said.join("\n")
}
