//! Responses to requests whose head cannot be parsed. hyper answers them itself, with a status and an empty body; here that
//! response gets an error, a request id and its place in the metrics.

use events::ids::{IdMaker, RequestId};
use events::refusal::{ErrorCode, Refusal};
use openapi::refusals;

use crate::metrics::{Area, ResponseMetrics};

const MALFORMED: &str = "the request cannot be parsed: its first line or its headers are malformed";
const TOO_LARGE: &str = "the first line and the headers are over 64 KiB in total, or there are more than 100 headers";

/// Replaces hyper's responses to such requests. Cheap to clone.
#[derive(Clone)]
pub struct ParseErrorResponses {
    ids: IdMaker,
    responses: ResponseMetrics,
}

impl ParseErrorResponses {
    pub const fn new(ids: IdMaker, responses: ResponseMetrics) -> Self {
        Self { ids, responses }
    }

    /// The bytes to send instead of `written`; `None` unless that is a response of hyper's own, which has no body.
    pub fn replacement(&self, written: &[u8]) -> Option<Vec<u8>> {
        let head = std::str::from_utf8(written).ok()?.strip_suffix("\r\n\r\n")?;
        let (first, headers) = head.split_once("\r\n")?;
        let refusal = match first.strip_prefix("HTTP/1.1 ")?.get(..3)? {
            "400" => Refusal::invalid("", MALFORMED),
            "414" | "431" => Refusal::new(ErrorCode::RequestHeaderFieldsTooLarge, TOO_LARGE),
            _ => return None,
        };
        let (length, kept): (Vec<&str>, Vec<&str>) = headers.split("\r\n").partition(|line| is_length(line));
        if length.iter().any(|line| !line.ends_with(" 0")) || kept.iter().any(|line| line.is_empty()) {
            return None;
        }
        let (status, request_id) = (refusals::status(refusal.code), self.ids.make::<RequestId>().to_string());
        self.responses.refused(Area::Open, &refusal);
        self.responses.answered(Area::Open, status.as_u16());
        tracing::debug!(request_id, status = status.as_u16(), "answered a request that cannot be parsed");
        let body = format!("{}\n", refusals::native_body(&refusal, &request_id));
        let mut response = format!("HTTP/1.1 {status}\r\n");
        for line in kept {
            response.push_str(line);
            response.push_str("\r\n");
        }
        response.push_str(&format!(
            "content-type: application/json\r\nx-request-id: {request_id}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        Some(response.into_bytes())
    }
}

fn is_length(line: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case("content-length"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use events::ids::SystemRandom;
    use events::time::SystemClock;
    use prometheus::Registry;
    use serde_json::Value;

    use super::*;

    fn parse_errors() -> ParseErrorResponses {
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        ParseErrorResponses::new(ids, ResponseMetrics::register(&Registry::new()).expect("a registry of its own"))
    }

    #[test]
    fn an_answer_without_a_body_gets_one_and_keeps_its_headers() {
        for (status, code, said) in [
            ("400 Bad Request", "INVALID_REQUEST", "400 Bad Request"),
            ("414 URI Too Long", "REQUEST_HEADER_FIELDS_TOO_LARGE", "431 Request Header Fields Too Large"),
            (
                "431 Request Header Fields Too Large",
                "REQUEST_HEADER_FIELDS_TOO_LARGE",
                "431 Request Header Fields Too Large",
            ),
        ] {
            let written = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n");
            let answer = String::from_utf8(parse_errors().replacement(written.as_bytes()).expect("it is hyper's own"))
                .expect("text");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
            assert!(head.starts_with(&format!("HTTP/1.1 {said}\r\nconnection: close\r\ndate: now\r\n")), "{head}");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            let error = &serde_json::from_str::<Value>(body).expect("JSON")["error"];
            assert_eq!(error["code"], code);
            assert!(head.contains(&format!("x-request-id: {}\r\n", error["request_id"].as_str().expect("an id"))));
        }
    }

    #[test]
    fn what_is_not_hypers_own_stays_as_it_is() {
        for written in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 20\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 4",
            "",
            "\u{0}\u{0}\u{12}",
        ] {
            assert_eq!(parse_errors().replacement(written.as_bytes()), None, "{written:?}");
        }
    }
}
