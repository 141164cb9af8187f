//! Reads an event from its canonical envelope: the inverse of [`envelope`](super::envelope).

use serde::de::Error as _;
use serde_json::{Map, Number, Value};

use super::{CanonicalError, envelope, is_exact};
use crate::event::{Context, DecodeError, Event, Recorded, Stream, StreamKind};
use crate::plain_json;
use crate::time::parse_rfc3339;
use crate::usage::TokenClasses;

/// The member of an event's data that has the counts of tokens.
const USAGE: &str = "usage";
/// The counts of tokens that are written to a cache, by lifetime.
const WRITTEN_BY_LIFETIME: &str = "input_cache_write_by_ttl";

/// A line is not the canonical envelope of an event that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it is not a JSON object: {0}")]
    NotJson(serde_json::Error),
    #[error("it has no valid member {0:?}")]
    Member(&'static str),
    #[error("its context cannot be read: {0}")]
    Context(serde_json::Error),
    #[error("it cannot be read: {0}")]
    Event(#[from] DecodeError),
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The text is a valid event, but not in the form that is hashed.
    #[error("it is not in canonical form (RFC 8785)")]
    NotCanonical,
}

/// The event of a canonical envelope. The text is exactly what [`envelope`] writes of the event.
pub fn recorded(line: &str) -> Result<Recorded, ReadError> {
    let Value::Object(mut members) = plain_json::parse(line).map_err(ReadError::NotJson)? else {
        return Err(ReadError::NotJson(serde_json::Error::custom("it is another value")));
    };
    let recorded = of_members(&mut members)?;
    if envelope(&recorded)? == line { Ok(recorded) } else { Err(ReadError::NotCanonical) }
}

fn of_members(members: &mut Map<String, Value>) -> Result<Recorded, ReadError> {
    let position = number(members, "position")?;
    let sequence = number(members, "sequence")?;
    let recorded_at = text(members, "recorded_at")?;
    let recorded_at = parse_rfc3339(&recorded_at).ok_or(ReadError::Member("recorded_at"))?;
    let stream = text(members, "stream")?;
    let stream = stream_of(&stream).ok_or(ReadError::Member("stream"))?;
    let type_name = text(members, "type")?;
    let (name, version) = type_of(&type_name).ok_or(ReadError::Member("type"))?;
    let mut data = members.remove("data").ok_or(ReadError::Member("data"))?;
    restore_doubles(&mut data);
    restore_counts(&mut data);
    let context: Context = serde_json::from_value(std::mem::take(members).into()).map_err(ReadError::Context)?;
    let event = Event::decode(name, version, &data.to_string())?;
    Ok(Recorded { position, recorded_at, stream, sequence, context, event })
}

fn number(members: &mut Map<String, Value>, name: &'static str) -> Result<u64, ReadError> {
    members.remove(name).and_then(|value| value.as_u64()).ok_or(ReadError::Member(name))
}

fn text(members: &mut Map<String, Value>, name: &'static str) -> Result<String, ReadError> {
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(ReadError::Member(name)),
    }
}

fn stream_of(text: &str) -> Option<Stream> {
    let (kind, id) = text.split_once('-')?;
    Some(Stream::new(StreamKind::parse(kind)?, id))
}

/// The name and the version of `budget.settled.v1`.
fn type_of(text: &str) -> Option<(&str, u32)> {
    let (name, version) = text.rsplit_once(".v")?;
    Some((name, version.parse().ok()?))
}

