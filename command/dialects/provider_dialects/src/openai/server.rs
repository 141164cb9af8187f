//! How known servers deviate from OpenAI's dialect in what they take, as data. A server that is not known takes whatever
//! OpenAI does, as most do.
//!
//! A row says only what is documented or was seen: types of the server's own client library, its documentation, or its
//! error messages. What a server is not sent is either left out, if the answer is a good one without it, or the request is
//! refused for that target with the field's name.

use events::event::admin::{OutputCapField, Provider};
use events::refusal::Refusal;
use events::refused_parameters::RefusedParameter;
use intermediate::fields::Path;
use intermediate::json::{self, Kind};

use crate::address::host_of;
use crate::{CallIdRule, OutboundTarget, ProviderKind, Server};

/// A row of the table: what one server takes otherwise than OpenAI.
#[derive(Clone, Copy)]
pub struct Deviations {
    /// Hosts that are this server and no other. One that begins with a hyphen is the end of several.
    hosts: &'static [&'static str],
    /// The only name of the output cap that it takes; `None` if it takes both.
    pub output_cap_field: Option<OutputCapField>,
    /// False if it refuses `stream_options`. It then reports the usage of a stream unasked.
    pub takes_stream_options: bool,
    /// Its name for the seed.
    pub seed: &'static str,
    /// False if the role `developer` is `system` there.
    pub takes_developer: bool,
    /// True if it takes reasoning of an earlier message with tool calls, as `reasoning_content`.
    pub takes_reasoning: bool,
    /// True if it takes Google's signatures of earlier tool calls, in `extra_content`. Many servers refuse a member that they
    /// do not know, OpenAI among them, and none but Google's has a use for this one.
    pub takes_call_signatures: bool,
    /// The ids of tool calls that it takes.
    pub call_ids: CallIdRule,
    /// True if it refuses `metadata` of a response that it does not store.
    pub takes_metadata_only_if_stored: bool,
    /// True if it gives one choice alone.
    gives_one_choice: bool,
    /// The only fields that it takes, because it refuses others; `None` if it ignores those.
    fields: Option<&'static [&'static str]>,
    /// The only members of a message that it takes; `None` if it ignores others.
    pub members: Option<&'static [&'static str]>,
}

const NONE: Deviations = Deviations {
    hosts: &[],
    output_cap_field: None,
    takes_stream_options: true,
    seed: "seed",
    takes_developer: true,
    takes_reasoning: true,
    takes_call_signatures: false,
    call_ids: CallIdRule::Any,
    takes_metadata_only_if_stored: false,
    gives_one_choice: false,
    fields: None,
    members: None,
};

/// A server that ignores `max_completion_tokens`, or may: without a cap, a request would cost more than its hold.
const MAX_TOKENS_ALONE: Deviations = Deviations { output_cap_field: Some(OutputCapField::MaxTokens), ..NONE };

/// The row of a server.
pub const fn deviations(server: Server) -> &'static Deviations {
    match server {
        // Its reasoning models refuse `max_tokens`, which is deprecated for the others. "The 'metadata' parameter is only allowed
        // when 'store' is enabled."
        Server::Openai => &Deviations {
            hosts: &["api.openai.com", "eu.api.openai.com", "us.api.openai.com"],
            output_cap_field: Some(OutputCapField::MaxCompletionTokens),
            call_ids: CallIdRule::OPENAI,
            takes_metadata_only_if_stored: true,
            ..NONE
        },
        // Refuses unknown fields with 422, also of messages.
        Server::Mistral => &Deviations {
            hosts: &["api.mistral.ai", "codestral.mistral.ai"],
            takes_stream_options: false,
            seed: "random_seed",
            takes_developer: false,
            takes_reasoning: false,
            call_ids: CallIdRule::MISTRAL,
            fields: Some(MISTRAL_FIELDS),
            members: Some(&["content", "prefix", "role", "tool_call_id", "tool_calls"]),
            ..MAX_TOKENS_ALONE
        },
        // Refuses unknown fields with 400, also of messages; and reasoning, for models that do not reason.
        Server::Groq => &Deviations {
            hosts: &["api.groq.com"],
            takes_reasoning: false,
            gives_one_choice: true,
            fields: Some(GROQ_FIELDS),
            members: Some(&["content", "function_call", "role", "tool_call_id", "tool_calls"]),
            ..NONE
        },
        Server::Together => &Deviations { hosts: &["api.together.ai", "api.together.xyz"], ..MAX_TOKENS_ALONE },
        Server::Openrouter => &Deviations { hosts: &["openrouter.ai", "eu.openrouter.ai", "us.openrouter.ai"], ..NONE },
        Server::Perplexity => &Deviations { hosts: &["api.perplexity.ai"], takes_developer: false, ..MAX_TOKENS_ALONE },
        Server::Xai => &Deviations { hosts: &["api.x.ai"], ..NONE },
        Server::Huggingface => &Deviations { hosts: &["router.huggingface.co"], ..NONE },
        Server::Dashscope => &Deviations {
            hosts: &["dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"],
            ..MAX_TOKENS_ALONE
        },
        // Refuses other roles than four, and ignores other fields than its own.
        Server::Deepseek => &Deviations { hosts: &["api.deepseek.com"], takes_developer: false, ..MAX_TOKENS_ALONE },
        // Also Vertex AI, whose hosts begin with a location.
        Server::Gemini => &Deviations {
            hosts: &["generativelanguage.googleapis.com", "aiplatform.googleapis.com", "-aiplatform.googleapis.com"],
            takes_call_signatures: true,
            ..NONE
        },
        Server::Vllm => &NONE,
        Server::Sglang => &NONE,
        Server::LlamaCpp => &MAX_TOKENS_ALONE,
        Server::Ollama => &MAX_TOKENS_ALONE,
        // A server without known deviations, whatever its host.
        Server::Other => &NONE,
    }
}

