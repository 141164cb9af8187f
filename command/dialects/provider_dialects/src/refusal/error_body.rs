//! The body of an upstream's error: the codes and sentences in it, and what they blame.

use http::HeaderMap;
use intermediate::json;

use crate::{ProviderKind, of};

/// Details of an error that are read. Google's errors have at most a few.
const DETAILS_MAX: usize = 16;
/// Longest error code that is read. Known codes are far shorter.
const WORD_BYTES_MAX: usize = 256;
/// AWS's name of an error: `ThrottlingException:http://internal.amazon.com/…`.
const ERROR_TYPE_HEADER: &str = "x-amzn-errortype";
/// Characters of a message that are searched for a complaint about the key or the account. What follows may repeat the
/// prompt.
pub(super) const COMPLAINT_CHARS: usize = 120;

/// An error body and the codes in it. Its messages are read only where a provider has no code.
pub(super) struct ErrorBody<'a> {
    pub(super) body: &'a str,
    /// The object in `error`, or else the body itself.
    pub(super) error: &'a str,
    /// `code` and `status`, which may be numbers.
    codes: [Option<&'a str>; 2],
    /// `message` and `error`, which may be sentences.
    messages: [Option<&'a str>; 2],
    words: Vec<String>,
    details: &'a str,
    pub(super) text: &'a str,
}

impl<'a> ErrorBody<'a> {
    pub(super) fn of(text: &'a str) -> Self {
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
        let details = details.unwrap_or_default();
        let detail_codes = codes_of(details);
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
            details,
            text,
        }
    }

    /// Adds the name that AWS gives in a header.
    pub(super) fn add_aws_type(&mut self, headers: &HeaderMap) {
        let name = headers.get(ERROR_TYPE_HEADER).and_then(|value| aws_name(value.to_str().ok()?));
        self.words.extend(name.map(str::to_owned));
    }

    /// True if a status in the error, or else a type of OpenAI's or Anthropic's, blames the request.
    pub(super) fn is_rejection(&self) -> bool {
        let status = self.codes.into_iter().flatten();
        let mut status = status.filter_map(|value| json::integer(value).or_else(|| json::string(value)?.parse().ok()));
        match status.next() {
            Some(status) => matches!(status, 400 | 413 | 422),
            None => self.words.iter().any(|word| matches!(&**word, "invalid_request_error" | "request_too_large")),
        }
    }

    /// True for AWS's names of too many requests, which some of its services answer with 400.
    pub(super) fn is_throttling(&self) -> bool {
        self.words.iter().any(|word| matches!(&**word, "ThrottlingException" | "TooManyRequestsException"))
    }

    /// True if the error blames the key. Gemini, xAI, AWS and some proxies answer a wrong key with 400.
    pub(super) fn is_about_credentials(&self) -> bool {
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
        self.words.iter().any(|word| CODES.contains(&&**word)) || self.has_sentence_of_wrong_key()
    }

    /// True if a message begins by saying that the key is not valid. An upstream may repeat there what the client has sent.
    pub(super) fn has_sentence_of_wrong_key(&self) -> bool {
        self.complains(&["incorrect api key", "invalid api key", "api key not valid", "api key is invalid"])
    }

    /// True if a code says that the key itself is not valid: not if it lacks a permission, or its signature is wrong.
    pub(super) fn has_code_of_wrong_key(&self) -> bool {
        const CODES: [&str; 8] = [
            "API_KEY_INVALID",
            "account_deactivated",
            "authentication_error",
            "invalid_api_key",
            "invalid_authentication",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
        ];
        self.words.iter().any(|word| CODES.contains(&&**word))
    }

    /// True if the key is valid and lacks a permission, by a code or by the first words of a message.
    pub(super) fn is_about_permission(&self) -> bool {
        const CODES: [&str; 7] = [
            "AccessDeniedException", "PERMISSION_DENIED", "PermissionDenied", "insufficient_permissions",
            "insufficient_scope", "missing_scope", "permission_error",
        ];
        const COMPLAINTS: [&str; 4] =
            ["insufficient permission", "missing scope", "insufficient scope", "does not have permission"];
        self.words.iter().any(|word| CODES.contains(&&**word)) || self.complains(&COMPLAINTS)
    }

    /// True if the response has no body.
    pub(super) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// True if a code says that the account has no money left.
    pub(super) fn has_code_of_empty_account(&self) -> bool {
        // A request may also cost more than is left, or be one more than AWS allows.
        const OF_REQUESTS: [&str; 2] = ["payment_required", "ServiceQuotaExceededException"];
        self.words.iter().any(|word| is_out_of_money(word) && !OF_REQUESTS.contains(&&**word))
    }

    /// True if this one request costs more than is left, in OpenRouter's words: a smaller one may be served.
    pub(super) fn is_about_price_of_request(&self) -> bool {
        const WORDS: [&str; 2] = ["fewer max_tokens", "can only afford"];
        let text = self.text.to_ascii_lowercase();
        WORDS.iter().any(|words| text.contains(words))
    }

    /// Google's `retryDelay`. It is looked for in the details alone, because the rest may repeat the request.
    pub(super) fn retry_delay(&self) -> Option<String> {
        let mut details = json::elements_if_array(self.details).take(DETAILS_MAX);
        details.find_map(|detail| Some(json::string(json::field(detail, "retryDelay")?)?.into_owned()))
    }

    /// True if this one request is larger than a limit, so that it fails however much is left: OpenAI's and Groq's `Request
    /// too large …: Limit 6000, Requested 7000`.
    pub(super) fn is_about_size_of_request(&self) -> bool {
        self.has_message(|message| {
            let message = message.to_ascii_lowercase();
            let number = |word| number_after(&message, word);
            message.contains("request too large") || number("requested") > number("limit").or(Some(u64::MAX))
        })
    }

    /// True if a message begins with such a complaint.
    fn complains(&self, complaints: &[&str]) -> bool {
        self.has_message(|message| {
            let start = start(message).to_ascii_lowercase();
            complaints.iter().any(|words| start.contains(words))
        })
    }

    pub(super) fn has_message(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.messages.into_iter().flatten().filter_map(json::string).any(|message| is_it(&message))
    }

    pub(super) fn is_out_of_money(&self, kind: ProviderKind) -> bool {
        self.words.iter().any(|word| is_out_of_money(word)) || self.has_sentence_of_empty_account(kind)
    }

    /// True if a message begins with the provider's sentence for an account without money. It may repeat what the client has
    /// sent.
    pub(super) fn has_sentence_of_empty_account(&self, kind: ProviderKind) -> bool {
        let sentence = of(kind).out_of_money_sentence;
        sentence.is_some_and(|sentence| self.has_message(|text| start(text).contains(sentence)))
    }
}

/// The number that follows the first such word that one follows: `limit: 10,000`, `limit 10000`.
fn number_after(message: &str, word: &str) -> Option<u64> {
    message.split(word).skip(1).find_map(|rest| {
        let rest = rest.trim_start_matches([' ', ':', '=']);
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(rest.len());
        rest.get(..end)?.replace(',', "").parse().ok()
    })
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
