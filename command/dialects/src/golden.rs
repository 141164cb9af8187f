//! Golden files: each input is `tests/golden/<dialect>/{requests,answers}/<case>.{json,sse,ndjson,frames}`, and each
//! expected output is beside it as `<case>.<target>.{json,sse}`. `UPDATE_GOLDEN=1` rewrites the outputs.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use events::event::admin::OutputCapField;
use events::money::NanoUsd;
use events::refusal::{ErrorCode, Refusal};
use events::refused_parameters::RefusedParameters;
use events::usage::{TokenClasses, Usage, UsageSource};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

pub(super) const REQUEST_ID: &str = "req_0199a1b2c3d4700080000000000000ff";
pub(super) const MODEL: &str = "house/model";
pub(super) const CREATED: i64 = 1_759_468_864;
static NO_ECHO: Bytes = Bytes::new();

mod costs;
mod embeddings;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// The kinds of providers over HTTP, by name. Each has a folder of responses.
fn kinds() -> impl Iterator<Item = (&'static str, ProviderKind)> {
    let is_called = |kind| provider_dialects::of(kind).endpoint().is_some();
    ProviderKind::NAMED.iter().map(|named| (named.name, named.value)).filter(move |(_, kind)| is_called(*kind))
}

/// The kinds of providers over HTTP, with their folders.
fn answering() -> impl Iterator<Item = (ProviderKind, String)> {
    kinds().map(|(name, kind)| (kind, format!("{name}/answers")))
}

/// The extension of its streams.
pub(super) fn stream_extension(kind: ProviderKind) -> &'static str {
    match provider_dialects::of(kind).framing {
        provider_dialects::Framing::Sse => "sse",
        provider_dialects::Framing::Lines => "ndjson",
        provider_dialects::Framing::EventStream => "frames",
    }
}

/// The bytes of a stream that is stored in a form that people can read.
pub(super) fn wire(kind: ProviderKind, stored: Vec<u8>) -> Vec<u8> {
    match provider_dialects::of(kind).framing {
        provider_dialects::Framing::Sse | provider_dialects::Framing::Lines => stored,
        provider_dialects::Framing::EventStream => testing::event_stream::stream(&stored),
    }
}

/// The streams of a folder.
fn streams(kind: ProviderKind, folder_name: &str) -> Vec<(String, Vec<u8>)> {
    let cases = cases(folder_name, stream_extension(kind));
    cases.into_iter().map(|(case, stored)| (case, wire(kind, stored.to_vec()))).collect()
}

/// The cases of a folder: files with one dot in their names.
fn cases(name: &str, extension: &str) -> Vec<(String, Bytes)> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder(name)).expect("the golden folder is there") {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if let Some(case) = file.strip_suffix(extension).and_then(|case| case.strip_suffix('.'))
            && !case.contains('.')
        {
            cases.push((case.to_owned(), std::fs::read(folder(name).join(&file)).unwrap().into()));
        }
    }
    assert!(!cases.is_empty(), "no {extension} in {name}");
    cases.sort();
    cases
}

/// Compares an output with its golden file, or rewrites that.
fn check(folder_name: &str, file: &str, found: &[u8]) {
    let path = folder(folder_name).join(file);
    let mut found = found.to_vec();
    if !found.ends_with(b"\n") {
        found.push(b'\n');
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
        return;
    }
    let wanted = std::fs::read(&path).unwrap_or_default();
    let (found, wanted) = (String::from_utf8_lossy(&found), String::from_utf8_lossy(&wanted));
    assert_eq!(found, wanted, "{} (UPDATE_GOLDEN=1 rewrites)", path.display());
}

fn target(kind: ProviderKind) -> OutboundTarget<'static> {
    OutboundTarget {
        // What Bedrock is sent depends on the model, which is not in the body.
        model: if kind == ProviderKind::Bedrock { "us.anthropic.claude-x" } else { "backend-1" },
        output_cap: UpstreamCap { tokens: 4096, field: Some(OutputCapField::MaxCompletionTokens) },
        context_window: Some(32_768),
        system_prefix: (kind == ProviderKind::Anthropic).then_some("House rules \"apply\"."),
        allowed_fields: &NO_FIELDS,
        server: None,
        refused: RefusedParameters::NONE,
        takes_signed_thoughts_alone: false,
    }
}

fn refused(refusal: &Refusal) -> Vec<u8> {
    json!({ "refused": refusal.code.as_str(), "details": refusal.details }).to_string().into_bytes()
}

