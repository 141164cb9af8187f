//! Refusals over HTTP: the status of every code, its native body, and the schema of its details.

use std::collections::BTreeMap;

use events::abilities::Ability;
use events::event::admin::NarrowedScope;
use events::event::inference::ShareHolder;
use events::limit::LimitReached;
use events::refusal::{CONTEXT_LENGTH_EXCEEDED, ErrorCode, Refusal};
use events::terms::{RequiredBy, Term};
use http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Response};

use crate::answer::Answer;
use crate::headers;
use crate::schema::{self, Fields, Shape, object};

/// The one table of codes and statuses. Without a wildcard, so that a new code has to choose; `docs/errors.md` has the same.
pub const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::UpstreamRejected => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::ModelNotAllowed | ErrorCode::TermsNotMet => StatusCode::FORBIDDEN,
        ErrorCode::NotFound | ErrorCode::ModelNotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Conflict | ErrorCode::IdempotencyKeyReused | ErrorCode::LegalHold => StatusCode::CONFLICT,
        ErrorCode::ContentGone => StatusCode::GONE,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::TenantNotServed | ErrorCode::ViewsOff => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::ModelUnpriced => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::BudgetExceeded | ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::RequestHeaderFieldsTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::UpstreamError => StatusCode::BAD_GATEWAY,
        ErrorCode::LedgerUnavailable
        | ErrorCode::LimitsUnavailable
        | ErrorCode::PublishedLogUnavailable
        | ErrorCode::ContentUnavailable
        | ErrorCode::ViewBehind
        | ErrorCode::QueryTimeout
        | ErrorCode::AllProvidersUnavailable
        | ErrorCode::Overloaded
        | ErrorCode::Draining => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::LoopDetected => StatusCode::LOOP_DETECTED,
    }
}

/// A response with the refusal's status and without a body. The refusal is an extension: the door writes it in the format of the
/// client's surface.
pub fn response(refusal: Refusal) -> axum::response::Response {
    let mut response = axum::response::Response::default();
    *response.status_mut() = status(refusal.code);
    response.extensions_mut().insert(refusal);
    response
}

/// The same for a caller that is refused for want of room, with the limit that was reached if it is one of the caller's own.
pub fn response_at_limit(refusal: Refusal, limit_reached: Option<LimitReached>) -> axum::response::Response {
    let mut response = response(refusal);
    if let Some(limit_reached) = limit_reached {
        response.extensions_mut().insert(limit_reached);
    }
    response
}

/// The native body: `{"error":{"code","message","details","request_id"}}`.
pub fn native_body(refusal: &Refusal, request_id: &str) -> Value {
    json!({ "error": {
        "code": refusal.code.as_str(), "message": refusal.message, "details": refusal.details, "request_id": request_id,
    } })
}

/// The error format of a surface: its name in the document, and the schema of its body for each code.
#[derive(Clone, Copy)]
pub struct Wording {
    pub name: &'static str,
    pub body: fn(ErrorCode) -> Shape,
    /// True if a body says its code, so that it has the schema of one code alone.
    pub has_code: bool,
}

/// The schema of [`native_body`].
pub const NATIVE: Wording = Wording { name: "Error", body: native, has_code: true };

fn native(code: ErrorCode) -> Shape {
    let error = object()
        .required("code", schema::one_of([code.as_str()]))
        .required_as("message", schema::string(), "A human-readable explanation")
        .required("details", details(code))
        .required("request_id", schema::id("req_"));
    object().required("error", error.open()).open()
}

