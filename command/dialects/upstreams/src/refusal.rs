//! Classifies an upstream's errors: whether the request can be retried, when, and who can fix it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use hub::rejection::UpstreamWords;
use hub::{UpstreamFault, json};

use super::{ProviderKind, of};

/// Longest wait; longer ones are cut, because no hold lasts until tomorrow.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Bytes of an error body that are read.
pub const REFUSAL_BYTES_MAX: usize = 16 * 1024;
/// Details of an error that are read. Google's errors have at most a few.
const DETAILS_MAX: usize = 16;
/// Longest error code that is read. Known codes are far shorter.
const WORD_BYTES_MAX: usize = 256;
/// AWS's name of an error: `ThrottlingException:http://internal.amazon.com/…`.
const ERROR_TYPE_HEADER: &str = "x-amzn-errortype";
/// Characters of a message that are searched for a complaint about the key or the account. What follows may repeat the
/// prompt.
const COMPLAINT_CHARS: usize = 120;

/// An upstream's refusal. If its words are of use to the client, they are kept, but unreadable until they are redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRefusal {
    pub status: u16,
    pub kind: UpstreamRefusalKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamRefusalKind {
    /// Too many requests or tokens. Waits are at most [`RETRY_AFTER_MAX`].
    RateLimited { retry_after: Option<Duration> },
    /// A failure of the upstream: a retry may succeed. Waits are at most [`RETRY_AFTER_MAX`].
    Transient { retry_after: Option<Duration> },
    /// The provider's key is wrong or lacks a permission. Every request to this provider will fail.
    Credentials,
    /// The account has no money left. Not retryable, although it may look like a rate limit.
    OutOfMoney,
    /// 400, 413 and 422: the request is too long, invalid or unsupported. Only the client can fix it.
    Rejected(UpstreamWords),
    /// Any other 4xx, mostly an unknown path or model, which the operator can fix; and the 400 of a target whose model the
    /// provider does not serve.
    BadRequest,
    /// Redirects and other statuses.
    Other,
}