#[rustfmt::skip]
const MISTRAL_FIELDS: &[&str] = &[
    "frequency_penalty", "guardrails", "logprobs", "max_tokens", "messages", "min_tokens", "model", "n",
    "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "prompt_logprobs", "prompt_mode",
    "random_seed", "reasoning_effort", "repetition_penalty", "response_format", "safe_prompt", "service_tier", "stop",
    "stream", "temperature", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "top_prompt_logprobs",
];

/// Without `logit_bias`, `logprobs` and `top_logprobs`: it knows them and refuses them.
#[rustfmt::skip]
const GROQ_FIELDS: &[&str] = &[
    "citation_options", "compound_custom", "disable_tool_validation", "documents", "exclude_domains",
    "frequency_penalty", "function_call", "functions", "include_domains", "include_reasoning", "max_completion_tokens",
    "max_tokens", "messages", "metadata", "model", "n", "parallel_tool_calls", "presence_penalty", "reasoning_effort",
    "reasoning_format", "response_format", "search_settings", "seed", "service_tier", "stop", "store", "stream",
    "stream_options", "temperature", "tool_choice", "tools", "top_p", "user",
];

/// Fields without which the answer is a good one.
const HARMLESS: [&str; 9] = [
    "metadata", "modalities", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier",
    "store", "user", "verbosity",
];

/// The server of a provider: the one that is named, or else the one whose host is in the address. `None` for one that is
/// not known. Providers of kinds without the setting are one server, apart from OpenRouter, which speaks several dialects
/// and bills documents alike in all of them.
pub fn server_of(provider: &Provider) -> Option<Server> {
    let kind = ProviderKind::named(&provider.kind)?;
    let takes_name = crate::of(kind).endpoint()?.settings.contains(&"server");
    match &provider.server {
        Some(name) if takes_name => name.find(Server::NAMED),
        _ => of_host(provider).filter(|server| takes_name || *server == Server::Openrouter),
    }
}

fn of_host(provider: &Provider) -> Option<Server> {
    let host = host_of(provider.base_url.as_deref()?)?;
    let mut servers = Server::ALL.iter().copied();
    servers.find(|server| deviations(*server).hosts.iter().any(|known| is_host(host, known)))
}

fn is_host(host: &str, known: &str) -> bool {
    host == known || known.starts_with('-') && host.ends_with(known)
}

/// The only field that the target takes for the output cap; `None` if it takes the client's. A server that ignores one of them does so
/// whatever is said of its models.
pub fn output_cap_field(target: &OutboundTarget<'_>) -> Option<OutputCapField> {
    let by_server = || deviations(target.server?).output_cap_field;
    let by_model = || match () {
        () if target.refused.contains(RefusedParameter::MaxTokens) => Some(OutputCapField::MaxCompletionTokens),
        () if target.refused.contains(RefusedParameter::MaxCompletionTokens) => Some(OutputCapField::MaxTokens),
        () => None,
    };
    target.output_cap.field.or_else(by_server).or_else(by_model)
}

/// The ids of tool calls that a provider of this kind takes, all of which speak OpenAI's dialect.
pub fn call_ids(kind: ProviderKind, server: Option<Server>) -> CallIdRule {
    match kind {
        ProviderKind::AzureOpenai => CallIdRule::AZURE,
        _ => deviations(server.unwrap_or(Server::Other)).call_ids,
    }
}

/// The treatment of a field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Sent,
    LeftOut,
}

