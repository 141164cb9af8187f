use super::error_body::COMPLAINT_CHARS;
use super::*;

fn read(dialect: ProviderKind, status: u16, header: (&'static str, &'static str), body: &str) -> UpstreamRefusalKind {
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
                let words = words.redacted(&intermediate::Redactor::new([]));
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
                let words = words.redacted(&intermediate::Redactor::new([]));
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
        UpstreamRefusalKind::Rejected(words) => words.redacted(&intermediate::Redactor::new([])),
        kind => panic!("{kind:?}"),
    };
    assert_eq!((words.code.as_deref(), words.param.as_deref()), (Some("content_filter"), Some("prompt")));
    assert!(matches!(in_band(ProviderKind::AzureOpenai, BLOCKED, true), UpstreamFault::Rejected(_)));
    let limited = UpstreamRefusalKind::RateLimited { retry_after: Some(Duration::from_millis(6_543)) };
    for (status, body, wanted) in [
        (429, r#"{"error":{"code":"429","message":"Requests have exceeded the token rate limit"}}"#, limited.clone()),
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
                UpstreamRefusalKind::Rejected(words) => words.redacted(&intermediate::Redactor::new([])),
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

#[test]
fn a_key_that_is_not_valid_is_told_from_one_that_lacks_a_permission() {
    use KeyBlame::{ByWords, Certain, Likely, None};
    let key_blame = |dialect, status, body: &str| {
        read_refusal(dialect, status, &HeaderMap::new(), body.as_bytes(), DateTime::UNIX_EPOCH).key_blame
    };
    for (dialect, status, body, wanted) in [
        (ProviderKind::Openai, 401, "", Certain),
        (ProviderKind::Openai, 401, " \n", Certain),
        (ProviderKind::Openai, 401, r#"{"error":{"code":"invalid_api_key"}}"#, Certain),
        (
            ProviderKind::Openai,
            401,
            r#"{"error":{"type":"invalid_request_error","code":"account_deactivated"}}"#,
            Certain,
        ),
        (
            ProviderKind::Anthropic,
            401,
            r#"{"error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            Certain,
        ),
        (ProviderKind::Openai, 401, r#"{"error":{"message":"User not found.","code":401}}"#, Likely),
        (ProviderKind::Openai, 401, r#"{"detail":"Unauthorized"}"#, Likely),
        (ProviderKind::Openai, 401, "<html>", Likely),
        (
            ProviderKind::Openai,
            401,
            r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: model.request.","type":"invalid_request_error","param":null,"code":null}}"#,
            None,
        ),
        (
            ProviderKind::Openai,
            401,
            r#"{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}"#,
            None,
        ),
        (
            ProviderKind::Openai,
            401,
            r#"{"error":{"message":"Incorrect API key: missing scopes","code":"invalid_api_key"}}"#,
            Certain,
        ),
        (ProviderKind::Openai, 403, r#"{"error":{"code":"invalid_api_key"}}"#, Likely),
        (ProviderKind::Openai, 403, r#"{"error":{"code":"model_not_found","message":"no access to the model"}}"#, None),
        (ProviderKind::Openai, 403, "<html>", None),
        (ProviderKind::Openai, 400, r#"{"error":{"code":"invalid_api_key"}}"#, Likely),
        (ProviderKind::Openai, 400, r#"{"error":"Incorrect API key provided: xa***yz."}"#, ByWords),
        (ProviderKind::Openai, 403, r#"{"error":{"message":"Invalid API key"}}"#, ByWords),
        (ProviderKind::Openai, 403, r#"{"error":{"code":"permission_error","message":"Invalid API key"}}"#, None),
        (ProviderKind::Openai, 401, r#"{"error":{"message":"Invalid API key"}}"#, Likely),
        (ProviderKind::Anthropic, 403, r#"{"error":{"type":"permission_error","message":"no"}}"#, None),
        (ProviderKind::Gemini, 400, r#"{"error":{"code":400,"details":[{"reason":"API_KEY_INVALID"}]}}"#, Likely),
        (
            ProviderKind::Gemini,
            403,
            r#"{"error":{"code":403,"message":"Your API key was reported as leaked. Please use another API key.","status":"PERMISSION_DENIED"}}"#,
            None,
        ),
        (ProviderKind::Gemini, 400, r#"{"error":{"code":400,"status":"FAILED_PRECONDITION"}}"#, None),
        (ProviderKind::Bedrock, 403, r#"{"__type":"UnrecognizedClientException"}"#, Likely),
        (ProviderKind::Bedrock, 403, r#"{"__type":"InvalidSignatureException"}"#, None),
        (ProviderKind::Bedrock, 403, r#"{"__type":"AccessDeniedException","message":"no access to the model"}"#, None),
        (
            ProviderKind::Bedrock,
            403,
            r#"{"Message":"Authentication failed: Please make sure your API Key is valid."}"#,
            None,
        ),
    ] {
        assert_eq!(key_blame(dialect, status, body), wanted, "{status} {body}");
    }
}

#[test]
fn a_request_that_is_larger_than_a_limit_says_nothing_of_what_is_left() {
    const TOO_LARGE: &str = "Request too large for gpt-4o on tokens per min (TPM): Limit 30,000, Requested 50000. The input must be reduced.";
    const OVER: &str = "tokens per minute: limit 6000 tokens, requested 7000";
    const FITS: &str =
        "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.";
    for (message, header, blames_key) in [
        (TOO_LARGE, ("x-none", ""), false),
        (OVER, ("x-none", ""), false),
        (TOO_LARGE, ("retry-after", "0"), false),
        (TOO_LARGE, ("retry-after", "7"), true),
        (TOO_LARGE, ("x-ratelimit-remaining-tokens", "29000"), false),
        (TOO_LARGE, ("x-ratelimit-remaining-tokens", "0"), true),
        (OVER, ("anthropic-ratelimit-input-tokens-remaining", "0"), true),
        (FITS, ("x-none", ""), true),
        ("Requested 9", ("x-none", ""), true),
        ("slow down", ("x-none", ""), true),
    ] {
        let headers =
            HeaderMap::from_iter([(http::HeaderName::from_static(header.0), http::HeaderValue::from_static(header.1))]);
        let body = serde_json::json!({ "error": { "message": message, "code": "rate_limit_exceeded" } }).to_string();
        let refusal = read_refusal(ProviderKind::Openai, 429, &headers, body.as_bytes(), DateTime::UNIX_EPOCH);
        assert!(matches!(refusal.kind, UpstreamRefusalKind::RateLimited { .. }), "{message}");
        assert_eq!(refusal.key_blame == KeyBlame::Likely, blames_key, "{message} {header:?}");
    }
}

#[test]
fn a_wait_in_a_request_that_an_error_repeats_is_none() {
    let body = r#"{"error":{"code":429,"message":"m","input":{"retryDelay":"3600s"}}}"#;
    let kind = read(ProviderKind::Openai, 429, ("x-none", ""), body);
    assert_eq!(kind, UpstreamRefusalKind::RateLimited { retry_after: None });
}

/// Upstreams repeat a field of the client in the first words of a message.
#[test]
fn a_sentence_sends_a_request_on_and_blames_the_key_by_words_alone() {
    use KeyBlame::{ByWords, Likely, None};
    use UpstreamRefusalKind::{Credentials, OutOfMoney};
    let of_request = |message: &str| serde_json::json!({ "error": { "message": message, "code": null } }).to_string();
    let too_expensive = "This request requires more credits, or fewer max_tokens. You requested up to 9000 tokens, but can \
                         only afford 12.";
    for (dialect, status, body, kind, wanted) in [
        (ProviderKind::Openai, 400, of_request("Invalid value: 'invalid api key'"), Credentials, ByWords),
        (ProviderKind::Gemini, 400, of_request("Unknown name 'API key not valid'"), Credentials, ByWords),
        (ProviderKind::Anthropic, 400, of_request("bad: 'credit balance is too low'"), OutOfMoney, ByWords),
        (ProviderKind::Gemini, 400, of_request("bad: 'credits are depleted'"), OutOfMoney, ByWords),
        (ProviderKind::Cohere, 429, of_request("limited to 1000 API calls / month"), OutOfMoney, ByWords),
        (
            ProviderKind::Anthropic,
            402,
            of_request("credit balance is too low: you can only afford 12 tokens"),
            OutOfMoney,
            None,
        ),
        (ProviderKind::Anthropic, 402, of_request("credit balance is too low"), OutOfMoney, Likely),
        (ProviderKind::Openai, 402, of_request(too_expensive), OutOfMoney, None),
        (
            ProviderKind::Openai,
            402,
            serde_json::json!({ "error": { "message": too_expensive, "type": "payment_required" } }).to_string(),
            OutOfMoney,
            None,
        ),
        (
            ProviderKind::Openai,
            402,
            serde_json::json!({ "error": { "message": too_expensive, "code": "insufficient_credits" } }).to_string(),
            OutOfMoney,
            Likely,
        ),
        (ProviderKind::Openai, 402, String::new(), OutOfMoney, Likely),
        (ProviderKind::Openai, 402, of_request("Insufficient credits"), OutOfMoney, Likely),
        (ProviderKind::Openai, 429, r#"{"error":{"code":"insufficient_quota"}}"#.to_owned(), OutOfMoney, Likely),
        (
            ProviderKind::Openai,
            400,
            r#"{"error":{"code":"billing_hard_limit_reached"}}"#.to_owned(),
            OutOfMoney,
            Likely,
        ),
        (ProviderKind::Anthropic, 400, r#"{"error":{"type":"billing_error"}}"#.to_owned(), OutOfMoney, Likely),
        (
            ProviderKind::Bedrock,
            400,
            r#"{"__type":"ServiceQuotaExceededException","message":"m"}"#.to_owned(),
            OutOfMoney,
            None,
        ),
    ] {
        let refusal = read_refusal(dialect, status, &HeaderMap::new(), body.as_bytes(), DateTime::UNIX_EPOCH);
        assert_eq!((refusal.kind, refusal.key_blame), (kind, wanted), "{status} {body}");
    }
}
