//! The description of a response.

use utoipa::openapi::{Content, Response, ResponseBuilder};

use crate::headers::{self, HeaderSpec};
use crate::schema::Shape;

pub const JSON: &str = "application/json";

/// A response: its meaning, its bodies by media type, and its headers.
#[must_use]
pub struct Answer(ResponseBuilder);

impl Answer {
    pub fn json(description: &str, shape: Shape) -> Self {
        Self::of(description, JSON, shape)
    }

    pub fn of(description: &str, media: &str, shape: Shape) -> Self {
        let response = Self(ResponseBuilder::new().description(description));
        response.or(media, shape).with_header(headers::REQUEST_ID)
    }

    /// Adds another media type.
    pub fn or(self, media: &str, shape: Shape) -> Self {
        Self(self.0.content(media, Content::new(Some(shape))))
    }

    /// Adds the header of what was recorded.
    pub fn recorded(self) -> Self {
        self.with_header(headers::POSITION)
    }

    /// Adds the headers of rate limits.
    pub fn limited(self) -> Self {
        headers::RATE_LIMIT.into_iter().fold(self, Self::with_header)
    }

    pub fn with_header(self, header: HeaderSpec) -> Self {
        let (name, header) = headers::header(header);
        Self(self.0.header(name, header))
    }

    pub(crate) fn response(self) -> Response {
        self.0.build()
    }
}
