//! What is said of one method of one path.

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
use crate::headers::{self, Said};
use crate::refusals::{CommonResponses, NATIVE, Wording};
use crate::schema::{self, Shape};

pub const JSON: &str = "application/json";
/// Names of the ways to present a key.
pub const SECURITY: [&str; 2] = ["bearer", "x-api-key"];

/// What every request can meet that needs no key.
const WITHOUT_A_KEY: &[ErrorCode] = &[ErrorCode::RequestHeaderFieldsTooLarge];
/// What every request with a key can meet.
const WITH_A_KEY: &[ErrorCode] = &[
    ErrorCode::Unauthenticated,
    ErrorCode::Forbidden,
    ErrorCode::RequestHeaderFieldsTooLarge,
    ErrorCode::Internal,
    ErrorCode::LedgerUnavailable,
    ErrorCode::Draining,
];

/// One method of one path.
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

/// What is answered where nothing is refused.
pub struct Answer {
    description: String,
    contents: Vec<(String, Content)>,
    headers: Vec<Said>,
}

impl Answer {
    pub fn json(description: &str, shape: Shape) -> Self {
        Self::of(description, JSON, shape)
    }

    pub fn of(description: &str, media: &str, shape: Shape) -> Self {
        let contents = vec![(media.to_owned(), Content::new(Some(shape)))];
        Self { description: description.to_owned(), contents, headers: vec![headers::REQUEST_ID] }
    }

    /// The same in another form.
    #[must_use]
    pub fn or(mut self, media: &str, shape: Shape) -> Self {
        self.contents.push((media.to_owned(), Content::new(Some(shape))));
        self
    }

    /// It was recorded.
    #[must_use]
    pub fn recorded(self) -> Self {
        self.with_header(headers::POSITION)
    }

    /// A rate limit may govern it.
    #[must_use]
    pub fn limited(self) -> Self {
        headers::RATE_LIMIT.into_iter().fold(self, Self::with_header)
    }

    /// Name, form and meaning of a header.
    #[must_use]
    pub fn with_header(mut self, said: Said) -> Self {
        self.headers.push(said);
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
    /// `id`: of the operation, as generated clients call it: `list_budgets`. `tag`: the group that it is shown in.
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

    /// A sentence or several.
    #[must_use]
    pub fn says(mut self, text: &str) -> Self {
        self.description.push(text.to_owned());
        self
    }

    /// What everybody can meet who comes in so stands in front of what the operation itself refuses.
    #[must_use]
    pub(crate) fn behind(mut self, entrance: Entrance) -> Self {
        self.is_open = entrance == Entrance::Open;
        let met = if self.is_open { WITHOUT_A_KEY } else { WITH_A_KEY };
        self.refusals.splice(..0, met.iter().copied());
        self
    }

    /// Needs a key that has the permission.
    #[must_use]
    pub fn needs(self, permission: Permission) -> Self {
        self.says(&format!("Needs the permission `{}`.", permission.as_str()))
    }

    /// Refuses as this surface does.
    #[must_use]
    pub fn worded(mut self, wording: Wording) -> Self {
        self.wording = wording;
        self
    }

    #[must_use]
    pub fn path(mut self, name: &str, shape: Shape, description: &str) -> Self {
        self.refusals.push(ErrorCode::NotFound);
        self.parameter(name, ParameterIn::Path, shape, description)
    }

    /// One that may be absent.
    #[must_use]
    pub fn query(mut self, name: &str, shape: Shape, description: &str) -> Self {
        self.refusals.push(ErrorCode::InvalidRequest);
        self.parameter(name, ParameterIn::Query, shape, description)
    }

    /// One that may be absent, of values separated by commas.
    #[must_use]
    pub fn query_list(self, name: &str, item: Shape, description: &str) -> Self {
        let mut operation = self.query(name, schema::filled_list(item, None), description);
        if let Some(parameter) = operation.parameters.last_mut() {
            parameter.style = Some(ParameterStyle::Form);
            parameter.explode = Some(false);
        }
        operation
    }

    /// One that may be absent.
    #[must_use]
    pub fn header(self, name: &str, shape: Shape, description: &str) -> Self {
        self.parameter(name, ParameterIn::Header, shape, description)
    }

    fn parameter(mut self, name: &str, place: ParameterIn, shape: Shape, description: &str) -> Self {
        let required = if place == ParameterIn::Path { Required::True } else { Required::False };
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        self.parameters.push(parameter.schema(Some(shape)).description(Some(description)).build());
        self
    }

    /// `min_position`, which reads one's own writes.
    #[must_use]
    pub fn min_position(mut self) -> Self {
        self.refusals.push(ErrorCode::ViewBehind);
        let description = "Wait, for two seconds at most, until the answer knows everything up to this log position; beyond \
                           the newest event it is a 400";
        self.query("min_position", schema::count(), description)
    }

    /// `limit` and `cursor`.
    #[must_use]
    pub fn paged(self, limit_default: usize, limit_max: usize) -> Self {
        let max = u64::try_from(limit_max).unwrap_or(u64::MAX);
        let limit = schema::defaulting(schema::whole(1, max), limit_default.into());
        self.query("limit", limit, "Items of a page at most").query(
            "cursor",
            schema::parameter(),
            "`next_cursor` of the page before",
        )
    }

    /// A JSON body, and one that works.
    #[must_use]
    pub fn takes(self, shape: Shape, example: Value) -> Self {
        self.with_body(Body { shape, example: Some(example), required: true })
    }

    /// The same; absent is an empty object.
    #[must_use]
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

    #[must_use]
    pub fn answers(mut self, status: StatusCode, answer: Answer) -> Self {
        self.answers.push((status.as_u16(), answer));
        self
    }

    /// Codes beside those that follow from what was said already.
    #[must_use]
    pub fn refuses(mut self, codes: &[ErrorCode]) -> Self {
        self.refusals.extend(codes);
        self
    }

    /// A schema that this and others refer to by its name.
    #[must_use]
    pub fn defines(mut self, name: &str, shape: Shape) -> Self {
        self.schemas.push((name.to_owned(), shape));
        self
    }

    /// A rate limit can refuse it, and governs what it answers.
    pub(crate) fn limited(mut self) -> Self {
        self.answers = self.answers.into_iter().map(|(status, answer)| (status, answer.limited())).collect();
        self.refuses(&[ErrorCode::RateLimited])
    }

    /// The operation as the document has it; what it shares with others goes into `shared`.
    pub(crate) fn build(
        mut self,
        shared: &mut CommonResponses,
        deprecation: Option<&Deprecation>,
    ) -> utoipa::openapi::path::Operation {
        if let Some(Deprecation { sunset, .. }) = deprecation {
            self.description.push(format!("May be gone from {sunset} on."));
        }
        shared.schemas.append(&mut self.schemas.into_iter().collect());
        let mut built = OperationBuilder::new().operation_id(Some(self.id)).tag(self.tag).summary(Some(self.summary));
        if !self.description.is_empty() {
            built = built.description(Some(self.description.join(" ")));
        }
        if !self.is_open {
            let tenant = "The tenant that the request is for, where the key reaches several";
            let said = ParameterBuilder::new().name("x-tenant-id").parameter_in(ParameterIn::Header);
            let said = said.required(Required::False).schema(Some(schema::string())).description(Some(tenant));
            self.parameters.push(said.build());
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