/// Returns the treatment of a field with this value. Errors: the server refuses it, and the answer would be another one
/// without it.
pub fn fate(target: &OutboundTarget<'_>, name: &str, value: &str) -> Result<Fate, Refusal> {
    let Some(server) = target.server else { return Ok(Fate::Sent) };
    let deviations = deviations(server);
    let is_taken =
        deviations.fields.is_none_or(|fields| fields.contains(&name)) || target.allowed_fields.contains(name);
    let says_nothing = || json::kind(value) == Kind::Null || matches!(value, "false" | "[]" | "{}" | r#""""#);
    match name {
        "stream_options" if !deviations.takes_stream_options => Ok(Fate::LeftOut),
        "n" if deviations.gives_one_choice && !matches!(value, "1" | "null") => Err(refused(name, server)),
        _ if is_taken => Ok(Fate::Sent),
        _ if HARMLESS.contains(&name) || says_nothing() => Ok(Fate::LeftOut),
        _ => Err(refused(name, server)),
    }
}

fn refused(name: &str, server: Server) -> Refusal {
    Path::Root.field(name).refuse(format!("is not taken by the model's provider, {server}"))
}

impl Deviations {
    /// True if the messages of a request have to be edited, whatever ids its calls have.
    pub const fn changes_messages(&self) -> bool {
        !self.takes_developer || self.members.is_some()
    }

    /// True if other top-level fields than the cap have to be looked at.
    pub fn changes_fields(&self) -> bool {
        self.fields.is_some() || !self.takes_stream_options || self.gives_one_choice || self.seed != "seed"
    }

    /// True if it refuses fields that it does not know.
    pub const fn refuses_other_fields(&self) -> bool {
        self.fields.is_some()
    }

    /// True for a member of a message that is left out. Clients send back members that they got, most of them null.
    pub fn leaves_out(&self, member: &str, value: &str) -> bool {
        self.members
            .is_some_and(|members| !members.contains(&member) || member != "content" && json::kind(value) == Kind::Null)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events::event::admin::ProviderKindName;
    use events::ids::ProviderId;

    use super::*;

    /// Holds: admin.server
    #[test]
    fn the_page_of_providers_names_every_server_and_its_first_host() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/provider.md");
        let page = std::fs::read_to_string(page).expect("the page of providers");
        let (_, section) = page.split_once("## Known servers").expect("the section");
        for server in Server::ALL {
            for name in [Some(&server.as_str()), deviations(*server).hosts.first()].into_iter().flatten() {
                assert!(section.contains(&format!("`{name}`")), "{name}");
            }
        }
    }

    #[test]
    fn no_host_is_of_two_servers() {
        let hosts: Vec<_> = Server::ALL.iter().flat_map(|server| deviations(*server).hosts).collect();
        assert_eq!(hosts.iter().collect::<BTreeSet<_>>().len(), hosts.len());
    }

    #[test]
    fn a_server_is_the_named_one_or_else_that_of_the_host() {
        for (kind, server, base_url, wanted) in [
            ("openai", None, "https://api.mistral.ai/v1", Some(Server::Mistral)),
            ("openai", None, "https://api.groq.com:443/openai/v1", Some(Server::Groq)),
            ("openai", None, "https://api.deepseek.com", Some(Server::Deepseek)),
            ("openai", None, "https://eu-aiplatform.googleapis.com/v1/x/endpoints/openapi", Some(Server::Gemini)),
            ("openai", None, "https://aiplatform.googleapis.com/v1/x/endpoints/openapi", Some(Server::Gemini)),
            ("openai", None, "https://aiplatform.googleapis.com.example.com/v1", None),
            ("openai", None, "https://proxy.example.com/api.mistral.ai/v1", None),
            ("openai", None, "https://api.mistral.ai.example.com/v1", None),
            ("openai", Some("mistral"), "https://proxy.example.com/v1", Some(Server::Mistral)),
            ("openai", Some("other"), "https://api.mistral.ai/v1", Some(Server::Other)),
            ("openai", Some("of_a_later_version"), "https://api.mistral.ai/v1", None),
            ("azure_openai", None, "https://api.openai.com", None),
            ("anthropic", None, "https://api.mistral.ai", None),
            ("openai", None, "https://eu.openrouter.ai/api/v1", Some(Server::Openrouter)),
            ("openai", None, "https://us.openrouter.ai/api/v1", Some(Server::Openrouter)),
            ("anthropic", None, "https://openrouter.ai/api", Some(Server::Openrouter)),
            ("anthropic", None, "https://eu.openrouter.ai/api", Some(Server::Openrouter)),
            ("anthropic", None, "https://openrouter.ai.example.com/api", None),
        ] {
            let id: ProviderId = format!("prv_{:032x}", 1).parse().expect("an id");
            let provider = Provider {
                base_url: Some(base_url.to_owned()),
                server: server.map(|name| name.parse().expect("a name")),
                ..Provider::new(id, "p", ProviderKindName::literal(kind))
            };
            assert_eq!(server_of(&provider), wanted, "{kind} {server:?} {base_url}");
        }
    }
}
