//! The fields known to change the cost of a request, by the server that takes them.

use std::sync::LazyLock;

use intermediate::fields::EMPTY;

/// A field's effect on the cost.
#[derive(Clone, Copy)]
pub enum Effect {
    /// Chooses another model or another price.
    Price,
    /// Makes the provider run and bill its own tools.
    Tools,
    /// Adds input that is not in the request.
    Input,
    /// Sets another output cap than the one that bounds the request.
    Cap,
    /// Makes more output than the cap allows, or more than is returned.
    Output,
    /// Makes the provider answer later, in another response.
    Later,
}

impl Effect {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Price => "may choose another model or another price",
            Self::Tools => "may run tools that the provider bills",
            Self::Input => "may add input that is not in the request",
            Self::Cap => "may take the place of the output cap, which is max_tokens or max_completion_tokens",
            Self::Output => "may bring more output than the output cap allows",
            Self::Later => "asks for an answer that comes later and is not measured",
        }
    }
}

const NONE: &[&str] = &[];
const ONE: &[&str] = &["1"];
const ZERO: &[&str] = &["0"];
const TEXT_ALONE: &[&str] = &["[]", r#"["TEXT"]"#, r#"["text"]"#];
const STANDARD_TIER: &[&str] = &[r#""auto""#, r#""default""#, r#""on_demand""#, r#""standard_only""#];
const STANDARD_SPEED: &[&str] = &[r#""standard""#, r#""normal""#];

/// A top-level field that may change the cost.
pub struct CostField {
    pub name: &'static str,
    pub effect: Effect,
    /// Values that do not change the cost.
    pub harmless: &'static [&'static str],
}

const fn field(name: &'static str, effect: Effect, harmless: &'static [&'static str]) -> CostField {
    CostField { name, effect, harmless }
}

/// The field of this name. Every member of every request is looked up, so that it is found by halves.
pub fn cost_field(name: &str) -> Option<&'static CostField> {
    static BY_NAME: LazyLock<Vec<&CostField>> = LazyLock::new(|| {
        let mut fields: Vec<_> = FIELDS.iter().collect();
        fields.sort_unstable_by_key(|field| field.name);
        fields
    });
    let at = BY_NAME.binary_search_by_key(&name, |field| field.name).ok()?;
    BY_NAME.get(at).copied()
}

/// Grouped by the provider that takes them; some are taken by several providers.
#[rustfmt::skip]
pub const FIELDS: &[CostField] = &[
    // OpenAI and compatible servers
    field("audio", Effect::Output, NONE),
    field("background", Effect::Later, NONE),
    field("best_of", Effect::Output, ONE),
    field("conversation", Effect::Input, EMPTY),
    field("max_output_tokens", Effect::Cap, NONE),
    // Rejected tokens are billed as output, above the cap.
    field("prediction", Effect::Output, NONE),
    field("previous_response_id", Effect::Input, EMPTY),
    field(super::SERVICE_TIER, Effect::Price, STANDARD_TIER),
    field("web_search_options", Effect::Tools, NONE),
    // Anthropic, in OpenAI's form
    field("anthropic_beta", Effect::Price, EMPTY),
    field("betas", Effect::Price, EMPTY),
    field("container", Effect::Tools, EMPTY),
    field("context_management", Effect::Input, EMPTY),
    field("inference_geo", Effect::Price, NONE),
    field("max_tokens_to_sample", Effect::Cap, NONE),
    field("mcp_servers", Effect::Tools, EMPTY),
    field("speed", Effect::Price, STANDARD_SPEED),
    // OpenRouter
    // Returns the whole body that it sent to the provider.
    field("debug", Effect::Output, EMPTY),
    field("models", Effect::Price, EMPTY),
    field("plugins", Effect::Tools, EMPTY),
    field("preset", Effect::Price, NONE),
    field("provider", Effect::Price, EMPTY),
    field("route", Effect::Price, EMPTY),
    field("transforms", Effect::Input, EMPTY),
    // Azure
    field("data_sources", Effect::Input, EMPTY),
    field("enhancements", Effect::Tools, EMPTY),
    // Google
    field("candidateCount", Effect::Output, ONE),
    field("candidate_count", Effect::Output, ONE),
    field("cached_content", Effect::Input, EMPTY),
    field("extra_body", Effect::Input, EMPTY),
    field("generation_config", Effect::Cap, EMPTY),
    field("google", Effect::Input, EMPTY),
    field("responseModalities", Effect::Output, TEXT_ALONE),
    field("response_modalities", Effect::Output, TEXT_ALONE),
    // A thinking budget outside of the cap.
    field("thinking_config", Effect::Output, EMPTY),
    // Amazon
    field("additionalModelRequestFields", Effect::Cap, EMPTY),
    field("amazon-bedrock-guardrailConfig", Effect::Tools, EMPTY),
    field("guardrailConfig", Effect::Tools, EMPTY),
    field("inferenceConfig", Effect::Cap, EMPTY),
    field("maxTokenCount", Effect::Cap, NONE),
    field("max_gen_len", Effect::Cap, NONE),
    field("performanceConfig", Effect::Price, EMPTY),
    // xAI
    field("deferred", Effect::Later, NONE),
    field("search_parameters", Effect::Tools, NONE),
    // Groq
    field("compound_custom", Effect::Tools, EMPTY),
    // Together
    field("safety_model", Effect::Tools, EMPTY),
    // Fireworks
    field("speculation", Effect::Output, NONE),
    // Alibaba: reasoning has its own price and no cap.
    field("enable_code_interpreter", Effect::Tools, NONE),
    field("enable_search", Effect::Tools, NONE),
    field("enable_thinking", Effect::Price, NONE),
    field("search_options", Effect::Tools, NONE),
    // Baidu, Tencent, MiniMax
    field("enable_deep_read", Effect::Tools, NONE),
    field("enable_deep_search", Effect::Tools, NONE),
    field("enable_enhancement", Effect::Tools, NONE),
    field("enable_speed_search", Effect::Tools, NONE),
    field("force_search_enhancement", Effect::Tools, NONE),
    field("tokens_to_generate", Effect::Cap, NONE),
    field("web_search", Effect::Tools, EMPTY),
    // Vercel
    field("providerOptions", Effect::Price, EMPTY),
    // LiteLLM
    field("additional_drop_params", Effect::Cap, EMPTY),
    field("allowed_model_region", Effect::Price, NONE),
    field("api_base", Effect::Price, NONE),
    field("aws_region_name", Effect::Price, NONE),
    field("azure", Effect::Price, NONE),
    field("base_model", Effect::Price, NONE),
    field("base_url", Effect::Price, NONE),
    // Marks messages to be cached, for as long as it says.
    field("cache_control_injection_points", Effect::Price, EMPTY),
    field("config", Effect::Price, EMPTY),
    field("content_policy_fallbacks", Effect::Price, EMPTY),
    field("context_window_fallback_dict", Effect::Price, EMPTY),
    field("context_window_fallbacks", Effect::Price, EMPTY),
    field("custom_llm_provider", Effect::Price, NONE),
    field("deployment_id", Effect::Price, NONE),
    field("drop_params", Effect::Cap, NONE),
    field("engine", Effect::Price, NONE),
    field("extra_headers", Effect::Price, EMPTY),
    field("extra_query", Effect::Price, EMPTY),
    field("fallbacks", Effect::Price, EMPTY),
    field("guardrails", Effect::Tools, EMPTY),
    field("headers", Effect::Price, EMPTY),
    field("input_cost_per_second", Effect::Price, NONE),
    field("input_cost_per_token", Effect::Price, NONE),
    field("knowledge_bases", Effect::Input, EMPTY),
    field("litellm_metadata", Effect::Price, EMPTY),
    field("litellm_params", Effect::Price, EMPTY),
    field("mock_testing_content_policy_fallbacks", Effect::Price, NONE),
    field("mock_testing_context_fallbacks", Effect::Price, NONE),
    field("mock_testing_fallbacks", Effect::Price, NONE),
    field("model_id", Effect::Price, NONE),
    field("model_info", Effect::Price, EMPTY),
    field("model_list", Effect::Price, EMPTY),
    field("output_cost_per_second", Effect::Price, NONE),
    field("output_cost_per_token", Effect::Price, NONE),
    field("prompt_id", Effect::Input, EMPTY),
    field("provider_specific_header", Effect::Price, EMPTY),
    field("region_name", Effect::Price, NONE),
    field("specific_deployment", Effect::Price, NONE),
    field("tags", Effect::Price, EMPTY),
    field("user_config", Effect::Price, EMPTY),
    field("vector_store_ids", Effect::Input, EMPTY),
    field("vertex_location", Effect::Price, NONE),
    // Mistral: adds a prompt.
    field("prompt_mode", Effect::Input, NONE),
    // Cohere and others: documents and searches of the provider's own
    field("connectors", Effect::Tools, EMPTY),
    field("documents", Effect::Input, EMPTY),
    field("file_ids", Effect::Input, EMPTY),
    field("files", Effect::Input, EMPTY),
    // vLLM: a template may repeat its input any number of times; the others change the size of images and videos.
    field("chat_template", Effect::Input, NONE),
    field("kv_transfer_params", Effect::Input, EMPTY),
    field("media_io_kwargs", Effect::Input, EMPTY),
    field("mm_processor_kwargs", Effect::Input, EMPTY),
    field("priority", Effect::Price, ZERO),
    field("use_beam_search", Effect::Output, NONE),
    // SGLang, llama.cpp, Ollama, Hugging Face's servers: caps and counts that replace the checked ones
    field("lora", Effect::Price, EMPTY),
    field("lora_path", Effect::Price, EMPTY),
    field("max_length", Effect::Cap, NONE),
    field("max_new_tokens", Effect::Cap, NONE),
    field("max_output_length", Effect::Cap, NONE),
    field("n_cmpl", Effect::Output, ONE),
    field("n_predict", Effect::Cap, NONE),
    field("numResults", Effect::Output, ONE),
    field("num_generations", Effect::Output, ONE),
    field("num_predict", Effect::Cap, NONE),
    field("num_return_sequences", Effect::Output, ONE),
    field("options", Effect::Cap, EMPTY),
    field("parameters", Effect::Cap, EMPTY),
    field("session_params", Effect::Input, EMPTY),
];
