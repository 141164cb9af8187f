//! Errors after the head of a response: exceptions in a stream, and an error in place of a response.

use crate::UpstreamFault;
use crate::json;
use crate::rejection::UpstreamWords;

/// The fault of an exception. Its name may have a namespace, and begin with a capital outside of streams.
pub fn fault(name: &str, payload: &str) -> UpstreamFault {
    let name = name.rsplit('#').next().unwrap_or(name);
    let (first, rest) = name.split_at_checked(1).unwrap_or((name, ""));
    match &*[&first.to_ascii_lowercase(), rest].concat() {
        "validationException" => rejected(payload),
        // The model's own status: it may blame the request.
        "modelStreamErrorException" if matches!(original_status(payload), Some(400 | 413 | 422)) => rejected(payload),
        "accessDeniedException" | "resourceNotFoundException" | "serviceQuotaExceededException" => {
            UpstreamFault::InBandError { retryable: false }
        }
        // Throttling, time-outs, failures of the service or of the model, and what later versions add.
        _ => UpstreamFault::InBandError { retryable: true },
    }
}

fn rejected(payload: &str) -> UpstreamFault {
    UpstreamFault::Rejected(Box::new(UpstreamWords::of(payload, payload)))
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
            ("com.amazon.coral.validate#ValidationException", r#"{"message":"too long"}"#, None),
            ("é", "", Some(&again)),
            ("accessDeniedException", "{}", Some(&never)),
            ("serviceQuotaExceededException", "{}", Some(&never)),
            ("ofALaterVersion", "{}", Some(&again)),
        ] {
            match (fault(name, payload), wanted) {
                (UpstreamFault::Rejected(words), None) => {
                    let words = words.redacted(&crate::Redactor::new([]));
                    assert_eq!(words.message.as_deref(), Some("too long"), "{name}");
                }
                (found, wanted) => assert_eq!(Some(&found), wanted, "{name} {payload}"),
            }
        }
    }
}
