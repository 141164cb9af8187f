//! The matrix: every surface, every family of providers, whole and streamed, in each scenario. Each cell is the right answer
//! in the words of its surface, or the refusal that `docs/dialects.md` tells of; the log says the same.
//!
//! What is asked, what the family is sent for it, what the family answers and what is measured of that are golden files. The
//! tables are in [`scenarios`] and [`families`].

pub mod answer;
mod documented;
mod embeddings;
mod families;
mod leaving;
mod scenarios;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::upstream::SampleUpstream;
use tokio::task::JoinSet;

use crate::client::{Client, Reply};
use crate::families::{golden, key, metered, provider};
use crate::gateway::{Gateway, type_of};
use crate::tenant::made;
use answer::{Answer, ReportedUsage, events, of_classes};
use documented::DocumentedDialects;
use families::{FAMILIES, Family};
use scenarios::{CAP, Expectation, SCENARIOS, SURFACES, Scenario, Surface};

const UPSTREAM_TIMEOUT_MS: u64 = 20_000;
const WAIT_MAX: Duration = Duration::from_secs(20);
/// An image counts as many tokens before it is sent.
const CONTEXT: u64 = 200_000;
/// The output cap that the golden requests were written for.
const GOLDEN_CAP: u64 = 4096;
const GOLDEN_CONTEXT: u64 = 32_768;
const GOLDEN_PREFIX: &str = "House rules \"apply\".";
/// Any: charged or given back.
const ENDS: [&str; 2] = ["budget.settled.v1", "budget.released.v1"];

/// A gateway in front of all families.
struct MatrixGateway {
    gateway: Gateway,
    upstream: SampleUpstream,
    key: String,
    app: Client,
    documented: DocumentedDialects,
}

impl MatrixGateway {
    async fn new() -> Self {
        Self::serving(SampleUpstream::start(golden(), 0).await).await
    }

    async fn serving(upstream: SampleUpstream) -> Self {
        let gateway = Gateway::start();
        let key = key(&gateway).await;
        let app = gateway.client(Some(&key));
        Self { gateway, upstream, key, app, documented: DocumentedDialects::read() }
    }

    /// A model that the family answers with this sample. It is configured as the golden requests were written.
    async fn add_model(&self, family: &Family, sample: &str) -> String {
        let target = json!({ "context_window": CONTEXT, "max_output_tokens": CAP, "default_max_output_tokens": CAP });
        self.add_model_with(family, sample, target).await
    }

    /// Embeddings have no output, and no target of theirs has a cap of it.
    async fn add_embedding_model(&self, family: &Family, sample: &str) -> String {
        self.add_model_with(family, sample, json!({})).await
    }

    async fn add_model_with(&self, family: &Family, sample: &str, mut target: Value) -> String {
        let (operator, name) = (self.gateway.operator(), format!("{}/{sample}", family.kind));
        let mut fields = provider(family.kind, &name, &self.upstream.address(family.kind, sample));
        (fields["timeout_ms"], fields["idle_timeout_ms"]) = (json!(UPSTREAM_TIMEOUT_MS), json!(UPSTREAM_TIMEOUT_MS));
        if ["openai", "azure_openai"].contains(&family.kind) {
            fields["output_cap_field"] = json!("max_completion_tokens");
        }
        let provider = made(operator, "/providers", fields).await;
        let price = json!({ "provider_id": provider, "model": family.model, "input_usd_per_mtok": "3",
                            "output_usd_per_mtok": "15" });
        made(operator, "/prices", price).await;
        (target["provider_id"], target["model"]) = (json!(provider), json!(family.model));
        let mut model = json!({ "name": name, "targets": [target] });
        if family.kind == "anthropic" {
            model["system_prefix"] = json!(GOLDEN_PREFIX);
        }
        made(operator, "/models", model).await;
        name
    }

