//! The export of traces: those of OpenTelemetry's variables that concern a gateway.

use std::borrow::Cow;

use cli::settings::{Setting, WrongConfig, truncated};
use command::trace::TraceTarget;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// The collector; `None` if no endpoint is set, or the SDK is disabled.
pub fn target(variable: &impl Fn(&str) -> Option<String>) -> Result<Option<TraceTarget>, WrongConfig> {
    let given = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    if given(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let url = match (given(TRACES_ENDPOINT), given(ENDPOINT)) {
        (Some(whole), _) => url(TRACES_ENDPOINT, "http://localhost:4318/v1/traces", &whole, String::new())?,
        (None, Some(base)) => url(ENDPOINT, "http://localhost:4318", &base, "/v1/traces".to_owned())?,
        (None, None) => return Ok(None),
    };
    // The gateway sends JSON over HTTP; collectors accept it at the address for protobuf over HTTP as well.
    if let Some(protocol) = given(PROTOCOL).filter(|protocol| !protocol.starts_with("http/")) {
        let problem = format!("is {:?}, but this version exports over HTTP only", truncated(&protocol));
        return Err(Setting::with_value(PROTOCOL, "http/json").wrong_as_variable(problem));
    }
    let headers = given(HEADERS).map_or_else(|| Ok(HeaderMap::new()), |list| headers(&list))?;
    Ok(Some(TraceTarget { url, headers, service: given(SERVICE).unwrap_or_else(|| "ledgerway".to_owned()) }))
}

fn url(variable: &'static str, example: &'static str, text: &str, path: String) -> Result<Uri, WrongConfig> {
    let wrong = |why: &str| {
        Setting::with_value(variable, example).wrong_as_variable(format!("is {:?}, which {why}", truncated(text)))
    };
    let whole = if path.is_empty() { text.to_owned() } else { format!("{}{path}", text.trim_end_matches('/')) };
    let url: Uri = whole.parse().map_err(|_| wrong("is not a URL"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some_and(|host| !host.is_empty()) => Ok(url),
        _ => Err(wrong("is not an http or https URL")),
    }
}

/// Reads `name=value,name=value`. The error does not repeat the text, which may be a secret.
fn headers(list: &str) -> Result<HeaderMap, WrongConfig> {
    let wrong = || {
        let setting = Setting::with_value(HEADERS, "\"authorization=Bearer%20...\"");
        setting.wrong_as_variable("must be a list of name=value pairs, separated by commas")
    };
    let mut headers = HeaderMap::new();
    for pair in list.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(decoded(value.trim()).ok_or_else(wrong)?).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Decodes a value, which is percent-encoded as in W3C baggage.
fn decoded(text: &str) -> Option<String> {
    let is_escape = |rest: &str| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    let is_encoded = text.split('%').skip(1).all(is_escape);
    is_encoded.then(|| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Option<TraceTarget>, WrongConfig> {
        target(&|asked: &str| set.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn one_variable_says_where_and_without_it_there_are_no_traces() {
        let found = read(&[(ENDPOINT, "http://collector:4318/")]).expect("fine").expect("a target");
        assert_eq!(
            (found.url.to_string().as_str(), found.service.as_str()),
            ("http://collector:4318/v1/traces", "ledgerway")
        );
        let set =
            [(TRACES_ENDPOINT, "https://c/x"), (ENDPOINT, "http://d"), (SERVICE, "gw"), (HEADERS, "a=b%20c, d=e")];
        let found = read(&set).expect("fine").expect("a target");
        assert_eq!((found.url.to_string().as_str(), found.service.as_str()), ("https://c/x", "gw"));
        assert_eq!(
            (&found.headers["a"], &found.headers["d"]),
            (&HeaderValue::from_static("b c"), &HeaderValue::from_static("e"))
        );
        assert!(read(&[]).expect("fine").is_none() && read(&[(ENDPOINT, " ")]).expect("fine").is_none());
        assert!(read(&[(ENDPOINT, "http://d"), (DISABLED, "TRUE")]).expect("fine").is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named_and_a_secret_is_not_repeated() {
        for (name, value) in [(ENDPOINT, "collector:4318"), (TRACES_ENDPOINT, "ftp://x"), (ENDPOINT, "http://a b")] {
            assert_eq!(read(&[(name, value)]).err().expect("refused").name, name);
        }
        let grpc = read(&[(ENDPOINT, "http://c:4317"), (PROTOCOL, "grpc")]).err().expect("refused");
        assert_eq!(grpc.name, PROTOCOL);
        for list in ["s3cret", "a=%zz-s3cret", "a=s3cret%+f", "a=s3cret%f", "b\u{7f}d=s3cret"] {
            let refused = read(&[(ENDPOINT, "http://c"), (HEADERS, list)]).err().expect("refused").to_string();
            assert!(refused.starts_with(HEADERS) && !refused.contains("s3cret"), "{refused}");
        }
    }
}