/// The schema of the code's `details`; fields that can be absent are optional.
pub fn details(code: ErrorCode) -> Shape {
    let text = schema::string;
    let fields = match code {
        ErrorCode::InvalidRequest => {
            let fields = object().required("field", text()).required("reason", text());
            // `matches` and `ids`: a name that several have. `position`: the head of the log, for a `min_position` beyond it.
            let fields = fields.optional("matches", schema::count()).optional("ids", schema::list(text(), None));
            let fields = fields.optional("position", schema::count());
            // Of a prompt that is longer than the context windows of its model's targets, and of a request that needs what they lack.
            let fields = fields.optional("condition", schema::one_of([CONTEXT_LENGTH_EXCEEDED]));
            let fields = fields.optional("context_window", schema::count());
            fields.optional("ability", schema::list(schema::one_of(Ability::words()), None))
        }
        ErrorCode::Forbidden => object().optional("permission", text()),
        ErrorCode::ModelNotAllowed => object().optional("model", text()),
        ErrorCode::ModelNotFound => {
            let stands_for = "The model that it stands for, of an alias of one that is retired or not there";
            object()
                .optional("model", text())
                .optional("retired_at", schema::time())
                .optional_as("successor", text(), "The model to use instead of a retired one")
                .optional_as("stands_for", text(), stands_for)
        }
        ErrorCode::TermsNotMet => {
            let required = schema::either([text(), schema::boolean()]);
            let fields = object().required("model", text()).required("term", schema::one_of(Term::words()));
            let required = schema::described(required, "What is required of the term");
            fields.required("required", required).required("required_by", schema::one_of(RequiredBy::words()))
        }
        ErrorCode::ModelUnpriced => {
            object().optional("model", text()).optional("field", text()).optional("reason", text())
        }
        ErrorCode::Conflict => {
            let expires_at = "When the hold of that request expires, if the process that served it has ended";
            let fields = object().optional("field", text()).optional("request_id", first_request("is still in flight"));
            let fields = fields.optional_as("expires_at", schema::time(), expires_at);
            let bound = "The bound that was reached, of what a tenant, a partner or an owner of budgets and rate limits may have";
            let fields = fields.optional_as("bound", text(), bound).optional("owner", scope());
            fields.optional("limit", schema::count()).optional("used", schema::count())
        }
        ErrorCode::IdempotencyKeyReused => {
            let charged = schema::described(
                schema::money(),
                "What that request was charged; absent if the key was used for a different request",
            );
            object().optional("request_id", first_request("came first")).optional("cost_usd", charged)
        }
        ErrorCode::NotFound => {
            let supported = schema::described(schema::list(text(), None), "What to use instead of an unsupported path");
            object().optional("field", text()).optional("supported", supported)
        }
        ErrorCode::MethodNotAllowed => object().optional("allowed", schema::list(text(), None)),
        ErrorCode::BudgetExceeded => budget(),
        ErrorCode::RateLimited => rate_limit(),
        ErrorCode::LimitsUnavailable => object().optional("limit_id", text()),
        ErrorCode::UpstreamError => {
            let said = object().optional("reason", text()).optional("upstream_status", schema::count());
            said.optional_as("provider", text(), "The name of the provider that failed")
        }
        ErrorCode::LoopDetected => object().optional("reason", text()).optional("upstream_status", schema::count()),
        ErrorCode::LedgerUnavailable => {
            let whether = "Whether the request or the change was recorded";
            object().optional_as("recorded", schema::one_of(["no", "unknown", "yes"]), whether)
        }
        ErrorCode::UpstreamRejected => {
            let how = schema::described(
                schema::one_of(["status", "in_band_error"]),
                "How the upstream reported the rejection",
            );
            let said = object().required("reason", how).optional("upstream_status", schema::count());
            let said = said.optional("upstream_code", text()).optional("upstream_param", text());
            said.optional_as("field", text(), "The request's own name for that parameter, if it has another one")
        }
        ErrorCode::ViewBehind => {
            let positions = object().optional("view", text()).optional("position", schema::count());
            positions.optional("min_position", schema::count()).optional("rebuilding", schema::boolean())
        }
        ErrorCode::ContentGone => object().required("reason", schema::one_of(["erased", "expired"])),
        ErrorCode::LegalHold => object().required("tenant_id", schema::id("ten_")),
        ErrorCode::AllProvidersUnavailable => {
            let until = "When what could serve the request comes back from maintenance";
            object().optional("model", text()).optional_as("maintenance_until", schema::time(), until)
        }
        ErrorCode::Overloaded => {
            object().required("scope", schema::one_of(["key", "tenant", "provider", "address", "gateway", "target"]))
        }
        ErrorCode::UnsupportedMediaType => object().optional_as(
            "accept_encoding",
            text(),
            "The codings of bodies that are decoded, where that of the body is not",
        ),
        ErrorCode::Unauthenticated
        | ErrorCode::PayloadTooLarge
        | ErrorCode::RequestHeaderFieldsTooLarge
        | ErrorCode::Internal
        | ErrorCode::QueryTimeout
        | ErrorCode::Draining
        | ErrorCode::UpstreamTimeout
        | ErrorCode::TenantNotServed
        | ErrorCode::ViewsOff
        | ErrorCode::ContentUnavailable
        | ErrorCode::PublishedLogUnavailable => object(),
    };
    fields.open()
}

/// The id of the first inference request with an `Idempotency-Key`.
fn first_request(what: &str) -> Shape {
    schema::described(schema::id("req_"), &format!("The request with this Idempotency-Key that {what}"))
}

