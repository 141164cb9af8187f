//! The description of one method of one path.

use events::event::admin::Permission;
use events::refusal::ErrorCode;
use http::StatusCode;
use serde_json::Value;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, ContentBuilder, Deprecated, Ref, RefOr, Required, Response, ResponseBuilder};

use crate::deprecations::Deprecation;
use crate::entrance::Entrance;
use crate::headers::{self, HeaderSpec};
use crate::refusals::{CommonResponses, NATIVE, Wording};
use crate::schema::{self, Shape};

pub const JSON: &str = "application/json";
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
];

/// The description of one method of one path.
#[must_use]
pub struct Operation {
    id: String,
    tag: String,
    summary: String,
    description: Vec<String>,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<(u16, Answer)>,
    refusals: Vec<ErrorCode>,
    wording: Wording,
    is_open: bool,
    schemas: Vec<(String, Shape)>,
}

struct Body {
    shape: Shape,
    example: Option<Value>,
    required: bool,
}

/// A successful response.
#[must_use]
pub struct Answer {
    description: String,
    contents: Vec<(String, Content)>,
    headers: Vec<HeaderSpec>,
}

impl Answer {
    pub fn json(description: &str, shape: Shape) -> Self {
        Self::of(description, JSON, shape)
    }

    pub fn of(description: &str, media: &str, shape: Shape) -> Self {
        let contents = vec![(media.to_owned(), Content::new(Some(shape)))];
        Self { description: description.to_owned(), contents, headers: vec![headers::REQUEST_ID] }
    }

    /// Adds another media type.
    pub fn or(mut self, media: &str, shape: Shape) -> Self {
        self.contents.push((media.to_owned(), Content::new(Some(shape))));
        self
    }

    /// Adds the header of what was recorded.
    pub fn recorded(self) -> Self {
        self.with_header(headers::POSITION)
    }

    /// Adds the headers of rate limits.
    pub fn limited(self) -> Self {
        headers::RATE_LIMIT.into_iter().fold(self, Self::with_header)
    }

    pub fn with_header(mut self, header: HeaderSpec) -> Self {
        self.headers.push(header);
        self
    }

    fn response(self) -> Response {
        let response = ResponseBuilder::new().description(self.description);
        let response =
            self.contents.into_iter().fold(response, |response, (media, content)| response.content(media, content));
        let headers = self.headers.into_iter().map(headers::header);
        headers.fold(response, |response, (name, header)| response.header(name, header)).build()
    }
}

impl Operation {
    /// `id` names the operation in generated clients: `list_budgets`. `tag` is the group in which it is listed.
    pub fn new(id: &str, tag: &str, summary: &str) -> Self {
        Self {
            id: id.to_owned(),
            tag: tag.to_owned(),
            summary: summary.to_owned(),
            description: Vec::new(),
            parameters: Vec::new(),
            body: None,
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

    pub fn path(mut self, name: &str, shape: Shape, description: &str) -> Self {
        self.refusals.push(ErrorCode::NotFound);
        self.parameter(name, ParameterIn::Path, shape, description)
    }

    /// Adds an optional query parameter.
    pub fn query(mut self, name: &str, shape: Shape, description: &str) -> Self {
        self.refusals.push(ErrorCode::InvalidRequest);
        self.parameter(name, ParameterIn::Query, shape, description)
    }

    /// Adds an optional query parameter of values separated by commas.
    pub fn query_list(self, name: &str, item: Shape, description: &str) -> Self {
        let mut operation = self.query(name, schema::filled_list(item, None), description);
        if let Some(parameter) = operation.parameters.last_mut() {
            parameter.style = Some(ParameterStyle::Form);
            parameter.explode = Some(false);
        }
        operation
    }

    /// Adds an optional header.
    pub fn header(self, name: &str, shape: Shape, description: &str) -> Self {
        self.parameter(name, ParameterIn::Header, shape, description)
    }

    fn parameter(mut self, name: &str, place: ParameterIn, shape: Shape, description: &str) -> Self {
        let required = if place == ParameterIn::Path { Required::True } else { Required::False };
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        self.parameters.push(parameter.schema(Some(shape)).description(Some(description)).build());
        self
    }

    /// Adds `min_position`, for reading your own writes.
    pub fn min_position(mut self) -> Self {
        self.refusals.push(ErrorCode::ViewBehind);
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
        self.with_body(Body { shape, example: Some(example), required: true })
    }

    /// Adds an optional JSON body; absent means an empty object.
    pub fn may_take(self, shape: Shape) -> Self {
        self.with_body(Body { shape, example: None, required: false })
    }

    fn with_body(mut self, body: Body) -> Self {
        self.body = Some(body);
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
        let mut built = OperationBuilder::new().operation_id(Some(self.id)).tag(self.tag).summary(Some(self.summary));
        if !self.description.is_empty() {
            built = built.description(Some(self.description.join(" ")));
        }
        if !self.is_open {
            let tenant = "The tenant that the request is for, if the key reaches several";
            let header = ParameterBuilder::new().name("x-tenant-id").parameter_in(ParameterIn::Header);
            let header = header.required(Required::False).schema(Some(schema::string())).description(Some(tenant));
            self.parameters.push(header.build());
            for name in SECURITY {
                built = built.security(SecurityRequirement::new(name, Vec::<String>::new()));
            }
        }
        if deprecation.is_some() {
            built = built.deprecated(Some(Deprecated::True));
        }
        built = self.parameters.into_iter().fold(built, OperationBuilder::parameter);
        if let Some(Body { shape, example, required }) = self.body {
            let content = ContentBuilder::new().schema(Some(shape)).example(example).build();
            let required = if required { Required::True } else { Required::False };
            let body = RequestBodyBuilder::new().content(JSON, content).required(Some(required));
            built = built.request_body(Some(body.build()));
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