/// Classifies a response that is not a 200. `body` may be truncated and of any kind: an object, a list, a string, HTML,
/// empty. The beginning of truncated JSON is read.
pub fn read_refusal(
    kind: ProviderKind,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> UpstreamRefusal {
    let text = String::from_utf8_lossy(body.get(..REFUSAL_BYTES_MAX).unwrap_or(body));
    // Some upstreams repeat the whole request in the error, so that it is truncated.
    let text = json::complete(&text);
    let mut error = ErrorBody::of(&text);
    error.add_aws_type(headers);
    let retry_after = || retry_after(headers, &error, now);
    let refusal_kind = match status {
        402 => UpstreamRefusalKind::OutOfMoney,
        400..=499 if error.is_out_of_money(kind) => UpstreamRefusalKind::OutOfMoney,
        400..=499 if error.is_throttling() => UpstreamRefusalKind::RateLimited { retry_after: retry_after() },
        400 | 413 | 422 if error.is_about_credentials() => UpstreamRefusalKind::Credentials,
        400 if error.has_message(of(kind).is_about_set_up) => UpstreamRefusalKind::BadRequest,
        // Cohere: the request or the response has a token that is denied.
        498 if kind == ProviderKind::Cohere => {
            UpstreamRefusalKind::Rejected(UpstreamWords::of(error.body, error.error))
        }
        400 | 413 | 422 => UpstreamRefusalKind::Rejected(UpstreamWords::of(error.body, error.error)),
        401 | 403 | 407 => UpstreamRefusalKind::Credentials,
        429 => UpstreamRefusalKind::RateLimited { retry_after: retry_after() },
        408 | 409 | 424 | 425 | 498 | 499 | 500..=599 => UpstreamRefusalKind::Transient { retry_after: retry_after() },
        400..=499 => UpstreamRefusalKind::BadRequest,
        _ => UpstreamRefusalKind::Other,
    };
    UpstreamRefusal { status, kind: refusal_kind }
}

/// Classifies an error in place of a response. `text` is the whole chunk or body; `retryable` applies unless the
/// request is wrong.
pub fn in_band(kind: ProviderKind, text: &str, retryable: bool) -> UpstreamFault {
    let error = ErrorBody::of(text);
    if error.is_rejection() && !error.is_out_of_money(kind) && !error.is_about_credentials() {
        return UpstreamFault::Rejected(Box::new(UpstreamWords::of(error.body, error.error)));
    }
    UpstreamFault::InBandError { retryable }
}

/// An error body and the codes in it. Its messages are read only where a provider has no code.
struct ErrorBody<'a> {
    body: &'a str,
    /// The object in `error`, or else the body itself.
    error: &'a str,
    /// `code` and `status`, which may be numbers.
    codes: [Option<&'a str>; 2],
    /// `message` and `error`, which may be sentences.
    messages: [Option<&'a str>; 2],
    words: Vec<String>,
    text: &'a str,
}

impl<'a> ErrorBody<'a> {
    fn of(text: &'a str) -> Self {
        let body = text.trim();
        // Gemini's OpenAI endpoint may wrap its error in a list of one.
        let body = match json::kind(body) {
            json::Kind::Array => json::elements(body).next().and_then(Result::ok).unwrap_or_default(),
            _ => body,
        };
        let error = json::field(body, "error").filter(|error| json::kind(error) == json::Kind::Object);
        let error = error.unwrap_or(body);
        // AWS also writes `Message`.
        let [details, code, kind, status, error_code, message, capital, error_text, aws_type] = json::find(
            error,
            ["details", "code", "type", "status", "error_code", "message", "Message", "error", "__type"],
        );
        let detail_codes = codes_of(details.unwrap_or_default());
        let words = [code, kind, status, error_code].into_iter().chain(detail_codes).flatten();
        let words = words.filter_map(json::string).filter(|word| word.len() <= WORD_BYTES_MAX).map(String::from);
        let aws_type = aws_type.and_then(json::string).and_then(|name| aws_name(&name).map(str::to_owned));
        let words = words.chain(aws_type);
        Self {
            body,
            error,
            codes: [code, status],
            messages: [message.or(capital), error_text],
            words: words.collect(),
            text,
        }
    }

    /// Adds the name that AWS gives in a header.
    fn add_aws_type(&mut self, headers: &HeaderMap) {
        let name = headers.get(ERROR_TYPE_HEADER).and_then(|value| aws_name(value.to_str().ok()?));
        self.words.extend(name.map(str::to_owned));
    }

    /// True if a status in the error, or else a type of OpenAI's or Anthropic's, blames the request.
    fn is_rejection(&self) -> bool {
        let status = self.codes.into_iter().flatten();
        let mut status = status.filter_map(|value| json::integer(value).or_else(|| json::string(value)?.parse().ok()));
        match status.next() {
            Some(status) => matches!(status, 400 | 413 | 422),
            None => self.words.iter().any(|word| matches!(&**word, "invalid_request_error" | "request_too_large")),
        }
    }

    /// True for AWS's names of too many requests, which some of its services answer with 400.
    fn is_throttling(&self) -> bool {
        self.words.iter().any(|word| matches!(&**word, "ThrottlingException" | "TooManyRequestsException"))
    }

    /// True if the error blames the key. Gemini, xAI, AWS and some proxies answer a wrong key with 400.
    fn is_about_credentials(&self) -> bool {
        // `FAILED_PRECONDITION` is Google's word for an account without billing, or in a country without its service.
        const CODES: [&str; 13] = [
            "API_KEY_INVALID",
            "FAILED_PRECONDITION",
            "authentication_error",
            "invalid_api_key",
            "invalid_authentication",
            "permission_error",
            "AccessDeniedException",
            "ExpiredTokenException",
            "IncompleteSignatureException",
            "InvalidSignatureException",
            "InvalidClientTokenId",
            "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ];
        const COMPLAINTS: [&str; 4] =
            ["incorrect api key", "invalid api key", "api key not valid", "api key is invalid"];
        self.words.iter().any(|word| CODES.contains(&&**word))
            || self.has_message(|message| {
                let start = start(message).to_ascii_lowercase();
                COMPLAINTS.iter().any(|words| start.contains(words))
            })
    }

    fn has_message(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.messages.into_iter().flatten().filter_map(json::string).any(|message| is_it(&message))
    }

    fn is_out_of_money(&self, kind: ProviderKind) -> bool {
        self.words.iter().any(|word| is_out_of_money(word))
            || of(kind)
                .out_of_money_sentence
                .is_some_and(|sentence| self.has_message(|text| start(text).contains(sentence)))
    }
}

/// The part of a message that is the upstream's own.
fn start(message: &str) -> &str {
    let end = message.char_indices().nth(COMPLAINT_CHARS).map(|(end, _)| end);
    end.and_then(|end| message.get(..end)).unwrap_or(message)
}

/// The codes in the details of an error: an object, or Google's list, of which the first that gives a reason counts.
fn codes_of(details: &str) -> [Option<&str>; 4] {
    let codes = |details| json::find(details, ["code", "error_code", "reason", "type"]);
    match json::kind(details) {
        json::Kind::Array => {
            let mut each = json::elements(details).map_while(Result::ok).take(DETAILS_MAX).map(codes);
            each.find(|codes| codes.iter().any(Option::is_some)).unwrap_or_default()
        }
        _ => codes(details),
    }
}

/// AWS's name of an error, without its namespace before `#` and the address after `:`.
fn aws_name(text: &str) -> Option<&str> {
    let name = text.split(':').next()?.rsplit('#').next()?.trim();
    (1..=WORD_BYTES_MAX).contains(&name.len()).then_some(name)
}

/// True for codes of an account without money, for which a retry is useless.
pub fn is_out_of_money(word: &str) -> bool {
    [
        "insufficient_quota",
        "insufficient_balance",
        "insufficient_credits",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "organization_on_hold",
        "payment_required",
        "BILLING_DISABLED",
        "ServiceQuotaExceededException",
    ]
    .contains(&word)
}

/// The wait from `retry-after-ms`, `retry-after` (seconds or an HTTP date), or Google's `retryDelay` in the body.
fn retry_after(headers: &HeaderMap, error: &ErrorBody<'_>, now: DateTime<Utc>) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let in_ms =
        header("retry-after-ms").and_then(|text| text.split('.').next()?.parse().ok()).map(Duration::from_millis);
    let wait = in_ms
        .or_else(|| header("retry-after").and_then(|text| duration(text).or_else(|| until(text, now))))
        .or_else(|| {
            let (_, rest) = error.text.split_once(r#""retryDelay""#)?;
            duration(rest.trim_start_matches([' ', ':', '"', '\n']).split('"').next()?)
        })?;
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Reads `7`, `1.5`, `17s`, `20ms`, `1m30s`, `6m0s`.
fn duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(digits);
        let unit_end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(unit_end);
        let unit_ms = match unit {
            "" | "s" => 1000,
            "ms" => 1,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(thousandths(number)?.checked_mul(unit_ms)?.div_ceil(1000)))?;
        rest = after;
    }
    Some(total)
}

/// Reads `1.5` as 1500; digits beyond the third are cut.
fn thousandths(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.get(..3).unwrap_or(fraction);
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(fraction)
}

/// The time until an HTTP date; zero if it has passed.
fn until(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        dialect: ProviderKind,
        status: u16,
        header: (&'static str, &'static str),
        body: &str,
    ) -> UpstreamRefusalKind {
        let now = events::time::parse_rfc3339("2026-11-20T08:15:30Z").unwrap();
        let headers =
            HeaderMap::from_iter([(http::HeaderName::from_static(header.0), http::HeaderValue::from_static(header.1))]);
        read_refusal(dialect, status, &headers, body.as_bytes(), now).kind
    }

    #[test]
    fn out_of_money_is_not_a_rate_limit() {
        use ProviderKind::{Anthropic, Openai};
        let none = ("x-none", "");
        for (dialect, status, body) in [
            (
                Openai,
                429,
                r#"{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            ),
            (Openai, 402, ""),
            (Openai, 402, r#"{"error":"no credits"}"#),
            (Anthropic, 402, r#"{"type":"error","error":{"type":"billing_error","message":"m"}}"#),
            (
                Anthropic,
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            ),
            (
                Anthropic,
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API"}}"#,
            ),
        ] {
            assert_eq!(read(dialect, status, none, body), UpstreamRefusalKind::OutOfMoney, "{status} {body}");
        }
        for (status, body) in [
            (
                429,
                r#"{"error":{"code":429,"message":"Your prepayment credits are depleted. Please go to AI Studio.","status":"RESOURCE_EXHAUSTED"}}"#,
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.Help"},{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BILLING_DISABLED","domain":"googleapis.com"}]}}"#,
            ),
        ] {
            assert_eq!(read(ProviderKind::Gemini, status, none, body), UpstreamRefusalKind::OutOfMoney, "{body}");
        }
        let limited = UpstreamRefusalKind::RateLimited { retry_after: None };
        let too_fast = r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED"}}"#;
        assert_eq!(read(ProviderKind::Gemini, 429, none, too_fast), limited);
        assert_eq!(read(Openai, 429, none, r#"{"error":{"code":"rate_limit_exceeded"}}"#), limited);
        assert_eq!(read(Openai, 429, none, "<html>insufficient_quota</html>"), limited);
    }

    #[test]
    fn every_way_to_say_wait_is_read_and_capped() {
        let body = r#"[{"error":{"code":429,"details":[{"retryDelay":"17s"}]}}]"#;
        for (name, value, body, seconds) in [
            ("retry-after", "7", "", 7.0),
            ("retry-after", "1.5", "", 1.5),
            ("retry-after-ms", "250", "", 0.25),
            ("retry-after", "Fri, 20 Nov 2026 08:15:40 GMT", "", 10.0),
            ("retry-after", "Fri, 20 Nov 2020 08:15:40 GMT", "", 0.0),
            ("retry-after", "1m30s", "", 90.0),
            ("retry-after", "99999999", "", 3600.0),
            ("x-none", "", body, 17.0),
        ] {
            let wanted = Some(Duration::from_secs_f64(seconds));
            let kind = read(ProviderKind::Openai, 429, (name, value), body);
            assert_eq!(kind, UpstreamRefusalKind::RateLimited { retry_after: wanted }, "{name}: {value}");
        }
        for value in ["", "soon", "-1", "1x", "99999999999999999999999"] {
            let kind = read(ProviderKind::Openai, 429, ("retry-after", value), "");
            assert_eq!(kind, UpstreamRefusalKind::RateLimited { retry_after: None }, "{value}");
        }
    }

    #[test]
    fn a_wrong_key_is_not_the_clients_to_mend_whatever_its_status() {
        for body in [
            r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***yz."}"#,
            r#"[{"error":{"code":400,"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
            r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            r#"{"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#,
            r#"{"error":{"code":400,"message":"User location is not supported for the API use without a billing account linked.","status":"FAILED_PRECONDITION"}}"#,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
        ] {
            let kind = read(ProviderKind::Openai, 400, ("x-none", ""), body);
            assert_eq!(kind, UpstreamRefusalKind::Credentials, "{body}");
        }
    }

    /// Upstreams repeat parts of the prompt in their errors.
    #[test]
    fn what_the_client_says_of_keys_and_money_is_not_the_upstreams_word() {
        let prompt = "x".repeat(COMPLAINT_CHARS);
        for (dialect, words) in [
            (ProviderKind::Openai, "API_KEY_INVALID"),
            (ProviderKind::Openai, "API key not valid"),
            (ProviderKind::Anthropic, "Your credit balance is too low"),
            (ProviderKind::Cohere, "1000 API calls / month"),
        ] {
            for error in [
                serde_json::json!({ "message": format!("wrong: {prompt} {words}"), "type": "invalid_request_error" }),
                serde_json::json!({ "message": "wrong", "type": "invalid_request_error", "input": words }),
            ] {
                let body = serde_json::json!({ "error": error }).to_string();
                let kind = read(dialect, 400, ("x-none", ""), &body);
                assert!(matches!(kind, UpstreamRefusalKind::Rejected(_)), "{kind:?} {body}");
                assert!(matches!(in_band(dialect, &body, true), UpstreamFault::Rejected(_)), "{body}");
            }
        }
    }

    #[test]
    fn aws_names_its_errors_in_a_header_or_in_the_body() {
        use UpstreamRefusalKind::{BadRequest, Credentials, OutOfMoney, RateLimited, Transient};
        let (limited, transient) = (RateLimited { retry_after: None }, Transient { retry_after: None });
        for (status, name, wanted) in [
            (429, "ThrottlingException", &limited),
            (400, "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/", &limited),
            (429, "ModelNotReadyException", &limited),
            (400, "ServiceQuotaExceededException:http://internal.amazon.com/", &OutOfMoney),
            (403, "AccessDeniedException", &Credentials),
            (400, "UnrecognizedClientException", &Credentials),
            (403, "UnrecognizedClientException", &Credentials),
            (400, "com.amazon.coral.service#ExpiredTokenException", &Credentials),
            (403, "InvalidSignatureException", &Credentials),
            (404, "ResourceNotFoundException", &BadRequest),
            (408, "ModelTimeoutException", &transient),
            (424, "ModelErrorException", &transient),
            (500, "InternalServerException", &transient),
            (503, "ServiceUnavailableException", &transient),
        ] {
            let kind = read(ProviderKind::Bedrock, status, ("x-amzn-errortype", name), r#"{"message":"m"}"#);
            assert_eq!(&kind, wanted, "{status} {name}");
            let body = format!(r#"{{"__type":"{name}","Message":"m"}}"#);
            assert_eq!(&read(ProviderKind::Bedrock, status, ("x-none", ""), &body), wanted, "{body}");
        }
        for body in [r#"{"message":"too long"}"#, r#"{"Message":"too long"}"#] {
            let name = "ValidationException:http://internal.amazon.com/";
            match read(ProviderKind::Bedrock, 400, ("x-amzn-errortype", name), body) {
                UpstreamRefusalKind::Rejected(words) => {
                    let words = words.redacted(&hub::Redactor::new([]));
                    assert_eq!(words.message.as_deref(), Some("too long"), "{body}");
                }
                kind => panic!("{kind:?}"),
            }
        }
    }

    #[test]
    fn an_error_inside_an_answer_is_the_clients_where_it_says_that_the_request_is_wrong() {
        use ProviderKind::{Anthropic, Openai};
        for (dialect, text, is_the_clients) in [
            (Openai, r#"{"error":{"code":400,"message":"too long","metadata":{}}}"#, true),
            (Openai, r#"{"error":{"code":"422","message":"m"}}"#, true),
            (Openai, r#"{"object":"error","message":"too long","code":400}"#, true),
            (Openai, r#"{"error":{"type":"invalid_request_error","code":"context_length_exceeded"}}"#, true),
            (Openai, r#"{"error":{"type":"invalid_request_error","code":"insufficient_quota"}}"#, false),
            (Openai, r#"{"error":{"type":"invalid_request_error","code":"invalid_api_key"}}"#, false),
            (Openai, r#"{"error":{"code":401,"type":"invalid_request_error"}}"#, false),
            (Openai, r#"{"error":{"code":502,"message":"m"}}"#, false),
            (Openai, r#"{"error":"text"}"#, false),
            (Anthropic, r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#, true),
            (Anthropic, r#"{"type":"error","error":{"type":"request_too_large","message":"m"}}"#, true),
            (Anthropic, r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, false),
            (
                Anthropic,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                false,
            ),
        ] {
            let fault = in_band(dialect, text, true);
            assert_eq!(matches!(fault, UpstreamFault::Rejected(_)), is_the_clients, "{text}: {fault:?}");
        }
    }

    #[test]
    fn coheres_limits_are_not_the_clients_and_denied_tokens_are() {
        use UpstreamRefusalKind::{Credentials, OutOfMoney, RateLimited, Transient};
        let text = |sentence: &str| format!(r#"{{"id":"x","message":"{sentence}"}}"#);
        let trial = "You are using a Trial key, which is limited to";
        for (status, body, wanted) in [
            (429, text(&format!("{trial} 20 API calls / minute. You can")), RateLimited { retry_after: None }),
            (429, text(&format!("{trial} 1000 API calls / month. You can")), OutOfMoney),
            (429, text("trial token rate limit exceeded"), RateLimited { retry_after: None }),
            (402, text("Please add or update your payment method"), OutOfMoney),
            (401, text("invalid api token"), Credentials),
            (499, text("request was cancelled"), Transient { retry_after: None }),
        ] {
            assert_eq!(read(ProviderKind::Cohere, status, ("x-none", ""), &body), wanted, "{body}");
        }
        for (status, sentence) in [(400, "too many tokens"), (422, "no"), (498, "denied token")] {
            match read(ProviderKind::Cohere, status, ("x-none", ""), &text(sentence)) {
                UpstreamRefusalKind::Rejected(words) => {
                    let words = words.redacted(&hub::Redactor::new([]));
                    assert_eq!(words.message.as_deref(), Some(sentence));
                }
                kind => panic!("{kind:?}"),
            }
        }
    }

    #[test]
    fn a_prompt_that_azure_blocks_is_the_clients_and_its_limits_are_not() {
        const BLOCKED: &str = r#"{"error":{"message":"The response was filtered due to the prompt triggering the policy","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}"#;
        let words = match read(ProviderKind::AzureOpenai, 400, ("x-none", ""), BLOCKED) {
            UpstreamRefusalKind::Rejected(words) => words.redacted(&hub::Redactor::new([])),
            kind => panic!("{kind:?}"),
        };
        assert_eq!((words.code.as_deref(), words.param.as_deref()), (Some("content_filter"), Some("prompt")));
        assert!(matches!(in_band(ProviderKind::AzureOpenai, BLOCKED, true), UpstreamFault::Rejected(_)));
        let limited = UpstreamRefusalKind::RateLimited { retry_after: Some(Duration::from_millis(6_543)) };
        for (status, body, wanted) in [
            (
                429,
                r#"{"error":{"code":"429","message":"Requests have exceeded the token rate limit"}}"#,
                limited.clone(),
            ),
            (429, r#"{"error":{"code":"RateLimitReached","message":"m"}}"#, limited),
            (429, r#"{"error":{"code":"insufficient_quota","message":"m"}}"#, UpstreamRefusalKind::OutOfMoney),
            (401, r#"{"error":{"code":"401","message":"invalid subscription key"}}"#, UpstreamRefusalKind::Credentials),
            (404, r#"{"error":{"code":"DeploymentNotFound","message":"m"}}"#, UpstreamRefusalKind::BadRequest),
        ] {
            assert_eq!(read(ProviderKind::AzureOpenai, status, ("retry-after-ms", "6543"), body), wanted, "{body}");
        }
    }

    /// Holds: http.upstream-rejected
    #[test]
    fn of_a_rejection_that_is_cut_off_the_beginning_is_told() {
        let long = "x".repeat(2 * REFUSAL_BYTES_MAX);
        for (body, wanted, code) in [
            (format!(r#"{{"error":{{"message":"too long {long}","code":"c"}}}}"#), "too long xxx", None),
            (format!(r#"{{"error":{{"code":"c","message":"too long","input":"{long}"}}}}"#), "too long", Some("c")),
            (format!(r#"{{"detail":[{{"loc":["body","n"],"msg":"wrong","input":["{long}"]}}]}}"#), "n: wrong", None),
            (format!(r#"[{{"error":{{"code":400,"message":"wrong {long}"}}}}]"#), "wrong xxx", None),
            (
                format!(r#"{{"message":"wrong \u00e9{}"}}"#, r"\ud83d\ude42".repeat(REFUSAL_BYTES_MAX / 8)),
                "wrong é🙂",
                None,
            ),
            (format!(r#"{{"message":"wrong","{long}":1}}"#), "wrong", None),
            (format!(r#"{{"message":"wrong","n":{}}}"#, "1".repeat(2 * REFUSAL_BYTES_MAX)), "wrong", None),
        ] {
            for cut in 0..12 {
                let cut = &body[..(REFUSAL_BYTES_MAX + cut).min(body.len())];
                let words = match read(ProviderKind::Openai, 400, ("x-none", ""), cut) {
                    UpstreamRefusalKind::Rejected(words) => words.redacted(&hub::Redactor::new([])),
                    kind => panic!("{kind:?}"),
                };
                let message = words.message.unwrap_or_default();
                assert!(message.starts_with(wanted), "{message:.100} of {cut:.60}");
                assert_eq!(words.code.as_deref(), code, "{cut:.60}");
            }
        }
    }

    #[test]
    fn a_model_that_bedrock_does_not_serve_is_not_the_clients_fault() {
        let kind = |status, message: &str| {
            let header = ("x-amzn-errortype", "ValidationException:http://internal.amazon.com/");
            read(ProviderKind::Bedrock, status, header, &serde_json::json!({ "message": message }).to_string())
        };
        for message in [
            "Invocation of model ID amazon.nova-2-lite-v1:0 with on-demand throughput isn\u{2019}t supported. Retry your \
             request with the ID or ARN of an inference profile that contains this model.",
            "The provided model doesn't support on-demand throughput.",
            "The provided model identifier is invalid.",
            "This action doesn't support the model that you provided. Try again with a supported text or chat model.",
            "Operation not allowed",
            "data retention mode 'default' is not available for this model",
        ] {
            assert_eq!(kind(400, message), UpstreamRefusalKind::BadRequest, "{message}");
            let capital = serde_json::json!({ "__type": "ValidationException", "Message": message }).to_string();
            let kind = read(ProviderKind::Bedrock, 400, ("x-none", ""), &capital);
            assert_eq!(kind, UpstreamRefusalKind::BadRequest, "{capital}");
        }
        for message in ["Input is too long for requested model.", "This model doesn't support tool use."] {
            assert!(matches!(kind(400, message), UpstreamRefusalKind::Rejected(_)), "{message}");
        }
    }

    #[test]
    fn statuses_say_whose_fault_it_is() {
        let kind = |status| read(ProviderKind::Openai, status, ("x-none", ""), "<html>");
        for status in [500, 502, 503, 504, 529, 408] {
            assert_eq!(kind(status), UpstreamRefusalKind::Transient { retry_after: None }, "{status}");
        }
        for status in [401, 403] {
            assert_eq!(kind(status), UpstreamRefusalKind::Credentials);
        }
        for status in [404, 405, 410, 415, 431] {
            assert_eq!(kind(status), UpstreamRefusalKind::BadRequest);
        }
        for status in [400, 413, 422] {
            assert!(matches!(kind(status), UpstreamRefusalKind::Rejected(_)), "{status}");
        }
        for status in [204, 301, 307] {
            assert_eq!(kind(status), UpstreamRefusalKind::Other);
        }
    }
}
