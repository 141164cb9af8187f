//! The fields that are known to change what a request costs, by the server that takes them.

/// What a field may do to the cost.
#[derive(Clone, Copy)]
pub enum Effect {
    /// Another model answers, or another price holds.
    Price,
    /// The provider runs tools of its own, and bills them.
    Tools,
    /// The model is given more than stands in the request.
    Input,
    /// Another cap may hold than the one that bounds the request.
    Cap,
    /// There is more output than the cap allows, or more than is returned.
    Output,
    /// The answer is not in the answer.
    Later,
}

impl Effect {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Price => "may choose another model or another price",
            Self::Tools => "may run tools that the provider bills",
            Self::Input => "may add input that does not stand in the request",
            Self::Cap => "may take the place of the output cap, which is max_tokens or max_completion_tokens",
            Self::Output => "may bring more output than the output cap allows",
            Self::Later => "asks for an answer that comes later and is not measured",
        }
    }
}

/// What says nothing, besides null and false.
pub const EMPTY: &[&str] = &["[]", "{}", r#""""#];
const NOTHING: &[&str] = &[];
const ONE: &[&str] = &["1"];
const ZERO: &[&str] = &["0"];
const TEXT_ALONE: &[&str] = &["[]", r#"["TEXT"]"#, r#"["text"]"#];
const STANDARD_TIER: &[&str] = &[r#""auto""#, r#""default""#, r#""on_demand""#, r#""standard_only""#];
const STANDARD_SPEED: &[&str] = &[r#""standard""#, r#""normal""#];

/// A field of the top level.
pub struct PricedField {
    pub name: &'static str,
    pub effect: Effect,
    /// Values that cost nothing more.
    pub harmless: &'static [&'static str],
}

const fn field(name: &'static str, effect: Effect, harmless: &'static [&'static str]) -> PricedField {
    PricedField { name, effect, harmless }
}

/// By the provider that takes them; several take more than one's.
#[rustfmt::skip]
pub const FIELDS: &[PricedField] = &[
    // OpenAI, and whoever does as it does
    field("audio", Effect::Output, NOTHING),
    field("background", Effect::Later, NOTHING),
    field("best_of", Effect::Output, ONE),
    field("conversation", Effect::Input, EMPTY),
    field("max_output_tokens", Effect::Cap, NOTHING),
    // Rejected tokens are billed as output, above the cap.
    field("prediction", Effect::Output, NOTHING),
    field("previous_response_id", Effect::Input, EMPTY),
    field("service_tier", Effect::Price, STANDARD_TIER),
    field("web_search_options", Effect::Tools, NOTHING),
    // Anthropic, in OpenAI's form
    field("anthropic_beta", Effect::Price, EMPTY),
    field("betas", Effect::Price, EMPTY),
    field("container", Effect::Tools, EMPTY),
    field("context_management", Effect::Input, EMPTY),
    field("inference_geo", Effect::Price, NOTHING),
    field("max_tokens_to_sample", Effect::Cap, NOTHING),
    field("mcp_servers", Effect::Tools, EMPTY),
    field("speed", Effect::Price, STANDARD_SPEED),
    // OpenRouter
    // It answers with the whole body that it sent.
    field("debug", Effect::Output, EMPTY),
    field("models", Effect::Price, EMPTY),
    field("plugins", Effect::Tools, EMPTY),
    field("preset", Effect::Price, NOTHING),
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
    // A budget to think in that no cap holds.
    field("thinking_config", Effect::Output, EMPTY),
    // Amazon
    field("additionalModelRequestFields", Effect::Cap, EMPTY),
    field("amazon-bedrock-guardrailConfig", Effect::Tools, EMPTY),
    field("guardrailConfig", Effect::Tools, EMPTY),
    field("inferenceConfig", Effect::Cap, EMPTY),
    field("maxTokenCount", Effect::Cap, NOTHING),
    field("max_gen_len", Effect::Cap, NOTHING),
    field("performanceConfig", Effect::Price, EMPTY),
    // xAI
    field("deferred", Effect::Later, NOTHING),
    field("search_parameters", Effect::Tools, NOTHING),
    // Groq
    field("compound_custom", Effect::Tools, EMPTY),
    // Together
    field("safety_model", Effect::Tools, EMPTY),
    // Fireworks
    field("speculation", Effect::Output, NOTHING),
    // Alibaba: thoughts have a price of their own, and no cap.
    field("enable_code_interpreter", Effect::Tools, NOTHING),
    field("enable_search", Effect::Tools, NOTHING),
    field("enable_thinking", Effect::Price, NOTHING),
    field("search_options", Effect::Tools, NOTHING),
    // Baidu, Tencent, MiniMax
    field("enable_deep_read", Effect::Tools, NOTHING),
    field("enable_deep_search", Effect::Tools, NOTHING),
    field("enable_enhancement", Effect::Tools, NOTHING),
    field("enable_speed_search", Effect::Tools, NOTHING),
    field("force_search_enhancement", Effect::Tools, NOTHING),
    field("tokens_to_generate", Effect::Cap, NOTHING),
    field("web_search", Effect::Tools, EMPTY),
    // Vercel
    field("providerOptions", Effect::Price, EMPTY),
    // LiteLLM
    field("additional_drop_params", Effect::Cap, EMPTY),
    field("allowed_model_region", Effect::Price, NOTHING),
    field("api_base", Effect::Price, NOTHING),
    field("aws_region_name", Effect::Price, NOTHING),
    field("azure", Effect::Price, NOTHING),
    field("base_model", Effect::Price, NOTHING),
    field("base_url", Effect::Price, NOTHING),
    field("config", Effect::Price, EMPTY),
    field("content_policy_fallbacks", Effect::Price, EMPTY),
    field("context_window_fallback_dict", Effect::Price, EMPTY),
    field("context_window_fallbacks", Effect::Price, EMPTY),
    field("custom_llm_provider", Effect::Price, NOTHING),
    field("deployment_id", Effect::Price, NOTHING),
    field("drop_params", Effect::Cap, NOTHING),
    field("engine", Effect::Price, NOTHING),
    field("extra_headers", Effect::Price, EMPTY),
    field("extra_query", Effect::Price, EMPTY),
    field("fallbacks", Effect::Price, EMPTY),
    field("guardrails", Effect::Tools, EMPTY),
    field("headers", Effect::Price, EMPTY),
    field("input_cost_per_second", Effect::Price, NOTHING),
    field("input_cost_per_token", Effect::Price, NOTHING),
    field("knowledge_bases", Effect::Input, EMPTY),
    field("litellm_metadata", Effect::Price, EMPTY),
    field("litellm_params", Effect::Price, EMPTY),
    field("mock_testing_content_policy_fallbacks", Effect::Price, NOTHING),
    field("mock_testing_context_fallbacks", Effect::Price, NOTHING),
    field("mock_testing_fallbacks", Effect::Price, NOTHING),
    field("model_id", Effect::Price, NOTHING),
    field("model_info", Effect::Price, EMPTY),
    field("model_list", Effect::Price, EMPTY),
    field("output_cost_per_second", Effect::Price, NOTHING),
    field("output_cost_per_token", Effect::Price, NOTHING),
    field("prompt_id", Effect::Input, EMPTY),
    field("provider_specific_header", Effect::Price, EMPTY),
    field("region_name", Effect::Price, NOTHING),
    field("specific_deployment", Effect::Price, NOTHING),
    field("tags", Effect::Price, EMPTY),
    field("user_config", Effect::Price, EMPTY),
    field("vector_store_ids", Effect::Input, EMPTY),
    field("vertex_location", Effect::Price, NOTHING),
    // Mistral: adds a prompt of its own.
    field("prompt_mode", Effect::Input, NOTHING),
    // Cohere and others: documents and searches of the provider's own
    field("connectors", Effect::Tools, EMPTY),
    field("documents", Effect::Input, EMPTY),
    field("file_ids", Effect::Input, EMPTY),
    field("files", Effect::Input, EMPTY),
    // vLLM: a template says what it was given as often as it likes; the others say how large images and videos are.
    field("chat_template", Effect::Input, NOTHING),
    field("kv_transfer_params", Effect::Input, EMPTY),
    field("media_io_kwargs", Effect::Input, EMPTY),
    field("mm_processor_kwargs", Effect::Input, EMPTY),
    field("priority", Effect::Price, ZERO),
    field("use_beam_search", Effect::Output, NOTHING),
    // SGLang, llama.cpp, Ollama, Hugging Face's servers: caps and counts that take the place of ours
    field("lora", Effect::Price, EMPTY),
    field("lora_path", Effect::Price, EMPTY),
    field("max_length", Effect::Cap, NOTHING),
    field("max_new_tokens", Effect::Cap, NOTHING),
    field("max_output_length", Effect::Cap, NOTHING),
    field("n_cmpl", Effect::Output, ONE),
    field("n_predict", Effect::Cap, NOTHING),
    field("numResults", Effect::Output, ONE),
    field("num_generations", Effect::Output, ONE),
    field("num_predict", Effect::Cap, NOTHING),
    field("num_return_sequences", Effect::Output, ONE),
    field("options", Effect::Cap, EMPTY),
    field("parameters", Effect::Cap, EMPTY),
    field("session_params", Effect::Input, EMPTY),
];
