//! Random requests of random callers on random budgets, prices and models, which change meanwhile: nothing that the gateway recorded
//! of any of them is said not to follow.
//!
//! `EXPLAIN_REQUESTS` says how many are explained, and `EXPLAIN_SEED` draws others. A gateway serves a round of them, so that the
//! time grows with their number alone.

mod callers;
mod changes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::random::SplitMix64;
use testing::upstream::{Chaos, MockUpstream};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::explain::{explained, requests};
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI};
use callers::Callers;

const REQUESTS: usize = 200;
const ROUND: usize = 220;
const AT_ONCE: usize = 12;
/// So many requests are asked between two changes.
const CHANGE_EVERY: usize = 12;
/// Rounds of which one has a process that dies.
const DYING_EVERY: u64 = 4;
const HOLD_TTL_SECONDS: &str = "6";
const MESSAGES: &str = "/v1/messages";
const EMBEDDINGS: &str = "/v1/embeddings";

/// Numbers drawn from a seed.
pub struct Draws(SplitMix64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.below(all.len() as u64);
        &all[usize::try_from(at).expect("an index")]
    }
}

/// The outcomes of the requests, and the explanations.
#[derive(Default)]
struct Tally {
    follow: usize,
    /// Counts by the reason why it cannot be decided.
    undecided: BTreeMap<String, usize>,
    /// Counts by the dialect, and by how the request ended or was refused.
    ends: BTreeMap<String, usize>,
    /// How often a request was corrected, refused by a budget, lowered, or called again.
    seen: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn explained(&self) -> usize {
        self.follow + self.undecided.values().sum::<usize>()
    }

