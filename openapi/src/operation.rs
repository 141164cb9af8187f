//! The description of one method of one path.

use events::event::admin::Permission;
use events::refusal::ErrorCode;
use http::StatusCode;
use serde_json::Value;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Deprecated, Ref, RefOr, Required, Response};

use crate::answer::{Answer, JSON};
use crate::deprecations::Deprecation;
use crate::entrance::Entrance;
use crate::refusals::{CommonResponses, NATIVE, Wording};
use crate::schema::{self, Shape};

/// Names of the security schemes: the ways to present a key.
pub const SECURITY: [&str; 2] = ["bearer", "x-api-key"];

/// Refusals that every request without a key can get.
const WITHOUT_A_KEY: &[ErrorCode] = &[ErrorCode::RequestHeaderFieldsTooLarge];
/// Refusals that every request with a key can get.
const WITH_A_KEY: &[ErrorCode] = &[
    ErrorCode::Unauthenticated,
    ErrorCode::Forbidden,
    ErrorCode::RequestHeaderFieldsTooLarge,
    ErrorCode::Internal,
    ErrorCode::LedgerUnavailable,
    ErrorCode::Draining,
    ErrorCode::LoopDetected,
];

/// The description of one method of one path.
#[must_use]
pub struct Operation {
    /// All but what follows from the entrance and from the fields below.
    built: OperationBuilder,
    description: Vec<String>,
    answers: Vec<(u16, Answer)>,
    refusals: Vec<ErrorCode>,
    wording: Wording,
    is_open: bool,
    schemas: Vec<(String, Shape)>,
}

