//! Input that is expensive to read takes steps, and time, in proportion to its length.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use events::refused_parameters::RefusedParameters;
use fuzzing::long;
use intermediate::{json, report, work};

use super::super::golden::{MODEL, REQUEST_ID, minimal_request};
use super::requests::is_a_refusal;
use super::work::in_measure;
use super::*;

/// Counts the steps of the dialects, and times the work of libraries.
fn within_bounds<T>(what: &str, bytes: usize, work: impl FnOnce() -> T) -> T {
    fuzzing::within_bounds(what, || in_measure(bytes, work))
}

fn object(member: impl Fn(usize) -> String) -> String {
    object_of(long(), member)
}

fn object_of(bytes: usize, member: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(bytes + 64);
    for number in 0.. {
        if text.len() > bytes {
            break;
        }
        let _ = write!(text, "{}{}", if text.is_empty() { '{' } else { ',' }, member(number));
    }
    text + "}"
}

/// Values that take longest for code with quadratic work.
fn shapes() -> [(&'static str, String); 9] {
    let list = |item: &str| format!("[{}]", vec![item; long() / (item.len() + 1)].join(","));
    [
        ("nested lists", "[".repeat(long())),
        ("nested objects", r#"{"a":"#.repeat(long() / 5)),
        ("many names", object(|number| format!(r#""n{number}":{number}"#))),
        ("one name", object(|_| r#""a":1"#.to_owned())),
        ("a long string", format!(r#""{}""#, "a".repeat(long()))),
        ("a long number", "1".repeat(long())),
        ("escapes", format!(r#""{}""#, r"\u00e9".repeat(long() / 6))),
        ("many small things", list("{}")),
        ("many blocks", list(r#"{"type":"text","text":"x"}"#)),
    ]
}

#[test]
fn a_request_is_read_in_time_that_grows_with_it() {
    for (name, shape) in shapes() {
        let text = if shape.starts_with('"') { &shape } else { r#""""# };
        for (place, body) in [
            ("the body", shape.clone()),
            (
                "a name",
                format!(r#"{{"messages":[{{"role":"user","content":[{{"type":{text},{text}:1}}]}}],"model":"m"}}"#),
            ),
            ("a field", format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"metadata":{shape}}}"#)),
            ("messages", format!(r#"{{"model":"m","messages":{shape}}}"#)),
            ("content", format!(r#"{{"model":"m","messages":[{{"role":"user","content":{shape}}}]}}"#)),
            ("tools", format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":{shape}}}"#)),
            ("input", format!(r#"{{"model":"m","input":{shape},"tools":{shape}}}"#)),
            ("instructions", format!(r#"{{"model":"m","input":"x","instructions":{shape},"tools":{shape}}}"#)),
            (
                "items",
                format!(
                    r#"{{"model":"m","input":[{{"role":"user","content":{shape}}},{{"type":"reasoning","summary":{shape},"encrypted_content":{text}}}]}}"#
                ),
            ),
            ("the prompt", format!(r#"{{"model":"m","prompt":{shape}}}"#)),
            (
                "arguments",
                format!(
                    r#"{{"model":"m","messages":[{{"role":"assistant","content":[{{"type":"tool_call","id":"a","name":"b","arguments":{shape}}}]}}]}}"#
                ),
            ),
        ] {
            for surface in SURFACES {
                // Anthropic's surface reads nothing without a cap.
                let capped = body.replacen("{\"m", "{\"max_tokens\":7,\"m", 1);
                let body = if surface == Surface::Anthropic { &capped } else { &body };
                read_and_sent(&format!("a request with {name} in {place}"), surface, body);
            }
        }
    }
}

#[test]
fn calls_of_one_id_are_matched_with_their_results_in_time_that_grows_with_them() {
    let call = r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}"#;
    let calls = vec![call; 16_000].join(",");
    let results = vec![r#"{"role":"tool","tool_call_id":"a","content":"x"}"#; 8_000].join(",");
    let turn = format!(r#"{{"role":"assistant","content":null,"tool_calls":[{calls}]}},{results}"#);
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{turn}]}}"#);
    read_and_sent("a turn with many calls of one id", Surface::OpenAi, &body);
}

/// Each dialect has a bound of its own, so that it does not matter how many there are.
fn read_and_sent(what: &str, surface: Surface, body: &str) {
    let request = within_bounds(what, body.len(), || ClientRequest::parse(surface, body.to_owned().into()));
    let request = match request {
        Ok(request) => request,
        Err(refusal) => return is_a_refusal(&refusal, body.as_bytes()),
    };
    let target = OutboundTarget {
        model: "b",
        output_cap: UpstreamCap { tokens: 9, field: None },
        context_window: None,
        system_prefix: None,
        allowed_fields: &NO_FIELDS,
        server: None,
        refused: RefusedParameters::NONE,
        takes_signed_thoughts_alone: false,
    };
    // Translated once for all targets, as in the pipeline.
    let bodies = request.upstream_bodies();
    for dialect in DIALECTS {
        let _ = within_bounds(&format!("{what} for {dialect:?}"), body.len(), || bodies.body(dialect, &target));
    }
}

#[test]
fn an_answer_is_read_in_time_that_grows_with_it() {
    for (name, shape) in shapes() {
        for (place, body) in [
            ("the body", shape.clone()),
            (
                "usage",
                format!(
                    r#"{{"choices":[{{"message":{{"content":"x"}}}}],"content":[{{"type":"text","text":"x"}}],"usage":{shape}}}"#
                ),
            ),
            ("content", format!(r#"{{"choices":[{{"message":{{"content":{shape}}}}}],"content":{shape}}}"#)),
            ("choices", format!(r#"{{"choices":{shape}}}"#)),
            ("an error", format!(r#"{{"error":{shape}}}"#)),
            ("the words of an error", format!(r#"{{"error":{{"message":{shape},"code":400}}}}"#)),
            ("a flat error", format!(r#"{{"object":"error","message":{shape},"code":400}}"#)),
        ] {
            let what = format!("an answer with {name} in {place}");
            for (dialect, surface) in [
                (ProviderKind::Openai, Surface::OpenAi),
                (ProviderKind::Openai, Surface::Native),
                (ProviderKind::Anthropic, Surface::Native),
                (ProviderKind::Anthropic, Surface::Anthropic),
                (ProviderKind::Openai, Surface::Anthropic),
            ] {
                let _ = within_bounds(&what, body.len(), || read_whole(dialect, surface, Bytes::from(body.clone())));
            }
            if place == "an error" {
                let (dialect, headers) = (ProviderKind::Openai, http::HeaderMap::new());
                let read = || read_refusal(dialect, 429, &headers, body.as_bytes(), chrono::DateTime::UNIX_EPOCH);
                within_bounds(&what, body.len(), read);
            }
        }
    }
}

const REPORTS: usize = 5_000;

#[test]
fn reports_that_come_again_and_again_are_merged_in_time() {
    // The longest possible report.
    let report = object_of(report::REPORT_BYTES_MAX - 64, |number| format!(r#""n{number}":{number}"#));
    let usage = |at: usize| match at {
        0 => report.clone(),
        at => format!(r#"{{"m{at}":{at},"prompt_tokens":5,"completion_tokens":{at}}}"#),
    };
    let openai = |at| format!("data: {{\"choices\":[],\"usage\":{}}}\n\n", usage(at));
    let anthropic = |at| format!("data: {{\"type\":\"message_delta\",\"delta\":{{}},\"usage\":{}}}\n\n", usage(at));
    for (dialect, event) in
        [(ProviderKind::Openai, &openai as &dyn Fn(usize) -> String), (ProviderKind::Anthropic, &anthropic)]
    {
        let mut relay = Relay::new(dialect, &minimal_request(Surface::Native, false), REQUEST_ID, MODEL, 0);
        let mut out = BytesMut::new();
        let reports: Vec<String> = (0..REPORTS).map(event).collect();
        let bytes = reports.iter().map(String::len).sum();
        within_bounds(&format!("thousands of reports of {dialect:?}"), bytes, || {
            for report in &reports {
                relay.feed(report.as_bytes(), &mut out).expect("a report is no fault");
            }
        });
        let metered = relay.metered();
        let kept = metered.provider_usage.as_ref().map_or(0, |report| report.get().len());
        assert!(kept <= report::REPORT_BYTES_MAX, "{kept} bytes are kept");
        // An ignored report must not make the gateway bill by bytes.
        let reported = metered.reported().map(events::usage::TokenClasses::output);
        assert!(dialect == ProviderKind::Anthropic || reported == Some(REPORTS as u64 - 1), "{reported:?}");
    }
}

#[test]
fn reports_are_read_once_however_deep_their_figures_stand() {
    let depth = json::DEPTH_MAX as usize - 4;
    let text = "x".repeat(report::REPORT_BYTES_MAX - 7 * depth - 64);
    let report = format!(r#"{}"{text}"{}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for (dialect, event) in [
        (ProviderKind::Openai, format!("data: {{\"choices\":[],\"usage\":{report}}}\n\n")),
        (
            ProviderKind::Anthropic,
            format!("data: {{\"type\":\"message_delta\",\"delta\":{{}},\"usage\":{report}}}\n\n"),
        ),
    ] {
        let stream = event.repeat(16);
        let mut relay = Relay::new(dialect, &minimal_request(Surface::Native, false), REQUEST_ID, MODEL, 0);
        let metered = in_measure(stream.len(), || {
            relay.feed(stream.as_bytes(), &mut BytesMut::new()).expect("a report is no fault");
            relay.metered()
        });
        assert_eq!(metered.provider_usage.as_ref().map(|kept| kept.get()), Some(&*report));
    }
}

#[test]
fn figures_of_a_report_are_found_in_few_passes() {
    let padding = "x".repeat(report::REPORT_BYTES_MAX - 512);
    for (dialect, event) in [
        (
            ProviderKind::Openai,
            format!(r#"{{"choices":[],"usage":{{"x":"{padding}","prompt_tokens":3,"completion_tokens":2}}}}"#),
        ),
        (
            ProviderKind::Anthropic,
            format!(
                r#"{{"type":"message_delta","delta":{{}},"usage":{{"iterations":[{{"x":"{padding}","input_tokens":3,"output_tokens":2}}],"input_tokens":3,"output_tokens":2}}}}"#
            ),
        ),
    ] {
        let mut relay = Relay::new(dialect, &minimal_request(Surface::Native, false), REQUEST_ID, MODEL, 0);
        let (metered, steps) = work::within(u64::MAX, || {
            relay.feed(format!("data: {event}\n\n").as_bytes(), &mut BytesMut::new()).expect("a report is no fault");
            relay.metered()
        });
        assert_eq!(metered.reported().map(|classes| classes.output()), Some(2));
        assert!(steps <= 20 * event.len() as u64, "{steps} steps for {} bytes", event.len());
    }
}

#[test]
fn an_error_is_read_in_few_passes_whatever_it_says() {
    // Before every member that is searched for.
    let padding = "x".repeat(long());
    for error in [
        format!(r#"{{"error":{{"x":"{padding}","details":{{}},"message":"m"}}}}"#),
        format!(r#"{{"error":{{"details":{{"x":"{padding}"}},"code":400}}}}"#),
        format!(r#"{{"object":"error","x":"{padding}","code":400}}"#),
        format!(r#"{{"error":{{"message":"{padding}","code":400}}}}"#),
        format!(r#"{{"error":{{"message":{{"x":"{padding}","detail":[]}},"code":400}}}}"#),
        format!(r#"{{"type":"error","error":{{"x":"{padding}","type":"invalid_request_error"}}}}"#),
    ] {
        for dialect in DIALECTS {
            for surface in SURFACES {
                let body = Bytes::from(error.clone());
                let (answer, steps) = work::within(u64::MAX, || read_whole(dialect, surface, body));
                assert!(answer.is_err(), "{error:.100}");
                assert!(steps <= 16 * error.len() as u64, "{steps} steps for {} bytes: {error:.40}", error.len());
            }
        }
    }
}

#[test]
fn a_stream_is_read_in_time_that_grows_with_it() {
    for (name, stream) in [
        ("lines", "\n".repeat(long())),
        ("returns", "\r".repeat(long())),
        ("comments", ":\n".repeat(long() / 2)),
        ("empty data", "data\n".repeat(long() / 5)),
        ("names", "event: x\n".repeat(long() / 9)),
        ("events", "data: {}\n\n".repeat(long() / 10)),
        ("one line", format!("data: {}", "x".repeat(long()))),
    ] {
        for dialect in DIALECTS {
            let mut relay = Relay::new(dialect, &minimal_request(Surface::OpenAi, true), REQUEST_ID, MODEL, 0);
            let mut out = BytesMut::new();
            within_bounds(&format!("a stream of {name}"), stream.len(), || {
                // A slow upstream sends a few bytes at a time.
                let _ = stream.as_bytes().chunks(7).try_for_each(|piece| relay.feed(piece, &mut out));
                let _ = relay.finish(&mut out);
            });
        }
    }
}
