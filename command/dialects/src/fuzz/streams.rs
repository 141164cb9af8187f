//! Streams of upstreams, split into any pieces.

use std::sync::LazyLock;

use bytes::BytesMut;
use fuzzing::{Corpus, fuzz, shown};
use intermediate::framing::Event;
use intermediate::framing::event_stream::EventStreamParser;
use intermediate::framing::sse::SseParser;
use intermediate::json;
use serde_json::Value;

use super::super::golden::{
    CREATED, MODEL, REQUEST_ID, described, minimal_request, receipt, stream_extension, usage, wire,
};
use super::answers::is_a_report;
use super::*;

pub static CORPORA: LazyLock<[Corpus; DIALECTS.len()]> =
    LazyLock::new(|| DIALECTS.map(|dialect| answers_of(dialect, stream_extension(dialect))));
pub const CLIENTS: [(Surface, bool); 6] = [
    (Surface::Native, false),
    (Surface::OpenAi, false),
    (Surface::OpenAi, true),
    (Surface::Anthropic, false),
    (Surface::Responses, false),
    (Surface::Completions, true),
];

/// Names and data of the events of a complete stream, read line by line.
fn events_of(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut lines, mut line, mut bytes) = (Vec::new(), Vec::new(), stream.iter().peekable());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => lines.push(std::mem::take(&mut line)),
            b'\r' => {
                bytes.next_if_eq(&&b'\n');
                lines.push(std::mem::take(&mut line));
            }
            byte => line.push(*byte),
        }
    }
    lines.extend([line, Vec::new()]);
    if let Some(first) = lines.first_mut() {
        *first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first).to_vec();
    }
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            _ if line.is_empty() => {
                let event = data.take().map(|data| (std::mem::take(&mut name), data));
                events.extend(event);
                name.clear();
            }
            b"event" => name = value.to_vec(),
            b"data" => match &mut data {
                Some(data) => data.extend([b"\n", value].concat()),
                None => data = Some(value.to_vec()),
            },
            _ => {}
        }
    }
    events
}

#[test]
fn events_are_the_same_however_their_bytes_arrive() {
    fuzz!(4_000, |dice| {
        let stream = match dice.below(3) {
            0 => dice.text_of("data: event:\n\r:\u{feff}é x", 80).into_bytes(),
            _ => CORPORA[dice.below(2)].draw(dice),
        };
        let (mut parser, mut found, mut fault) = (SseParser::default(), Vec::new(), None);
        let mut keep = |event: Event<'_>| {
            found.push((event.name.as_bytes().to_vec(), event.data.as_bytes().to_vec()));
            Ok::<(), UpstreamFault>(())
        };
        for piece in dice.pieces(&stream, 24) {
            fault = fault.or(parser.feed(piece, &mut keep).err());
        }
        fault = fault.or(parser.finish(&mut keep).err());
        let wanted = events_of(&stream).into_iter().map(|(name, data)| match name.is_empty() {
            true => (b"message".to_vec(), data),
            false => (name, data),
        });
        let is_text =
            |(name, data): &(Vec<u8>, Vec<u8>)| std::str::from_utf8(name).is_ok() && std::str::from_utf8(data).is_ok();
        match fault {
            None => assert_eq!(found, wanted.collect::<Vec<_>>(), "{}", shown(&stream)),
            Some(fault) => {
                assert_eq!(fault, UpstreamFault::Malformed("not UTF-8"), "{}", shown(&stream));
                assert!(wanted.into_iter().any(|event| !is_text(&event)), "{}", shown(&stream));
            }
        }
    });
}

/// The frames of a stream up to its first fault, read at once from the end of their lengths on; and whether it is whole.
fn frames_of(mut stream: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let (mut payloads, be) =
        (Vec::new(), |bytes: &[u8]| bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)));
    while let Some(prelude) = stream.get(..12) {
        let (length, headers) = (be(&prelude[..4]), be(&prelude[4..8]));
        let is_sound = be(&prelude[8..]) == crc32fast::hash(&prelude[..8]) as usize && length >= headers + 16;
        let Some(frame) = stream.get(..length).filter(|_| is_sound) else { break };
        if be(&frame[length - 4..]) != crc32fast::hash(&frame[..length - 4]) as usize {
            break;
        }
        payloads.push(frame[12 + headers..length - 4].to_vec());
        stream = &stream[length..];
    }
    (payloads, stream.is_empty())
}

