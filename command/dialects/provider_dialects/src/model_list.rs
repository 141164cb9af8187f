//! Lists of the models that local servers have.

use events::event::admin::{Provider, ProviderKindName};
use serde::Deserialize;

use super::{ProviderKind, Server, server_of};

/// The list of a local server.
#[derive(Clone, Copy)]
pub struct ModelList {
    /// Added to the provider's `base_url`.
    pub path: &'static str,
    /// Reads the response; `None` if it is no such list.
    pub read: fn(&[u8]) -> Option<Vec<ListedModel>>,
}

/// A model that runs on the server itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    pub name: String,
    /// `None` if the list does not say.
    pub context_window: Option<u64>,
}

const OLLAMA: ModelList = ModelList { path: "/api/tags", read: read_tags };
const OPENAI: ModelList = ModelList { path: "/models", read: read_models };

/// The list that a provider's server has if it is a local one; `None` if it is not known to be such a server.
pub fn model_list_of(provider: &Provider) -> Option<ModelList> {
    match (ProviderKind::named(&provider.kind)?, server_of(provider)) {
        (ProviderKind::Ollama, _) => Some(OLLAMA),
        (ProviderKind::Openai, Some(Server::Vllm | Server::Sglang | Server::LlamaCpp)) => Some(OPENAI),
        _ => None,
    }
}

/// True if accounts name their models themselves, as deployments.
pub fn has_deployments(kind: &ProviderKindName) -> bool {
    ProviderKind::named(kind) == Some(ProviderKind::AzureOpenai)
}

/// `/api/tags` of Ollama.
fn read_tags(body: &[u8]) -> Option<Vec<ListedModel>> {
    #[derive(Deserialize)]
    struct Tags {
        models: Vec<TaggedModel>,
    }
    #[derive(Deserialize)]
    struct TaggedModel {
        name: String,
        /// Where a model runs that runs elsewhere, for money.
        #[serde(default)]
        remote_host: Option<String>,
    }
    let Tags { models } = serde_json::from_slice(body).ok()?;
    let here = models.into_iter().filter(|model| model.remote_host.as_deref().is_none_or(str::is_empty));
    // The list has no window of the server: that of the model may be more than the server was started with.
    Some(here.map(|model| ListedModel { name: model.name, context_window: None }).collect())
}

/// `/v1/models` of OpenAI-compatible servers, with what vLLM and SGLang add.
fn read_models(body: &[u8]) -> Option<Vec<ListedModel>> {
    #[derive(Deserialize)]
    struct Models {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
        #[serde(default)]
        max_model_len: Option<u32>,
    }
    let Models { data } = serde_json::from_slice(body).ok()?;
    let window = |tokens: Option<u32>| tokens.filter(|tokens| *tokens > 0).map(u64::from);
    let listed = |model: Model| ListedModel { context_window: window(model.max_model_len), name: model.id };
    Some(data.into_iter().map(listed).collect())
}

#[cfg(test)]
mod tests {
    use events::event::admin::ProviderKindName;

    use super::*;

    fn model(name: &str, context_window: Option<u64>) -> ListedModel {
        ListedModel { name: name.to_owned(), context_window }
    }

    #[test]
    fn a_list_has_the_models_that_run_on_the_server() {
        let tags = r#"{"models":[{"name":"llama3:latest","model":"llama3:latest","size":1},{"name":"here","remote_host":""},
                       {"name":"big:cloud","remote_host":"https://ollama.com"}]}"#;
        assert_eq!(read_tags(tags.as_bytes()), Some(vec![model("llama3:latest", None), model("here", None)]));
        let models =
            r#"{"object":"list","data":[{"id":"Qwen/Qwen3-4B","max_model_len":32768},{"id":"x","max_model_len":0}]}"#;
        assert_eq!(read_models(models.as_bytes()), Some(vec![model("Qwen/Qwen3-4B", Some(32_768)), model("x", None)]));
        assert_eq!(read_tags(br#"{"models":[]}"#), Some(vec![]));
    }

    #[test]
    fn a_response_of_another_form_is_no_list() {
        for body in
            ["", "[]", "{}", "null", r#"{"models":{}}"#, r#"{"models":[{}]}"#, r#"{"data":[{"id":7}]}"#, "<html>"]
        {
            assert_eq!((read_tags(body.as_bytes()), read_models(body.as_bytes())), (None, None), "{body}");
        }
    }

    #[test]
    fn only_a_server_that_is_known_to_be_local_has_a_list() {
        let id = format!("prv_{:032x}", 1).parse().expect("an id");
        let path = |kind, server: Option<&str>| {
            let server = server.map(|name| name.parse().expect("a name"));
            let base_url = Some("http://127.0.0.1:8000".to_owned());
            let provider = Provider { base_url, server, ..Provider::new(id, "p", ProviderKindName::literal(kind)) };
            model_list_of(&provider).map(|list| list.path)
        };
        assert_eq!(path("ollama", None), Some("/api/tags"));
        for server in ["vllm", "sglang", "llama_cpp"] {
            assert_eq!(path("openai", Some(server)), Some("/models"));
        }
        assert_eq!([path("openai", None), path("openai", Some("openai")), path("anthropic", None)], [None; 3]);
    }
}