    /// Waits until the family was asked so often for the sample.
    async fn until_asked(&self, family: &Family, sample: &str, times: usize) {
        let began = Instant::now();
        while self.upstream.seen(family.kind, sample).len() < times {
            assert!(began.elapsed() < WAIT_MAX, "{} was not asked for {sample}", family.kind);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// One place in the matrix.
struct Cell {
    family: &'static Family,
    surface: &'static Surface,
    scenario: &'static Scenario,
    streamed: bool,
}

/// The record that the log must have of a cell's request.
enum ExpectedOutcome {
    NotAdmitted,
    Completed(Option<ReportedUsage>),
    Failed,
}

/// A request of the matrix that was answered.
struct AskedRequest {
    cell: Cell,
    request: String,
    outcome: ExpectedOutcome,
}

fn stored(path: impl AsRef<Path>) -> String {
    let path = golden().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn stored_json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&stored(path)).expect("JSON")
}

/// The same with one number in the place of another.
fn with_number(value: &mut Value, from: u64, to: u64) {
    match value {
        Value::Number(_) if value.as_u64() == Some(from) => *value = json!(to),
        Value::Array(items) => items.iter_mut().for_each(|item| with_number(item, from, to)),
        Value::Object(fields) => fields.values_mut().for_each(|field| with_number(field, from, to)),
        _ => {}
    }
}

/// Without what makes it a stream, and with JSON that is in strings as JSON: the spaces in it are the client's.
fn comparable(mut body: Value) -> Value {
    for field in ["stream", "stream_options"] {
        body.as_object_mut().expect("an object").remove(field);
    }
    opened(body)
}

fn opened(value: Value) -> Value {
    match value {
        Value::String(text) if text.starts_with('{') => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        Value::Array(items) => items.into_iter().map(opened).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, field)| (name, opened(field))).collect(),
        other => other,
    }
}

