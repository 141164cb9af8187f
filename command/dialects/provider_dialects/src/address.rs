//! Addresses of well-known hosts. One that cannot work is refused when it is set, with the one that can.

use super::ProviderKind;

const GEMINI: &str = "generativelanguage.googleapis.com";
const VERTEX: &str = "aiplatform.googleapis.com";

/// Hosts that speak OpenAI's dialect, and where.
const OPENAI_PATHS: [(&str, &str); 5] = [
    ("api.openai.com", "/v1"),
    ("api.mistral.ai", "/v1"),
    ("api.groq.com", "/openai/v1"),
    ("openrouter.ai", "/api/v1"),
    (GEMINI, "/v1beta/openai"),
];

/// The host of an address in its normal form, without its port.
pub fn host_of(base_url: &str) -> Option<&str> {
    // On bytes: every request calls this.
    let scheme_end = base_url.bytes().position(|byte| byte == b':')?;
    let rest = base_url.get(scheme_end + 1..)?.strip_prefix("//")?;
    let end = rest.bytes().position(|byte| matches!(byte, b'/' | b':' | b'?')).unwrap_or(rest.len());
    rest.get(..end)
}

/// The address that is meant by one that cannot work; `None` if it may work.
pub fn corrected_base_url(kind: ProviderKind, base_url: &str) -> Option<String> {
    let host = host_of(base_url)?;
    let (_, rest) = base_url.split_once("://")?;
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default().trim_end_matches('/');
    match kind {
        ProviderKind::Openai => {
            let (host, right) = OPENAI_PATHS.iter().find(|(known, _)| *known == host)?;
            (path.is_empty() || *host == GEMINI && path != *right).then(|| format!("https://{host}{right}"))
        }
        ProviderKind::Gemini => (host == GEMINI && path.is_empty()).then(|| format!("https://{GEMINI}/v1beta")),
        ProviderKind::Vertex => {
            let of_region = host.strip_suffix(VERTEX)?;
            let region = of_region.strip_suffix('-').unwrap_or("global");
            let parts: Vec<_> = path.split('/').skip(1).collect();
            match *parts.as_slice() {
                [_, "projects", _, "locations", _] => None,
                _ => Some(format!("https://{host}/v1/projects/PROJECT/locations/{region}")),
            }
        }
        ProviderKind::Bedrock => {
            let (service, of_region) = host.split_once('.').filter(|_| host.ends_with(".amazonaws.com"))?;
            let is_wrong = service == "bedrock" || service == "bedrock-runtime" && !path.is_empty();
            is_wrong.then(|| format!("https://bedrock-runtime.{of_region}"))
        }
        ProviderKind::Simulator
        | ProviderKind::Anthropic
        | ProviderKind::Ollama
        | ProviderKind::AzureOpenai
        | ProviderKind::Cohere => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_work_has_one_that_is_meant() {
        let vertex = "https://us-central1-aiplatform.googleapis.com/v1/projects/PROJECT/locations/us-central1";
        for (kind, base_url, meant) in [
            (ProviderKind::Openai, "https://api.openai.com", Some("https://api.openai.com/v1")),
            (ProviderKind::Openai, "https://api.openai.com/v1/", None),
            (ProviderKind::Openai, "https://eu.api.openai.com/v1", None),
            (ProviderKind::Openai, "https://openrouter.ai/", Some("https://openrouter.ai/api/v1")),
            (ProviderKind::Openai, "http://127.0.0.1:8000", None),
            (
                ProviderKind::Openai,
                "https://generativelanguage.googleapis.com/v1beta",
                Some("https://generativelanguage.googleapis.com/v1beta/openai"),
            ),
            (
                ProviderKind::Gemini,
                "https://generativelanguage.googleapis.com",
                Some("https://generativelanguage.googleapis.com/v1beta"),
            ),
            (ProviderKind::Gemini, "https://generativelanguage.googleapis.com/v1beta", None),
            (ProviderKind::Gemini, "https://proxy.example.com", None),
            (ProviderKind::Vertex, "https://us-central1-aiplatform.googleapis.com", Some(vertex)),
            (ProviderKind::Vertex, "https://aiplatform.googleapis.com/v1/projects/p/locations/global", None),
            (
                ProviderKind::Bedrock,
                "https://bedrock.us-east-1.amazonaws.com",
                Some("https://bedrock-runtime.us-east-1.amazonaws.com"),
            ),
            (
                ProviderKind::Bedrock,
                "https://bedrock-runtime.us-east-1.amazonaws.com/model/x",
                Some("https://bedrock-runtime.us-east-1.amazonaws.com"),
            ),
            (ProviderKind::Bedrock, "https://bedrock-runtime.us-east-1.amazonaws.com", None),
            (ProviderKind::Bedrock, "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", None),
        ] {
            assert_eq!(corrected_base_url(kind, base_url).as_deref(), meant, "{kind:?} {base_url}");
        }
    }
}
