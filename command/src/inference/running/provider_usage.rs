//! A provider's own report of usage, as it is recorded.

use dialects::Metered;
use events::plain_json;
use serde_json::Value;

/// How deep a provider's report of usage may be nested: an event in which it stands is read with a limit of 128.
const REPORT_DEPTH_MAX: usize = 32;

pub fn provider_usage(metered: &Metered) -> Option<Value> {
    let verbatim = metered.provider_usage.as_ref()?.get();
    // A number that fits no double cannot be read as a value, and what is nested too deep could not be read again inside of an
    // event: the report is then kept as text.
    let value = plain_json::parse(verbatim).ok().filter(|value| plain_json::depth(value) <= REPORT_DEPTH_MAX);
    Some(value.unwrap_or_else(|| Value::String(verbatim.to_owned())))
}