impl Cell {
    fn sample(&self) -> &'static str {
        (self.scenario.samples)(self.family)[usize::from(self.streamed)]
    }

    fn what(&self) -> String {
        let (scenario, way) = (self.scenario.name, if self.streamed { "streamed" } else { "whole" });
        format!("{scenario}, {way}, {} to {} ({})", self.surface.name, self.family.kind, self.sample())
    }

    fn request(&self, model: &str) -> Value {
        let mut body = stored_json(format!("{}/requests/{}.json", self.surface.name, self.scenario.request));
        body["model"] = json!(model);
        if self.streamed {
            body["stream"] = json!(true);
            if self.surface.asks_for_usage {
                body["stream_options"] = json!({ "include_usage": true });
            }
        }
        body
    }

    /// Returns the request that the family is sent, or its refusal: the golden file beside the request's.
    fn sent(&self) -> Value {
        stored_json(format!("{}/requests/{}.{}.json", self.surface.name, self.scenario.request, self.family.kind))
    }

    /// How the page says that this is refused, if it is: by the name of a field and the family's dialect, or by the surface.
    fn documented(&self, page: &DocumentedDialects) -> Option<ExpectedRefusal> {
        if self.scenario.has_tools && !self.surface.has_tools {
            return Some(ExpectedRefusal::OfSurface);
        }
        let passes_on = self.family.surface == Some(self.surface.name);
        self.scenario.features.iter().find_map(|feature| match page.field(self.surface.name, feature) {
            None => Some(ExpectedRefusal::OfSurface),
            Some(_) if passes_on || !page.refuses(self.family.kind, feature) => None,
            Some(field) => Some(ExpectedRefusal::OfFamily(field.to_owned())),
        })
    }

    /// Returns the answer that the crate of dialects has written for the native surface.
    fn right(&self) -> Answer {
        let case = self.sample().split('.').next().expect("a name");
        let file = |extension: &str| format!("{}/answers/{case}.native.{extension}", self.family.kind);
        match self.streamed {
            true => Answer::streamed("native", &events(&stored(file("sse")))),
            false => Answer::whole("native", &stored_json(file("json"))),
        }
    }

    fn metered(&self) -> Value {
        metered(self.family.kind, self.sample())
    }

    async fn ask(self, matrix: &MatrixGateway, model: &str) -> AskedRequest {
        let body = self.request(model);
        let cap = body[self.surface.cap].as_u64().unwrap_or(self.surface.cap_default);
        let reply = matrix.app.post(self.surface.path, &body).await;
        let (what, mut sent) = (self.what(), self.sent());
        let documented = self.documented(&matrix.documented);
        assert_eq!(documented.is_some(), sent["refused"].is_string(), "the page and the golden file differ: {what}");
        let outcome = match documented {
            Some(refusal) => {
                refusal.check(&reply, self.family, &sent, &what);
                ExpectedOutcome::NotAdmitted
            }
            None => {
                with_number(&mut sent, GOLDEN_CAP, cap);
                with_number(&mut sent, GOLDEN_CONTEXT, CONTEXT);
                let seen = matrix.upstream.seen(self.family.kind, self.sample());
                let seen = comparable(seen.last().unwrap_or_else(|| panic!("nothing was sent: {what}")).clone());
                assert_eq!(seen, comparable(sent), "sent: {what}");
                if self.scenario.expectation == Expectation::Error {
                    self.check_error(&reply, &what);
                    ExpectedOutcome::Failed
                } else {
                    ExpectedOutcome::Completed(self.check_answer(&reply, &what))
                }
            }
        };
        AskedRequest { request: reply.request_id(), cell: self, outcome }
    }

    /// The usage that the client was told of.
    fn check_answer(&self, reply: &Reply, what: &str) -> Option<ReportedUsage> {
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 200, "{what}: {text}");
        let answer = match self.streamed {
            true => Answer::streamed(self.surface.name, &events(&text)),
            false => Answer::whole(self.surface.name, &reply.json()),
        };
        let (right, reason) = (self.right(), self.metered()["finish_reason"].clone());
        let finish = self.surface.finish(reason.as_str().expect("a reason"));
        assert_eq!(
            (&answer.text, answer.finish.as_str(), &answer.error),
            (&right.text, finish, &None),
            "{what}: {text}"
        );
        if self.surface.has_tools {
            assert_eq!((&answer.calls, &answer.thoughts), (&right.calls, &right.thoughts), "{what}: {text}");
        }
        let family = self.family;
        match self.scenario.expectation {
            Expectation::Text => assert!(!answer.text.is_empty(), "{what}"),
            Expectation::TwoCalls => assert_eq!((answer.calls.len(), &reason), (2, &json!("tool_calls")), "{what}"),
            Expectation::Thoughts => assert_eq!(right.thoughts.is_empty(), !family.shows_thoughts, "{what}"),
            Expectation::CachedTokens => {
                assert_eq!(answer.usage.is_some_and(|usage| usage.cached > 0), family.reports_cached, "{what}");
            }
            Expectation::Length => assert_eq!(reason, "length", "{what}"),
            Expectation::Refusal if family.marks_refusals => assert_eq!(reason, "content_filter", "{what}"),
            Expectation::Refusal => assert!(!answer.text.is_empty(), "{what}"),
            Expectation::Error => {}
        }
        assert!(answer.usage.is_some() || self.metered()["reported"].is_null(), "{what} tells no usage: {text}");
        answer.usage
    }

    fn check_error(&self, reply: &Reply, what: &str) {
        let text = String::from_utf8_lossy(&reply.body);
        if reply.status == 200 {
            let answer = Answer::streamed(self.surface.name, &events(&text));
            let error = answer.error.unwrap_or_else(|| panic!("{what} ends without an error: {text}"));
            assert!(self.streamed && answer.finish.is_empty() && error["message"].is_string(), "{what}: {text}");
            assert!(!text.contains("[DONE]"), "{what} pretends to be complete: {text}");
        } else {
            let error = &reply.json()["error"];
            assert!(error["message"].is_string() && reply.status >= 400, "{what}: {text}");
        }
    }
}

/// The side that refuses a cell.
enum ExpectedRefusal {
    OfSurface,
    /// With the client's name for what the family cannot do.
    OfFamily(String),
}

impl ExpectedRefusal {
    fn check(&self, reply: &Reply, family: &Family, golden: &Value, what: &str) {
        let body = reply.json();
        let error = &body["error"];
        assert_eq!(reply.status, 400, "{what}: {body}");
        assert_eq!((&error["details"], &golden["refused"]), (&golden["details"], &json!("INVALID_REQUEST")), "{what}");
        let codes = [&error["type"], &error["code"]];
        assert!(
            codes.contains(&&json!("invalid_request_error")) || codes.contains(&&json!("INVALID_REQUEST")),
            "{body}"
        );
        if let Self::OfFamily(field) = self {
            let details = &error["details"];
            assert_eq!(details["field"], *field, "{what}: {body}");
            assert!(
                details["reason"].as_str().is_some_and(|reason| reason.ends_with(family.dialect)),
                "{what}: {body}"
            );
        }
    }
}