#[test]
fn frames_are_the_same_however_their_bytes_arrive() {
    let samples = answers_of(ProviderKind::Bedrock, "frames");
    let binary = Corpus::golden("bedrock/answers", "eventstream");
    fuzz!(4_000, |dice| {
        let stream = match dice.below(3) {
            0 => binary.draw(dice),
            _ => wire(ProviderKind::Bedrock, samples.draw(dice)),
        };
        let (mut parser, mut found, mut fault) = (EventStreamParser::default(), Vec::new(), None);
        for piece in dice.pieces(&stream, 24) {
            let keep = |event: Event<'_>| {
                found.push(event.data.as_bytes().to_vec());
                Ok(())
            };
            fault = fault.or_else(|| parser.feed(piece, keep).err());
        }
        fault = fault.or(parser.finish().err());
        let (wanted, is_whole) = frames_of(&stream);
        assert!(wanted.starts_with(&found), "{}", shown(&stream));
        assert!(fault.is_some() || is_whole && found == wanted, "{}", shown(&stream));
        let is_text = wanted.iter().all(|payload| std::str::from_utf8(payload).is_ok());
        assert!(fault != Some(UpstreamFault::Truncated) || !is_whole && is_text, "{}", shown(&stream));
    });
}

struct Relayed {
    out: BytesMut,
    metered: Metered,
    result: Result<(), UpstreamFault>,
    closing: Option<bytes::Bytes>,
}

fn relayed(dialect: ProviderKind, request: &ClientRequest, pieces: &[&[u8]]) -> Relayed {
    let (mut relay, mut out) = (Relay::new(dialect, request, REQUEST_ID, MODEL, CREATED), BytesMut::new());
    let fed = pieces.iter().try_for_each(|piece| relay.feed(piece, &mut out));
    let result = fed.and_then(|()| relay.finish(&mut out));
    let closing = result.is_ok().then(|| {
        let metered = relay.metered();
        relay.closing(&receipt(&usage(&metered), &metered))
    });
    Relayed { out, metered: relay.metered(), result, closing }
}

#[test]
fn a_stream_is_told_and_measured_alike_however_it_arrives_and_to_whom() {
    fuzz!(700, |dice| {
        let which = dice.below(DIALECTS.len());
        let (dialect, stream) = (DIALECTS[which], wire(DIALECTS[which], CORPORA[which].draw(dice)));
        let pieces = dice.pieces(&stream, 12);
        let mut complete = Vec::new();
        for (surface, include_usage) in CLIENTS {
            let request = minimal_request(surface, include_usage);
            let (whole, cut) = (relayed(dialect, &request, &[&stream]), relayed(dialect, &request, &pieces));
            assert_eq!(cut.result, whole.result, "{}", shown(&stream));
            assert!(cut.out == whole.out, "{} {} {}", shown(&cut.out), shown(&whole.out), shown(&stream));
            assert_eq!(described(&cut.metered, None), described(&whole.metered, None), "{}", shown(&stream));
            assert_eq!(cut.closing, whole.closing, "{}", shown(&stream));
            is_a_report(&whole.metered, &stream);
            is_fit_for_the_client(&whole, surface, include_usage, &stream);
            if (dialect, surface) == (ProviderKind::Openai, Surface::OpenAi) {
                goes_through_as_it_came(&stream, &whole.out, include_usage);
            }
            if whole.result.is_ok() {
                complete.push(described(&whole.metered, None));
            }
        }
        complete.dedup();
        assert!(complete.len() <= 1, "{complete:#?} {}", shown(&stream));
    });
}

/// Checks that every event is one line of JSON in the surface's form, and that a complete stream ends with its marker.
fn is_fit_for_the_client(relayed: &Relayed, surface: Surface, include_usage: bool, stream: &[u8]) {
    let closing = relayed.closing.as_deref().unwrap_or_default();
    let events = events_of(&[&relayed.out, closing].concat());
    for (number, (name, data)) in events.iter().enumerate() {
        let data = std::str::from_utf8(data).expect("what goes to a client is UTF-8");
        if data == "[DONE]" {
            continue;
        }
        let event = Ordered::of(data).unwrap_or_else(|| panic!("{data} of {}", shown(stream)));
        match surface {
            Surface::Native => {
                assert!([&b"output.delta"[..], b"output.tool_call", b"completed"].contains(&name.as_slice()));
                serde_json::from_str::<Value>(data).unwrap_or_else(|error| panic!("{error}: {data}"));
            }
            // Names of events are their types.
            Surface::Anthropic => {
                assert_eq!(event.get("type").and_then(json::string).as_deref().map(str::as_bytes), Some(&**name));
                let message = event.get("message").and_then(Ordered::of);
                let model = message.as_ref().and_then(|message| message.get("model")).and_then(json::string);
                assert!(name != b"message_start" || model.is_none_or(|model| model == MODEL), "{data}");
            }
            Surface::Responses => {
                let read: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
                assert_eq!(read["type"].as_str().map(str::as_bytes), Some(&**name), "{data}");
                assert_eq!(read["sequence_number"], number, "{data}");
            }
            Surface::OpenAi | Surface::Completions => {
                let models: Vec<_> = event.0.iter().filter(|(name, _)| name == "model").collect();
                assert!(!models.is_empty(), "{data}");
                assert!(models.iter().all(|(_, model)| json::string(model.get()).as_deref() == Some(MODEL)), "{data}");
                assert!(include_usage || !event.names().any(|name| name == "usage"), "{data}");
                assert!(include_usage || event.get("choices").is_some_and(|choices| choices != "[]"), "{data}");
            }
            Surface::OpenAiEmbeddings => panic!("it has no streams"),
        }
    }
    let marker = match surface {
        Surface::Native => events.iter().filter(|(name, _)| name == b"completed").count(),
        Surface::Anthropic => events.iter().filter(|(name, _)| name == b"message_stop").count(),
        Surface::OpenAi | Surface::Completions => events.iter().filter(|(_, data)| data == b"[DONE]").count(),
        Surface::Responses => {
            let ends =
                |name: &[u8]| [&b"response.completed"[..], b"response.incomplete", b"response.failed"].contains(&name);
            events.iter().filter(|(name, _)| ends(name)).count()
        }
        Surface::OpenAiEmbeddings => panic!("it has no streams"),
    };
    if surface == Surface::Responses && relayed.result.is_ok() {
        says_again_what_it_said(&events);
    }
    assert_eq!(marker, usize::from(relayed.result.is_ok()), "{}", shown(stream));
}