fn budget() -> Fields {
    let cap = "An output cap with which the request would be admitted, also if its body gets longer by naming the cap; a \
               slightly higher one may be admitted as well. Absent if there is none";
    let share = object()
        .required("of", schema::one_of_names(ShareHolder::NAMED))
        .required_as("fraction", schema::string(), "The part of what is not settled that it may hold")
        .required_as("held_usd", schema::money(), "What its other requests hold");
    let of_share = "Present if the budget has enough left, but not the share of it that the key or the tenant may hold";
    let of_others = "Present if a provider of the tenant's own may serve it: the most that it can cost at the others, which is what it would \
                     have held of budgets above its tenant";
    object()
        .required("budget_id", schema::id("bud_"))
        .required("scope", scope())
        .required_each(["limit_usd", "settled_usd", "held_usd", "requested_usd"], schema::money())
        .required("resets_at", schema::nullable(schema::time()))
        .optional("remaining_usd", schema::money())
        .optional_as("share", share.closed(), of_share)
        .optional_as("brokered_usd", schema::money(), of_others)
        .optional_as("affordable_max_output_tokens", schema::count(), cap)
}

/// The details of a rate limit; an upstream's limit has none of them.
fn rate_limit() -> Fields {
    let operator = object().required("key_id", schema::one_of(["operator"])).closed();
    let of_all = "Null if the request needs more than the whole limit";
    object()
        .optional_as("limit_id", schema::string(), "`lim_…`, `default`, `admin_default` or `built_in`")
        .optional("scope", schema::either([scope(), operator]))
        .optional("measure", schema::string())
        .optional("limit", schema::count())
        .optional("requested", schema::count())
        .optional_as("retry_after", schema::nullable(schema::count()), of_all)
        .optional("resets_at", schema::nullable(schema::time()))
        .optional_as(
            "affordable_max_output_tokens",
            schema::count(),
            "Of a request that needs more tokens than the whole limit: an output cap that fits",
        )
}

/// The owner that a budget or a rate limit binds, and conditions that narrow it.
pub fn scope() -> Shape {
    let model = "Only requests for the model of this name, by that name or by an alias of it";
    let conditions =
        "Exactly one of the ids. A member `metadata.NAME` binds only requests with that value of that name";
    let fields = object().optional("partner_id", schema::id("par_")).optional("tenant_id", schema::id("ten_"));
    let fields = fields
        .optional("team_id", schema::id("tea_"))
        .optional("user_id", schema::id("usr_"))
        .optional("key_id", schema::id("key_"));
    let fields = fields.optional_as("model", schema::string(), model);
    schema::described(fields.filled_with_others(schema::string(), NarrowedScope::MEMBERS_MAX), conditions)
}

/// Schemas and responses that operations refer to.
#[derive(Default)]
pub struct CommonResponses {
    pub schemas: BTreeMap<String, Shape>,
    pub responses: BTreeMap<String, RefOr<Response>>,
}

impl CommonResponses {
    /// The statuses of these codes, each with the name of a response that lists its codes.
    pub fn responses_for(&mut self, wording: Wording, codes: &[ErrorCode]) -> BTreeMap<u16, String> {
        let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
        for code in ErrorCode::ALL.iter().filter(|code| codes.contains(code)) {
            by_status.entry(status(*code).as_u16()).or_default().push(*code);
        }
        by_status.into_iter().map(|(status, codes)| (status, self.response(wording, &codes))).collect()
    }

    fn response(&mut self, wording: Wording, codes: &[ErrorCode]) -> String {
        let words: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        let name = format!("{}.{}", wording.name, words.join("."));
        let mut forms: Vec<Shape> = codes.iter().map(|code| self.body(wording, *code)).collect();
        let body = match forms.len() {
            1 => forms.remove(0),
            _ if wording.has_code => schema::either(forms),
            _ => schema::any_of(forms),
        };
        let has_status = |wanted: [u16; 2]| codes.iter().any(|code| wanted.contains(&status(*code).as_u16()));
        let mut answer = Answer::json(&words.join(" or "), body).recorded();
        if has_status([429, 503]) {
            answer = answer.with_header(headers::RETRY_AFTER);
        }
        if has_status([429, 502]) {
            answer = answer.with_header(headers::SHOULD_RETRY).limited();
        }
        self.responses.insert(name.clone(), answer.response().into());
        name
    }

    fn body(&mut self, wording: Wording, code: ErrorCode) -> Shape {
        let name = format!("{}.{}", wording.name, code.as_str());
        self.schemas.insert(name.clone(), (wording.body)(code));
        schema::reference(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: http.error-codes
    #[test]
    fn the_errors_page_names_every_code_with_its_status_and_no_other() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let page = std::fs::read_to_string(page).expect("docs/errors.md");
        let mut named: Vec<(String, u16)> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let (status, code) = (cells.next()?.parse().ok()?, cells.next()?);
                Some((code.trim_matches('`').to_owned(), status))
            })
            .collect();
        let mut known: Vec<(String, u16)> =
            ErrorCode::ALL.iter().map(|code| (code.as_str().to_owned(), status(*code).as_u16())).collect();
        named.sort();
        known.sort();
        assert_eq!(named, known);
    }
}
