//! The names of servers that speak OpenAI's dialect and deviate from it. `openai/server.rs` says how.

use events::named;

named! {
    /// A known server. Events record its name, which therefore never changes.
    pub enum Server {
        Openai = "openai",
        Mistral = "mistral",
        Groq = "groq",
        Together = "together",
        Openrouter = "openrouter",
        Perplexity = "perplexity",
        Xai = "xai",
        Huggingface = "huggingface",
        Dashscope = "dashscope",
        Deepseek = "deepseek",
        Gemini = "gemini",
        Vllm = "vllm",
        Sglang = "sglang",
        LlamaCpp = "llama_cpp",
        Ollama = "ollama",
        /// A server without known deviations, whatever its host.
        Other = "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs have these names for ever. A new server adds its own.
    #[test]
    fn the_names_of_servers_never_change() {
        let names: Vec<_> = Server::words().collect();
        let wanted = [
            "openai", "mistral", "groq", "together", "openrouter", "perplexity", "xai", "huggingface", "dashscope",
            "deepseek", "gemini", "vllm", "sglang", "llama_cpp", "ollama", "other",
        ];
        assert_eq!(names, wanted);
    }
}