/// Checks that the last event repeats what the others said.
fn says_again_what_it_said(events: &[(Vec<u8>, Vec<u8>)]) {
    let events: Vec<Value> =
        events.iter().map(|(_, data)| serde_json::from_slice(data).expect("an event is JSON")).collect();
    let response = &events.last().expect("an end")["response"];
    let output = response["output"].as_array().expect("items");
    let of = |kind: &'static str| events.iter().filter(move |event| event["type"] == *kind);
    let (added, done) = (of("response.output_item.added").count(), of("response.output_item.done").count());
    assert_eq!((added, done), (output.len(), output.len()), "{events:#?}");
    for event in of("response.output_item.done") {
        let index = usize::try_from(event["output_index"].as_u64().expect("an index")).expect("a small one");
        assert_eq!(event["item"], output[index]);
    }
    for (index, item) in output.iter().enumerate() {
        let deltas = events.iter().filter(|event| event["item_id"] == item["id"] && event["output_index"] == index);
        let said: String = deltas.filter_map(|event| event["delta"].as_str()).collect();
        let text = match item["type"].as_str() {
            Some("message") => item["content"][0]["text"].as_str(),
            Some("reasoning") => Some(item["summary"][0]["text"].as_str().unwrap_or_default()),
            _ => item["arguments"].as_str(),
        };
        assert_eq!(Some(&*said), text, "{item}");
    }
}

/// Checks that chunks of the same dialect keep every byte but the model and the usage.
fn goes_through_as_it_came(stream: &[u8], out: &[u8], include_usage: bool) {
    let chunk = |data: &[u8]| Ordered::of(std::str::from_utf8(data).ok()?);
    let others = |chunk: &Ordered| -> Vec<(String, String)> {
        let kept = chunk.0.iter().filter(|(name, _)| !matches!(name.as_str(), "model" | "usage"));
        let kept = kept.filter(|(name, _)| include_usage || name != "x_groq");
        kept.map(|(name, value)| (name.clone(), value.get().replace('\n', " "))).collect()
    };
    let is_same = |one: &Ordered, other: &Ordered| are_same_but_corrected(&others(one), &others(other));
    let has_usage = |chunk: &Ordered| {
        chunk.0.iter().any(|(name, value)| {
            matches!(name.as_str(), "usage" | "x_groq") || name == "choices" && value.get().contains("\"usage\"")
        })
    };
    let has_choices = |chunk: &Ordered| {
        let choices = chunk.get("choices").filter(|choices| json::kind(choices) == json::Kind::Array);
        choices.is_some_and(|choices| json::elements(choices).next().is_some())
    };
    let came: Vec<Ordered> = events_of(stream).iter().filter_map(|(_, data)| chunk(data)).collect();
    let went: Vec<Ordered> = events_of(out).iter().filter_map(|(_, data)| chunk(data)).collect();
    let mut came = came.iter().filter(|chunk| has_choices(chunk));
    for chunk in went.iter().filter(|chunk| has_choices(chunk)) {
        // A usage chunk whose choices say nothing is left out.
        let same = came.find(|came| is_same(chunk, came) || !has_usage(came));
        let same = same.unwrap_or_else(|| panic!("more chunks than came: {}", shown(stream)));
        assert!(is_same(chunk, same), "{:?} {:?} {}", others(chunk), others(same), shown(stream));
    }
}