fn request_goes_upstream(surface: Surface, folder_name: &str) {
    for (case, body) in cases(folder_name, "json") {
        let request = ClientRequest::parse(surface, body);
        for (name, kind) in kinds() {
            let found = match &request {
                Ok(request) => request.upstream_body(kind, &target(kind)),
                Err(refusal) => Err(refusal.clone()),
            };
            let found = found.map_or_else(|refusal| refused(&refusal), |body| body.to_vec());
            check(folder_name, &format!("{case}.{name}.json"), &found);
        }
    }
}

/// No test would read an output without its input.
#[test]
fn every_output_has_its_input() {
    let requests = Surface::ALL.iter().map(|surface| format!("{}/requests", surface.spec().name));
    for name in requests.chain(answering().map(|(_, folder_name)| folder_name)) {
        for entry in std::fs::read_dir(folder(&name)).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let case = file.split('.').next().unwrap();
            let is_there = |extension: &str| folder(&name).join(format!("{case}.{extension}")).is_file();
            assert!(["json", "sse", "ndjson", "frames"].into_iter().any(is_there), "{name}/{file}");
        }
    }
}

/// Holds: http.fields-passed-on, inf.images, inf.structured, inf.tools
#[test]
fn openai_requests_go_upstream() {
    request_goes_upstream(Surface::OpenAi, "openai/requests");
}

/// Holds: inf.native-request, inf.images, inf.structured, inf.tools, inf.reasoning
#[test]
fn native_requests_go_upstream() {
    request_goes_upstream(Surface::Native, "native/requests");
}

/// Holds: inf.anthropic-request
#[test]
fn anthropic_requests_go_upstream() {
    request_goes_upstream(Surface::Anthropic, "anthropic/requests");
}

/// Holds: inf.responses, inf.tools, inf.structured, inf.reasoning
#[test]
fn responses_requests_go_upstream() {
    request_goes_upstream(Surface::Responses, "responses/requests");
}

/// Holds: inf.completions
#[test]
fn completions_requests_go_upstream() {
    request_goes_upstream(Surface::Completions, "completions/requests");
}

pub(super) fn usage(metered: &Metered) -> Usage {
    let counted = || TokenClasses {
        output_text_tokens: metered.text_bytes.div_ceil(4),
        output_reasoning_tokens: metered.reasoning_bytes.div_ceil(4),
        ..TokenClasses::default()
    };
    let (tokens, source) = match metered.reported() {
        Some(tokens) => (tokens.clone(), UsageSource::Provider),
        None => (counted(), UsageSource::Counted),
    };
    Usage { service_tier: metered.service_tier, ..Usage::new(tokens, source) }
}

pub(super) fn receipt<'a>(usage: &'a Usage, metered: &Metered) -> Receipt<'a> {
    Receipt {
        request_id: REQUEST_ID,
        frontend_model: MODEL,
        provider: "prov",
        backend_model: "backend-1",
        usage,
        cost_usd: NanoUsd::new(21_000),
        price_version: 3,
        admitted_position: 41,
        settled_position: 44,
        held_usd: NanoUsd::new(640_000),
        finish_reason: metered.finish_reason.unwrap_or(FinishReason::Stop),
        echo: &NO_ECHO,
    }
}

pub(super) fn described(metered: &Metered, fault: Option<UpstreamFault>) -> String {
    // It depends on the surface whether a finish reason is a fault.
    let is_by_reason = |fault: &UpstreamFault| {
        *fault == UpstreamFault::UNEXPLAINED && metered.finish_reason == Some(FinishReason::Error)
    };
    let fault = fault.filter(|fault| !is_by_reason(fault));
    let description = json!({
        "provider_usage": metered.provider_usage.as_ref().map(|usage| usage.get()),
        "reported": metered.reported(),
        "reported_input": metered.reported_input(),
        "text_bytes": metered.text_bytes,
        "reasoning_bytes": metered.reasoning_bytes,
        "finish_reason": metered.finish_reason,
        "upstream_model": metered.upstream_model,
        "upstream_id": metered.upstream_id,
        "fault": fault.map(|fault| format!("{fault:?}")),
    });
    serde_json::to_string_pretty(&description).unwrap()
}

/// Holds: inf.token-classes, inf.cache-by-ttl, inf.finish-reason, inf.usage-source, inf.tools, inf.reasoning
/// Holds: inf.arguments-raw
#[test]
fn whole_answers_reach_every_surface() {
    for (kind, folder_name) in answering() {
        for (case, body) in cases(&folder_name, "json") {
            for (surface, name) in Surface::CHAT.iter().map(|surface| (*surface, surface.spec().name)) {
                let answer = read_whole(kind, surface, body.clone());
                let (found, metered) = match &answer {
                    Ok(answer) => {
                        let (usage, echo) = (usage(&answer.metered), minimal_request(surface, false).echo());
                        let rendered = answer.render(&Receipt { echo: &echo, ..receipt(&usage, &answer.metered) });
                        (rendered.to_vec(), described(&answer.metered, None))
                    }
                    Err(FailedAnswer { fault, metered }) => {
                        (fault.to_string().into_bytes(), described(metered, Some(fault.clone())))
                    }
                };
                check(&folder_name, &format!("{case}.{name}.json"), &found);
                check(&folder_name, &format!("{case}.json.metered.json"), metered.as_bytes());
            }
        }
    }
}

