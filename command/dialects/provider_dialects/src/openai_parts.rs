//! Parts of requests that other providers write as OpenAI does.

use std::borrow::Cow;

use intermediate::chat::{Image, ImageSource, Tool};
use serde::Serialize;
use serde_json::value::RawValue;

/// `{"type":"function","function":…}`
#[derive(Serialize)]
pub struct Function<T> {
    r#type: &'static str,
    function: T,
}

pub const fn function<T>(function: T) -> Function<T> {
    Function { r#type: "function", function }
}

#[derive(Serialize)]
pub struct FunctionDefinition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> FunctionDefinition<'a> {
    pub fn of(tool: &'a Tool, strict: Option<bool>) -> Self {
        let Tool { name, description, parameters, .. } = tool;
        let parameters = parameters.as_deref().map(Cow::Borrowed);
        Self { name, description: description.as_deref(), parameters, strict }
    }
}

#[derive(Serialize)]
pub struct Picture<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> Picture<'a> {
    pub fn of(image: &'a Image) -> Self {
        let url = match &image.source {
            ImageSource::Url(url) => Cow::Borrowed(url.as_str()),
            ImageSource::Inline { media_type, base64 } => format!("data:{media_type};base64,{base64}").into(),
        };
        Self { url, detail: image.detail.as_deref() }
    }
}