    fn take(&mut self, said: &Value, life: &[&Value]) {
        match said["follows"].as_bool() {
            Some(true) => self.follow += 1,
            Some(false) => panic!("it does not follow: {said:#}\n{life:#?}"),
            None => *self.undecided.entry(why(said)).or_default() += 1,
        }
        let outcomes =
            ["inference.completed.v1", "inference.failed.v1", "inference.aborted.v1", "inference.refused.v1"];
        for event in life {
            let (kind, data) = (type_of(event), &event["data"]);
            if outcomes.contains(&kind) {
                let code = data["code"].as_str().or(data["reason"].as_str()).unwrap_or_default();
                *self.ends.entry(format!("{kind} {code}").trim().to_owned()).or_default() += 1;
            }
            if kind == "inference.admitted.v1" {
                let way = if data["streamed"] == true { "streamed" } else { "whole" };
                let dialect = data["dialect"].as_str().unwrap_or_default();
                *self.ends.entry(format!("{kind} {dialect}, {way}")).or_default() += 1;
            }
            let marks = [
                ("a call that failed", kind == "inference.attempt_failed.v1"),
                ("a correction", kind == "budget.adjusted.v1"),
                ("a hold that expired", kind == "budget.expired.v1"),
                ("a lowered cap", data["requested_max_output_tokens"].is_u64()),
                ("a copy for a shadow", data["shadow_of"].is_string()),
                ("an observing budget that was short", data["would_have_refused"].is_array()),
            ];
            for (name, _) in marks.iter().filter(|(_, is_it)| *is_it) {
                *self.seen.entry(name).or_default() += 1;
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} explained: {} follow, 0 do not", self.explained(), self.follow)?;
        for (why, count) in &self.undecided {
            writeln!(f, "  {count} undecided: {why}")?;
        }
        for (what, count) in self.ends.iter().map(|(what, count)| (what.as_str(), count)) {
            writeln!(f, "  {count} {what}")?;
        }
        self.seen.iter().try_for_each(|(what, count)| writeln!(f, "  {count} times {what}"))
    }
}

/// The first reason of the first part that has one, without its figures.
fn why(said: &Value) -> String {
    let mut parts = crate::explain::PARTS.iter().map(|part| &said[*part]);
    let undecided = parts.find_map(|part| part["undecided"][0].as_str()).expect("a reason");
    undecided.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// A request as it was drawn.
struct Drawn {
    client: Client,
    path: &'static str,
    body: Value,
    /// Its client leaves after the first event.
    leaves: bool,
}

impl Drawn {
    async fn ask(self) {
        // The process dies in some rounds, and the client has no answer then.
        if self.body["stream"] == true {
            if let Ok(mut stream) = self.client.stream(self.path, &self.body).await {
                if self.leaves {
                    let _ = stream.next().await;
                } else {
                    stream.rest().await;
                }
            }
        } else {
            let _ = self.client.try_post(self.path, &self.body).await;
        }
    }
}

/// Holds: query.explain
#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_asked_follows_or_the_log_does_not_have_it() {
    let set = |name, otherwise: u64| std::env::var(name).ok().and_then(|set| set.parse().ok()).unwrap_or(otherwise);
    let (wanted, seed) = (set("EXPLAIN_REQUESTS", REQUESTS as u64) as usize, set("EXPLAIN_SEED", 1));
    let (mut tally, mut round, started) = (Tally::default(), 0, Instant::now());
    while tally.explained() < wanted {
        println!("seed {} begins after {:?}", seed + round, started.elapsed());
        play(seed + round, round % DYING_EVERY == 1, &mut tally).await;
        round += 1;
        assert!(round <= 2 + (wanted / 50) as u64, "too few are recorded: {tally}");
    }
    println!("{tally}in {:?}", started.elapsed());
    assert!(tally.follow * 2 > tally.explained(), "most follow: {tally}");
}

async fn play(seed: u64, dies: bool, tally: &mut Tally) {
    let env: &[_] = if dies { &[("LEDGERWAY_HOLD_TTL_SECONDS", HOLD_TTL_SECONDS)] } else { &[] };
    let mut gateway = Gateway::start_with(env);
    let upstream = MockUpstream::start_with(Chaos::of(seed)).await;
    let mut draws = Draws(SplitMix64::new(seed));
    let callers = Arc::new(Callers::new(&gateway, &upstream, &mut draws).await);
    let mut asking = JoinSet::new();
    for number in 0..ROUND {
        if number % CHANGE_EVERY == CHANGE_EVERY - 1 {
            changes::make_one(&gateway, &callers, &mut draws).await;
        }
        if dies && number == ROUND / 2 {
            gateway.kill();
            gateway.start_again();
        }
        if asking.len() >= AT_ONCE {
            asking.join_next().await;
        }
        asking.spawn(draw(&callers, number, &mut draws).ask());
    }
    asking.join_all().await;
    gateway.books_when_all_ended(Duration::from_secs(30)).await;
    let events = gateway.facts().await;
    for request in requests(&events) {
        let said = explained(&gateway, &request).await;
        let life: Vec<&Value> = events.iter().filter(|event| event["request_id"] == request.as_str()).collect();
        tally.take(&said, &life);
    }
}

fn draw(callers: &Callers, number: usize, draws: &mut Draws) -> Drawn {
    let client = draws.of(&callers.clients).clone();
    let path = match draws.below(10) {
        0 => EMBEDDINGS,
        1 | 2 => MESSAGES,
        3..=5 => NATIVE,
        _ => OPENAI,
    };
    let words = "word ".repeat(usize::try_from(draws.below(120)).expect("a few"));
    let name = if draws.one_in(40) { "nothing".to_owned() } else { draws.of(&callers.models).clone() };
    if path == EMBEDDINGS {
        return Drawn { client, path, body: json!({ "model": name, "input": words + "." }), leaves: false };
    }
    // Chaos draws by the number at the end.
    let mut body = json!({ "model": name, "messages": [{ "role": "user", "content": format!("{words}{number}") }] });
    let caps: &[u64] = &[1, 16, 64, 300, 1000];
    match path {
        MESSAGES => body["max_tokens"] = json!(draws.of(caps)),
        NATIVE if draws.one_in(2) => body["max_output_tokens"] = json!(draws.of(caps)),
        OPENAI if draws.one_in(2) => body["max_tokens"] = json!(draws.of(caps)),
        _ => {}
    }
    if path == OPENAI && draws.one_in(6) {
        body["n"] = json!(2 + draws.below(3));
    }
    if draws.one_in(3) {
        body["stream"] = json!(true);
    }
    Drawn { client, path, body, leaves: draws.one_in(4) }
}