pub(super) fn minimal_request(surface: Surface, include_usage: bool) -> ClientRequest {
    let mut body = match surface {
        Surface::Native | Surface::OpenAi => json!({"messages": [{"role": "user", "content": "hi"}]}),
        Surface::Anthropic => json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4096}),
        Surface::Responses => json!({"input": "hi"}),
        Surface::Completions => json!({"prompt": "hi"}),
        Surface::OpenAiEmbeddings => panic!("it has no streams"),
    };
    body["model"] = json!(MODEL);
    body["stream"] = json!(true);
    if include_usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    ClientRequest::parse(surface, body.to_string().into()).unwrap()
}

/// The bytes for the client, and the measurements.
pub(super) fn relayed<'a>(
    kind: ProviderKind,
    request: &ClientRequest,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (String, String) {
    let mut relay = Relay::new(kind, request, REQUEST_ID, MODEL, CREATED);
    let mut out = BytesMut::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| relay.feed(piece, &mut out));
    }
    let result = result.and_then(|()| relay.finish(&mut out));
    match result {
        Ok(()) => {
            let metered = relay.metered();
            out.extend_from_slice(&relay.closing(&receipt(&usage(&metered), &metered)));
        }
        Err(_) => {
            let refusal = Refusal::new(ErrorCode::UpstreamError, "the upstream failed");
            let stream = BrokenStream { request_id: REQUEST_ID, events: relay.events() };
            out.extend_from_slice(&stream_error(request.surface(), &refusal, &stream));
        }
    }
    (String::from_utf8(out.to_vec()).unwrap(), described(&relay.metered(), result.err()))
}

/// Holds: inf.native-stream, inf.openai-stream, inf.usage-source, inf.finish-reason, inf.tools
#[test]
fn streams_reach_every_surface() {
    for (kind, folder_name) in answering() {
        let extension = stream_extension(kind);
        for (case, body) in streams(kind, &folder_name) {
            for (surface, include_usage, name) in [
                (Surface::Native, false, "native"),
                (Surface::OpenAi, false, "openai"),
                (Surface::OpenAi, true, "openai-with-usage"),
                (Surface::Anthropic, false, "anthropic"),
                (Surface::Responses, false, "responses"),
                (Surface::Completions, true, "completions"),
            ] {
                let (found, metered) = relayed(kind, &minimal_request(surface, include_usage), [&*body]);
                check(&folder_name, &format!("{case}.{name}.sse"), found.as_bytes());
                check(&folder_name, &format!("{case}.{extension}.metered.json"), metered.as_bytes());
            }
        }
    }
}

/// Every event for clients is JSON, names only the frontend model, and has no usage unless requested.
/// Holds: inf.frontend-name, inf.openai-stream
#[test]
fn streams_are_fit_for_clients() {
    for (kind, folder_name) in answering() {
        for (case, body) in streams(kind, &folder_name) {
            let (found, _) = relayed(kind, &minimal_request(Surface::OpenAi, false), [&*body]);
            for data in found.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
                let chunk: Value = serde_json::from_str(data).unwrap_or_else(|_| panic!("{case}: {data}"));
                if chunk.get("error").is_none() {
                    assert_eq!(chunk["model"], MODEL, "{case}: {data}");
                    assert!(chunk.get("usage").is_none(), "{case}: {data}");
                    assert!(!chunk["choices"].as_array().unwrap().is_empty(), "{case}: {data}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cuts_between_reads_change_nothing(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10)) {
        for (kind, folder_name) in answering() {
            for (_, body) in streams(kind, &folder_name) {
                let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
                at.extend([0, body.len()]);
                at.sort_unstable();
                for (surface, include_usage) in [
                    (Surface::Native, false), (Surface::OpenAi, true), (Surface::Anthropic, false),
                    (Surface::Responses, false),
                ] {
                    let request = minimal_request(surface, include_usage);
                    let whole = relayed(kind, &request, [&*body]);
                    let pieces = at.windows(2).map(|pair| &body[pair[0]..pair[1]]);
                    prop_assert_eq!(relayed(kind, &request, pieces), whole);
                }
            }
        }
    }
}
