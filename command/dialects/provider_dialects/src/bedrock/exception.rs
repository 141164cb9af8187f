//! Errors after the head of a response: exceptions in a stream, and an error in place of a response.

use intermediate::rejection::UpstreamWords;
use intermediate::{UpstreamFault, json};

/// Exceptions that only the operator can do something about.
const NEVER_RETRYABLE: [&str; 3] =
    ["accessDeniedException", "resourceNotFoundException", "serviceQuotaExceededException"];

/// The fault of an exception. Its name may have a namespace, and outside of streams it begins with a capital.
pub fn fault(name: &str, payload: &str) -> UpstreamFault {
    let name = name.rsplit('#').next().unwrap_or(name);
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    // A failure of the model has the model's own status, which may blame the request.
    let blames_the_request =
        is("modelStreamErrorException") && matches!(original_status(payload), Some(400 | 413 | 422));
    let blames_the_set_up = || {
        // AWS also writes `Message`.
        let [message, capital] = json::find(payload, ["message", "Message"]);
        let message = message.or(capital).and_then(json::string);
        message.is_some_and(|message| is_about_set_up(&message))
    };
    if blames_the_request || is("validationException") && !blames_the_set_up() {
        return UpstreamFault::Rejected(Box::new(UpstreamWords::of(payload, payload)));
    }
    // Others are throttling, time-outs, failures of the service or of the model, and what later versions add.
    let retryable = !NEVER_RETRYABLE.into_iter().any(is) && !is("validationException");
    UpstreamFault::InBandError { retryable }
}

/// True if the message of a `ValidationException` blames the target's model or the account, which the client knows nothing
/// of. Bedrock has no other name for these.
pub fn is_about_set_up(message: &str) -> bool {
    // The apostrophes are typographic in some of them.
    const BEGINNINGS: [&str; 7] = [
        "Could not resolve the foundation model",
        "Invocation of model ID ",
        "Operation not allowed",
        "The provided model identifier ",
        "This action doesn",
        "Your account is not authorized",
        "data retention mode ",
    ];
    let is_not_on_demand = || message.starts_with("The provided model ") && message.contains("on-demand throughput");
    BEGINNINGS.iter().any(|beginning| message.starts_with(beginning)) || is_not_on_demand()
}

fn original_status(payload: &str) -> Option<u64> {
    json::field(payload, "originalStatusCode").and_then(json::integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_says_whose_fault_it_is() {
        let (again, never) =
            (UpstreamFault::InBandError { retryable: true }, UpstreamFault::InBandError { retryable: false });
        for (name, payload, wanted) in [
            ("throttlingException", r#"{"message":"slow"}"#, Some(&again)),
            ("internalServerException", "", Some(&again)),
            ("serviceUnavailableException", "<html>", Some(&again)),
            ("modelTimeoutException", "{}", Some(&again)),
            ("modelStreamErrorException", r#"{"originalStatusCode":500,"originalMessage":"m"}"#, Some(&again)),
            ("modelStreamErrorException", r#"{"originalStatusCode":"400"}"#, Some(&again)),
            ("modelStreamErrorException", r#"{"originalStatusCode":400,"message":"too long"}"#, None),
            ("validationException", r#"{"message":"too long"}"#, None),
            ("validationException", r#"{"message":"The provided model identifier is invalid."}"#, Some(&never)),
            ("validationException", r#"{"Message":"The provided model identifier is invalid."}"#, Some(&never)),
            ("com.amazon.coral.validate#ValidationException", r#"{"message":"too long"}"#, None),
            ("é", "", Some(&again)),
            ("accessDeniedException", "{}", Some(&never)),
            ("serviceQuotaExceededException", "{}", Some(&never)),
            ("ofALaterVersion", "{}", Some(&again)),
        ] {
            match (fault(name, payload), wanted) {
                (UpstreamFault::Rejected(words), None) => {
                    let words = words.redacted(&intermediate::Redactor::new([]));
                    assert_eq!(words.message.as_deref(), Some("too long"), "{name}");
                }
                (found, wanted) => assert_eq!(Some(&found), wanted, "{name} {payload}"),
            }
        }
    }
}