impl Operation {
    /// `id` names the operation in generated clients: `list_budgets`. `tag` is the group in which it is listed.
    pub fn new(id: &str, tag: &str, summary: &str) -> Self {
        Self {
            built: OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary)),
            description: Vec::new(),
            answers: Vec::new(),
            refusals: Vec::new(),
            wording: NATIVE,
            is_open: false,
            schemas: Vec::new(),
        }
    }

    /// Adds sentences to the description.
    pub fn says(mut self, text: &str) -> Self {
        self.description.push(text.to_owned());
        self
    }

    /// Adds what follows from the entrance: the refusals, before the operation's own, and the headers of rate limits.
    pub(crate) fn behind(mut self, entrance: Entrance) -> Self {
        self.is_open = entrance == Entrance::Open;
        let common = if self.is_open { WITHOUT_A_KEY } else { WITH_A_KEY };
        self.refusals.splice(..0, common.iter().copied());
        if entrance == Entrance::Administration { self.limited() } else { self }
    }

    /// States the permission that the key needs.
    pub fn needs(self, permission: Permission) -> Self {
        self.says(&format!("Needs the permission `{}`.", permission.as_str()))
    }

    /// Sets the error format.
    pub fn worded(mut self, wording: Wording) -> Self {
        self.wording = wording;
        self
    }

    pub fn path(self, name: &str, shape: Shape, description: &str) -> Self {
        let parameter = parameter_in(name, ParameterIn::Path, shape, description).required(Required::True);
        self.parameter(parameter).refuses(&[ErrorCode::NotFound])
    }

    /// Adds an optional query parameter.
    pub fn query(self, name: &str, shape: Shape, description: &str) -> Self {
        let parameter = parameter_in(name, ParameterIn::Query, shape, description);
        self.parameter(parameter).refuses(&[ErrorCode::InvalidRequest])
    }

    /// Adds an optional query parameter of values separated by commas.
    pub fn query_list(self, name: &str, item: Shape, description: &str) -> Self {
        let list = parameter_in(name, ParameterIn::Query, schema::filled_list(item, None), description);
        let list = list.style(Some(ParameterStyle::Form)).explode(Some(false));
        self.parameter(list).refuses(&[ErrorCode::InvalidRequest])
    }

    /// Adds an optional header.
    pub fn header(self, name: &str, shape: Shape, description: &str) -> Self {
        self.parameter(parameter_in(name, ParameterIn::Header, shape, description))
    }

    fn parameter(self, parameter: ParameterBuilder) -> Self {
        Self { built: self.built.parameter(parameter), ..self }
    }

    /// Adds `min_position`, for reading your own writes.
    pub fn min_position(mut self) -> Self {
        self.refusals.extend([ErrorCode::ViewBehind, ErrorCode::ViewsOff]);
        let description = "Read your own writes: waits up to two seconds until the response reflects this log position; \
                           beyond the newest event it is a 400";
        self.query("min_position", schema::count(), description)
    }

    /// Adds `limit` and `cursor`.
    pub fn paged(self, limit_default: usize, limit_max: usize) -> Self {
        let max = u64::try_from(limit_max).unwrap_or(u64::MAX);
        let limit = schema::defaulting(schema::whole(1, max), limit_default.into());
        self.query("limit", limit, "Maximum number of items on a page").query(
            "cursor",
            schema::parameter(),
            "`next_cursor` of the previous page",
        )
    }

    /// Adds a JSON body with a working example.
    pub fn takes(self, shape: Shape, example: Value) -> Self {
        self.body(ContentBuilder::new().schema(Some(shape)).example(Some(example)), Required::True)
    }

    /// Adds an optional JSON body; absent means an empty object.
    pub fn may_take(self, shape: Shape) -> Self {
        self.body(ContentBuilder::new().schema(Some(shape)), Required::False)
    }

    fn body(mut self, content: ContentBuilder, required: Required) -> Self {
        let body = RequestBodyBuilder::new().content(JSON, content.build()).required(Some(required));
        self.built = self.built.request_body(Some(body.build()));
        self.refuses(&[
            ErrorCode::InvalidRequest,
            ErrorCode::PayloadTooLarge,
            ErrorCode::UnsupportedMediaType,
            ErrorCode::Overloaded,
        ])
    }

    pub fn answers(mut self, status: StatusCode, answer: Answer) -> Self {
        self.answers.push((status.as_u16(), answer));
        self
    }

    /// Adds codes to those that follow from parameters and body.
    pub fn refuses(mut self, codes: &[ErrorCode]) -> Self {
        self.refusals.extend(codes);
        self
    }

    /// Adds a schema that operations refer to by name.
    pub fn defines(mut self, name: &str, shape: Shape) -> Self {
        self.schemas.push((name.to_owned(), shape));
        self
    }

    /// Adds the refusal and the headers of rate limits.
    fn limited(mut self) -> Self {
        self.answers = self.answers.into_iter().map(|(status, answer)| (status, answer.limited())).collect();
        self.refuses(&[ErrorCode::RateLimited])
    }

    /// The operation for the document; schemas and responses that others use too go into `shared`.
    pub(crate) fn build(
        mut self,
        shared: &mut CommonResponses,
        deprecation: Option<&Deprecation>,
    ) -> utoipa::openapi::path::Operation {
        if let Some(Deprecation { sunset, .. }) = deprecation {
            self.description.push(format!("May be removed from {sunset} on."));
        }
        shared.schemas.append(&mut self.schemas.into_iter().collect());
        let mut built = self.built;
        if !self.description.is_empty() {
            built = built.description(Some(self.description.join(" ")));
        }
        if !self.is_open {
            let tenant = "The tenant that the request is for, if the key reaches several";
            built = built.parameter(parameter_in("x-tenant-id", ParameterIn::Header, schema::string(), tenant));
            for name in SECURITY {
                built = built.security(SecurityRequirement::new(name, Vec::<String>::new()));
            }
        }
        if deprecation.is_some() {
            built = built.deprecated(Some(Deprecated::True));
        }
        for (status, answer) in self.answers {
            built = built.response(status.to_string(), answer.response());
        }
        for (status, name) in shared.responses_for(self.wording, &self.refusals) {
            let response: RefOr<Response> = Ref::from_response_name(name).into();
            built = built.response(status.to_string(), response);
        }
        built.build()
    }
}

/// A parameter, optional unless the caller requires it.
fn parameter_in(name: &str, place: ParameterIn, shape: Shape, description: &str) -> ParameterBuilder {
    let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(Required::False);
    parameter.schema(Some(shape)).description(Some(description))
}
