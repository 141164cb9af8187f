//! Requests that cost nothing, by which a provider's key is tried: for each kind of provider, and for servers that deviate.
//!
//! A row says only what the vendor documents. Where a server is known to answer anybody, or where there is no such request,
//! the row says so instead: a key that was not tried is better than one that seems to be good.

use std::borrow::Cow;

use events::event::admin::Provider;

use super::{ProviderKind, Server, server_of};

/// How a provider's key can be tried without charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreeRequest {
    /// A `GET` of this path after the provider's `base_url`, authenticated as every request.
    Get(Cow<'static, str>),
    /// There is none; why not, as the end of a sentence.
    None(&'static str),
}

/// The end that the addresses of this kind's APIs usually have; `None` if they have none in common.
pub const fn usual_end_of_address(kind: ProviderKind) -> Option<&'static str> {
    match kind {
        ProviderKind::Openai => Some("/v1"),
        ProviderKind::Gemini => Some("/v1beta"),
        ProviderKind::Anthropic
        | ProviderKind::AzureOpenai
        | ProviderKind::Bedrock
        | ProviderKind::Cohere
        | ProviderKind::Ollama
        | ProviderKind::Simulator
        | ProviderKind::Vertex => None,
    }
}

/// The free request of a provider; `None` if this version does not know its kind.
pub fn free_request_of(provider: &Provider) -> Option<FreeRequest> {
    let get = |path: &'static str| FreeRequest::Get(path.into());
    Some(match (ProviderKind::named(&provider.kind)?, server_of(provider)) {
        // Its list of models needs no key, but this does.
        (ProviderKind::Openai, Some(Server::Openrouter)) => get("/key"),
        (ProviderKind::Openai, Some(Server::Perplexity)) => {
            FreeRequest::None("Perplexity has no free request that needs a key")
        }
        (ProviderKind::Openai, _) | (ProviderKind::Gemini, _) => get("/models"),
        (ProviderKind::Anthropic, _) | (ProviderKind::Cohere, _) => get("/v1/models"),
        (ProviderKind::Ollama, _) => get("/api/tags"),
        (ProviderKind::AzureOpenai, _) => FreeRequest::Get(azure_list(provider.api_version.as_deref())),
        (ProviderKind::Bedrock, _) => {
            FreeRequest::None("Bedrock's runtime has no free request that every key may make")
        }
        (ProviderKind::Vertex, _) => FreeRequest::None(
            "Vertex AI has no free request that every key may make, apart from the exchange of a service account's key",
        ),
        (ProviderKind::Simulator, _) => FreeRequest::None("the simulator needs no key"),
    })
}

/// The list of models in the version of the API that the provider is called with.
fn azure_list(api_version: Option<&str>) -> Cow<'static, str> {
    match api_version {
        None => "/openai/v1/models".into(),
        Some(version) if version.starts_with(|first: char| first.is_ascii_digit()) => {
            format!("/openai/models?api-version={version}").into()
        }
        Some(version) => format!("/openai/v1/models?api-version={version}").into(),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::ProviderKindName;
    use events::ids::ProviderId;

    use super::*;

    #[test]
    fn every_kind_has_a_path_or_a_reason_and_deviating_servers_their_own() {
        let request = |kind, base_url: &str, api_version: Option<&str>| {
            let id: ProviderId = format!("prv_{:032x}", 1).parse().expect("an id");
            let (base_url, api_version) = (Some(base_url.to_owned()), api_version.map(str::to_owned));
            free_request_of(&Provider {
                base_url,
                api_version,
                ..Provider::new(id, "p", ProviderKindName::literal(kind))
            })
        };
        let get = |path: &'static str| Some(FreeRequest::Get(path.into()));
        for (kind, base_url, api_version, wanted) in [
            ("openai", "https://api.openai.com/v1", None, get("/models")),
            ("openai", "https://api.mistral.ai/v1", None, get("/models")),
            ("openai", "https://openrouter.ai/api/v1", None, get("/key")),
            ("anthropic", "https://api.anthropic.com", None, get("/v1/models")),
            ("gemini", "https://generativelanguage.googleapis.com/v1beta", None, get("/models")),
            ("cohere", "https://api.cohere.com", None, get("/v1/models")),
            ("ollama", "http://127.0.0.1:11434", None, get("/api/tags")),
            ("azure_openai", "https://r.openai.azure.com", None, get("/openai/v1/models")),
            (
                "azure_openai",
                "https://r.openai.azure.com",
                Some("2024-10-21"),
                get("/openai/models?api-version=2024-10-21"),
            ),
            (
                "azure_openai",
                "https://r.openai.azure.com",
                Some("preview"),
                get("/openai/v1/models?api-version=preview"),
            ),
            ("of_a_later_version", "https://example.com", None, None),
        ] {
            assert_eq!(request(kind, base_url, api_version), wanted, "{kind} {base_url}");
        }
        for (kind, base_url) in [
            ("openai", "https://api.perplexity.ai"),
            ("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com"),
            ("vertex", "https://aiplatform.googleapis.com/v1/projects/p/locations/global"),
            ("simulator", ""),
        ] {
            assert!(matches!(request(kind, base_url, None), Some(FreeRequest::None(_))), "{kind} {base_url}");
        }
    }
}