/// All cells of a family, one after another, so that what it was sent last is of the cell.
/// A cell that is wrong has said so, and the others follow.
async fn ask_all(matrix: Arc<MatrixGateway>, family: &'static Family) -> Vec<AskedRequest> {
    let (mut asked, mut models) = (Vec::new(), BTreeMap::new());
    for scenario in &SCENARIOS {
        for surface in &SURFACES {
            for streamed in [false, true] {
                let cell = Cell { family, surface, scenario, streamed };
                let sample = cell.sample();
                if !models.contains_key(sample) {
                    models.insert(sample, matrix.add_model(family, sample).await);
                }
                let (matrix, model, mut asking) = (Arc::clone(&matrix), models[sample].clone(), JoinSet::new());
                asking.spawn(async move { cell.ask(&matrix, &model).await });
                asked.extend(asking.join_next().await.expect("a cell"));
            }
        }
    }
    asked
}

/// The log by request.
async fn events_by_request(gateway: &Gateway) -> BTreeMap<String, Vec<Value>> {
    let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in gateway.events().await {
        if let Some(request) = event["request_id"].as_str() {
            events.entry(request.to_owned()).or_default().push(event);
        }
    }
    events
}

impl AskedRequest {
    fn check(&self, life: &[Value]) {
        let what = self.cell.what();
        let of_type = |name: &str| life.iter().find(|event| type_of(event) == name);
        let end = life.last().map(type_of).unwrap_or_default();
        match self.outcome {
            ExpectedOutcome::NotAdmitted => {
                let held = life.iter().find(|event| type_of(event).starts_with("budget."));
                assert!(held.is_none() && of_type("inference.admitted.v1").is_none(), "{what}: {life:?}");
            }
            ExpectedOutcome::Failed => {
                assert!(of_type("inference.failed.v1").is_some() && ENDS.contains(&end), "{what}: {life:?}");
            }
            ExpectedOutcome::Completed(usage) => {
                let completed = of_type("inference.completed.v1").unwrap_or_else(|| panic!("{what}: {life:?}"));
                let settled = life.last().filter(|event| type_of(event) == "budget.settled.v1");
                let settled = settled.unwrap_or_else(|| panic!("{what}: {life:?}"));
                assert_eq!(settled["data"]["charged_usd"], completed["data"]["cost_usd"], "{what}");
                self.check_usage(&completed["data"], usage, &what);
            }
        }
    }

    fn check_usage(&self, completed: &Value, reported: Option<ReportedUsage>, what: &str) {
        let (usage, metered) = (&completed["usage"], self.cell.metered());
        assert_eq!(completed["finish_reason"], metered["finish_reason"], "{what}");
        assert_eq!(usage["source"] == "provider", metered["reported"].is_object(), "{what}: {completed}");
        for (class, tokens) in metered["reported"].as_object().into_iter().flatten() {
            assert_eq!(usage[class], *tokens, "{class} of {what}");
        }
        let settled = of_classes(usage);
        assert_eq!(reported.unwrap_or(settled), settled, "{what} is told another usage than is settled");
    }
}

/// Holds: inf.matrix, inf.tools, inf.structured, inf.images, inf.reasoning, inf.token-classes, inf.finish-reason
/// Holds: http.stream-error
#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_matrix_is_the_right_answer_or_the_documented_refusal() {
    let matrix = Arc::new(MatrixGateway::new().await);
    let mut families = JoinSet::new();
    for family in &FAMILIES {
        families.spawn(ask_all(Arc::clone(&matrix), family));
    }
    let asked: Vec<AskedRequest> = families.join_all().await.into_iter().flatten().collect();
    matrix.gateway.books_when_all_ended(WAIT_MAX).await;
    let events = events_by_request(&matrix.gateway).await;
    for asked in &asked {
        asked.check(events.get(&asked.request).map(Vec::as_slice).unwrap_or_default());
    }
    let requests: BTreeSet<_> = asked.iter().map(|asked| &asked.request).collect();
    assert_eq!(requests.len(), FAMILIES.len() * SURFACES.len() * SCENARIOS.len() * 2);
    let named: BTreeSet<_> = FAMILIES.iter().map(|family| family.kind.to_owned()).collect();
    assert_eq!(named, matrix.upstream.kinds().into_iter().collect(), "a family has samples and no row here");
}
