//! Why a call failed or a request ended early, in words.

use crate::event::inference::{AttemptFailed, CLIENT_CLOSED, HEDGED};

/// Why a call failed: `the provider answered with an error (status 503)`.
pub fn of_call(call: &AttemptFailed) -> String {
    let status = call.status.map(|status| format!("status {status}"));
    let code = call.upstream_code.as_ref().map(|code| format!("code {code}"));
    let details: Vec<String> = status.into_iter().chain(code).collect();
    let why = in_words(&call.reason);
    if details.is_empty() { why } else { format!("{why} ({})", details.join(", ")) }
}

/// The recorded reason of a failed call or of the end of a request, in words.
pub fn in_words(reason: &str) -> String {
    let known = match reason {
        "untranslatable" => "the request cannot be expressed in the provider's API",
        "credentials" => "the gateway had no key for the provider that it could use",
        "key_limits" => "all keys of the provider were at their limits",
        "wrong_settings" => "the provider's settings do not fit the request",
        "provider_changed" => "the provider was deleted or changed in the meantime",
        "resolve" => "the provider's host name could not be resolved",
        "forbidden" => "the gateway may not connect to the provider's address",
        "connect" => "the provider could not be reached",
        "connect_timeout" => "the provider accepted no connection in time",
        "tls" => "no secure connection to the provider could be made",
        "busy" => "the provider had as many requests as it accepts at a time",
        "no_place" => "the gateway had as many calls to the provider, or connections to all, as it may",
        "refused" => "the provider accepted no requests",
        "closed" => "the provider closed the connection",
        "malformed" => "the provider's answer could not be understood",
        "timeout" => "the provider took too long",
        "status" => "the provider answered with an error",
        HEDGED => "another call that was made at the same time answered first",
        "in_band_error" => "the provider reported an error within its answer",
        "truncated" => "the provider's answer broke off",
        "coding" => "the provider's answer was compressed in a way that the gateway cannot decode",
        "too_large" => "the provider's answer was too large",
        "no_memory" => "the gateway had no memory for the answer",
        "not_read" => "the gateway could not read the answer",
        "not_written" => "the gateway could not write the request",
        CLIENT_CLOSED => "the client closed the connection",
        "client_stalled" => "the client stopped reading",
        "node_lost" => "the gateway that served it stopped before it ended",
        "no_target" => "no target could be called",
        "no_room" => "no target had room in time",
        "no_longer_allowed" => "it was no longer allowed when it was to be sent",
        "no_time_left" => "it had no time left when it was to be sent",
        // A later version recorded it.
        other => return other.replace('_', " "),
    };
    known.to_owned()
}