/// Makes doubles of whole numbers that only a double can be in canonical form: it has larger integers as strings.
fn restore_doubles(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_f64() && !is_exact(number) => {
            if let Some(double) = number.as_f64().and_then(Number::from_f64) {
                *number = double;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(restore_doubles),
        Value::Object(members) => members.values_mut().for_each(restore_doubles),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Makes numbers of those counts of tokens that no double holds: the canonical form has them as strings, and a provider may
/// report any number. What the provider itself said stays as it is written.
fn restore_counts(data: &mut Value) {
    let Some(Value::Object(usage)) = data.get_mut(USAGE) else { return };
    for (name, value) in usage {
        match value {
            Value::Object(by_lifetime) if name == WRITTEN_BY_LIFETIME => {
                by_lifetime.values_mut().for_each(restore_count);
            }
            value if TokenClasses::NAMES.contains(&name.as_str()) => restore_count(value),
            _ => {}
        }
    }
}

fn restore_count(value: &mut Value) {
    if let Some(count) = value.as_str().and_then(|text| text.parse::<u64>().ok()) {
        *value = count.into();
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::event::inference::InferenceEnded;
    use crate::event::{Actor, Inference};
    use crate::ids::RequestId;
    use crate::money::NanoUsd;
    use crate::time::from_micros;
    use crate::usage::{Usage, UsageSource};

    fn at() -> DateTime<Utc> {
        from_micros(1_763_626_530_123_456)
    }

    fn completed(usage: Usage) -> Recorded {
        let request = RequestId::from(uuid::Uuid::from_u128(7));
        let mut ended = InferenceEnded::new("m".to_owned(), at(), NanoUsd::new(i64::MAX));
        ended.usage = Some(usage);
        ended.provider_usage =
            Some(serde_json::json!({ "usage": { "searches": 9_007_199_254_740_993_u64 }, "part": 0.1, "many": 1e17 }));
        Recorded {
            position: 3,
            recorded_at: at(),
            stream: Stream::inference(request),
            sequence: 2,
            context: Context::of(Actor::System("gateway")).in_request(request),
            event: Event::Inference(Inference::Completed(Box::new(ended))),
        }
    }

    #[test]
    fn an_envelope_is_read_as_it_was_written_also_with_counts_that_no_double_holds() {
        let tokens = TokenClasses {
            output_text_tokens: u64::MAX,
            input_cache_write_tokens: 1 << 60,
            input_cache_write_by_ttl: [("5m".to_owned(), 1 << 60)].into(),
            ..TokenClasses::default()
        };
        let line = envelope(&completed(Usage::new(tokens.clone(), UsageSource::Provider))).expect("an envelope");
        let read = recorded(&line).expect("an event");
        let Event::Inference(Inference::Completed(ended)) = &read.event else { panic!("{read:?}") };
        assert_eq!(ended.usage.as_ref().map(|usage| &usage.tokens), Some(&tokens));
        assert_eq!(envelope(&read).expect("an envelope"), line);
        assert!(line.contains(r#""searches":"9007199254740993""#), "what the provider said stays a text: {line}");
    }

    /// `serde_json` would take the object for what the text in it says.
    #[test]
    fn a_provider_can_report_a_name_that_the_json_library_keeps_for_itself() {
        let mut event = completed(Usage::new(TokenClasses::default(), UsageSource::Unknown));
        let Event::Inference(Inference::Completed(ended)) = &mut event.event else { panic!("{event:?}") };
        ended.provider_usage = Some(serde_json::json!({ "$serde_json::private::RawValue": "x", "prompt_tokens": 1 }));
        let line = envelope(&event).expect("an envelope");
        let read = recorded(&line).expect("an event");
        assert_eq!((&read.event, envelope(&read).expect("an envelope")), (&event.event, line));
        let payload = event.event.payload().expect("a payload");
        assert_eq!(Event::decode("inference.completed", 1, &payload).expect("it decodes"), event.event);
    }

    #[test]
    fn what_is_no_canonical_envelope_is_refused_with_its_reason() {
        let usage = Usage::new(TokenClasses::default(), UsageSource::Unknown);
        let line = envelope(&completed(usage)).expect("an envelope");
        for (wrong, reason) in [
            ("[]".to_owned(), "not a JSON object"),
            (line.replace("\"position\":3", "\"position\":-3"), "\"position\""),
            (line.replace("\"stream\":\"inference-", "\"stream\":\"inferences-"), "\"stream\""),
            (line.replace("2025-", "25-"), "\"recorded_at\""),
            (line.replace(".v1\"", "\""), "\"type\""),
            (line.replace(".v1\"", ".v9\""), "unknown event type inference.completed.v9"),
            (line.replace("\"data\":{", "\"datum\":{"), "\"data\""),
            (line.replace("system:gateway\"", "system:gateway\",\"tenant_id\":\"t\""), "context"),
            (line.replace("\"model\":\"m\"", "\"model\":7"), "cannot be read"),
            (line.replace("{\"actor\"", "{ \"actor\""), "canonical form"),
            (line.replace("{\"actor\"", "{\"aaa\":1,\"actor\""), "canonical form"),
        ] {
            assert_ne!(wrong, line, "{reason}");
            let error = recorded(&wrong).expect_err(reason).to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
