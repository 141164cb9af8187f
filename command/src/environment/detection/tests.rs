use std::collections::HashMap;

use built_in_catalogue::Catalogue;
use events::event::admin::{Origin, OutputCapField};
use secrets::Secret;

use super::*;
use crate::environment::catalogued::known_providers;
use crate::environment::deployments::Deployment;

const KEY: &str = "key-that-no-message-repeats";

fn detected(variables: &[(&str, &str)]) -> Result<Detected, EnvironmentFault> {
    detected_with(DetectionSettings::default(), variables)
}

fn detected_with(settings: DetectionSettings, variables: &[(&str, &str)]) -> Result<Detected, EnvironmentFault> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let known = known_providers(Catalogue::shipped());
    detect(&known, settings, |name| variables.get(name).map(|value| (*value).to_owned()))
}

/// The only provider of these variables.
fn found(variables: &[(&str, &str)]) -> FoundProvider {
    let mut providers = detected(variables).expect("no fault").providers;
    assert_eq!(providers.len(), 1, "{variables:?}: {providers:?}");
    providers.remove(0)
}

fn key_of(found: &FoundProvider) -> Option<&str> {
    found.key.as_ref().map(Secret::reveal)
}

/// Holds: environment.providers
#[test]
fn each_variable_names_a_provider_at_its_usual_address() {
    for (variable, id, kind, base_url) in [
        ("OPENAI_API_KEY", "openai", "openai", "https://api.openai.com/v1"),
        ("ANTHROPIC_API_KEY", "anthropic", "anthropic", "https://api.anthropic.com"),
        ("GEMINI_API_KEY", "gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta"),
        ("GOOGLE_API_KEY", "gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta"),
        ("GROQ_API_KEY", "groq", "openai", "https://api.groq.com/openai/v1"),
        ("TOGETHER_API_KEY", "together", "openai", "https://api.together.ai/v1"),
        ("MISTRAL_API_KEY", "mistral", "openai", "https://api.mistral.ai/v1"),
        ("PERPLEXITY_API_KEY", "perplexity", "openai", "https://api.perplexity.ai"),
        ("OPENROUTER_API_KEY", "openrouter", "openai", "https://openrouter.ai/api/v1"),
        ("XAI_API_KEY", "xai", "openai", "https://api.x.ai/v1"),
        ("COHERE_API_KEY", "cohere", "cohere", "https://api.cohere.com"),
        ("CO_API_KEY", "cohere", "cohere", "https://api.cohere.com"),
        ("HF_TOKEN", "huggingface", "openai", "https://router.huggingface.co/v1"),
        ("DASHSCOPE_API_KEY", "dashscope", "openai", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        ("DEEPSEEK_API_KEY", "deepseek", "openai", "https://api.deepseek.com"),
    ] {
        let found = found(&[(variable, KEY)]);
        let state = found.state(format!("prv_{:032x}", 1).parse().expect("an id"), found.id.clone());
        assert_eq!((found.id.as_str(), state.kind.to_string().as_str()), (id, kind), "{variable}");
        assert_eq!((state.base_url.as_deref(), key_of(&found)), (Some(base_url), Some(KEY)), "{variable}");
        assert_eq!(state.key_variable.as_deref(), Some(variable));
        assert!(!state.allow_private_network && state.origin == Some(Origin::Environment), "{variable}");
        assert!(found.made(&state), "{variable}");
    }
}

#[test]
fn an_address_beside_the_key_is_used_and_may_be_private() {
    for (key, address, server) in [
        ("OPENAI_API_KEY", "OPENAI_BASE_URL", Some("openai")),
        ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", None),
        ("GEMINI_API_KEY", "GEMINI_BASE_URL", None),
        ("GOOGLE_API_KEY", "GEMINI_BASE_URL", None),
        ("GROQ_API_KEY", "GROQ_BASE_URL", Some("groq")),
        ("TOGETHER_API_KEY", "TOGETHER_BASE_URL", Some("together")),
        ("MISTRAL_API_KEY", "MISTRAL_BASE_URL", Some("mistral")),
        ("PERPLEXITY_API_KEY", "PERPLEXITY_BASE_URL", Some("perplexity")),
        ("OPENROUTER_API_KEY", "OPENROUTER_BASE_URL", Some("openrouter")),
        ("XAI_API_KEY", "XAI_BASE_URL", Some("xai")),
        ("COHERE_API_KEY", "COHERE_BASE_URL", None),
        ("CO_API_KEY", "CO_BASE_URL", None),
        ("HF_TOKEN", "HF_BASE_URL", Some("huggingface")),
        ("DASHSCOPE_API_KEY", "DASHSCOPE_BASE_URL", Some("dashscope")),
        ("DEEPSEEK_API_KEY", "DEEPSEEK_BASE_URL", Some("deepseek")),
        ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_BASE_URL", None),
    ] {
        let found = found(&[(key, KEY), (address, "http://10.1.2.3:8000/proxy/")]);
        let state = found.state(format!("prv_{:032x}", 1).parse().expect("an id"), found.id.clone());
        assert_eq!(state.base_url.as_deref(), Some("http://10.1.2.3:8000/proxy"), "{address}");
        assert_eq!(state.server.map(|server| server.to_string()).as_deref(), server, "{address}");
        assert!(state.allow_private_network, "{address}");
        // An address is no provider by itself.
        assert!(detected(&[(address, "http://10.1.2.3")]).expect("no fault").providers.is_empty(), "{address}");
    }
}

#[test]
fn only_an_address_in_a_private_network_is_taken_for_one() {
    fn resolve(name: &str) -> Vec<IpAddr> {
        match name {
            "llm.corp.example" => vec!["10.0.0.9".parse().expect("an address")],
            "proxy.example" => vec!["1.1.1.1".parse().expect("an address")],
            _ => Vec::new(),
        }
    }
    let settings = DetectionSettings { resolve: Some(resolve), ..DetectionSettings::default() };
    for (address, is_private) in [
        ("http://10.1.2.3/v1", true),
        ("https://1.1.1.1/v1", false),
        ("https://llm.corp.example/v1", true),
        ("https://proxy.example/v1", false),
        ("http://vllm:8000/v1", true),
        ("http://vllm.models.svc/v1", true),
        ("https://not-there.example/v1", false),
    ] {
        let found = detected_with(settings, &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", address)]);
        let found = found.expect("no fault").providers.remove(0);
        assert_eq!((found.is_private, found.has_own_address), (is_private, true), "{address}");
        let state = found.state(format!("prv_{:032x}", 1).parse().expect("an id"), found.id.clone());
        assert_eq!(state.allow_private_network, is_private, "{address}");
        assert_eq!(state.server.map(|server| server.to_string()).as_deref(), Some("openai"), "{address}");
    }
    let of_google = found(&[("GOOGLE_API_KEY", KEY), ("GOOGLE_BASE_URL", "http://10.1.2.3")]);
    assert!(!of_google.has_own_address, "another program's");
}

#[test]
fn a_key_may_end_with_one_line_end() {
    for ended in [format!("{KEY}\n"), format!("{KEY}\r\n")] {
        assert_eq!(key_of(&found(&[("OPENAI_API_KEY", &ended)])), Some(KEY));
    }
    for wrong in [format!("{KEY}\n\n"), format!("\n{KEY}"), format!("{KEY}\r")] {
        let fault = detected(&[("OPENAI_API_KEY", &wrong)]).expect_err("a fault");
        assert!(fault.to_string().starts_with("OPENAI_API_KEY "), "{fault}");
    }
    assert!(detected(&[("OPENAI_API_KEY", "\n")]).expect("no fault").providers.is_empty());
}

#[test]
fn an_empty_variable_is_as_one_that_is_not_set() {
    assert!(detected(&[("OPENAI_API_KEY", "")]).expect("no fault").providers.is_empty());
    let found = found(&[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", "")]);
    assert!(!found.is_private);
}

#[test]
fn headers_that_name_an_organization_are_sent() {
    let found = found(&[("OPENAI_API_KEY", KEY), ("OPENAI_ORG_ID", "org-1")]);
    assert_eq!(found.headers, [("openai-organization".to_owned(), "org-1".to_owned())].into());
    let fault = detected(&[("OPENAI_API_KEY", KEY), ("OPENAI_PROJECT_ID", "a\nb")]).expect_err("a fault");
    assert_eq!(fault.variable, "OPENAI_PROJECT_ID");
    let fault = detected(&[("OPENAI_API_KEY", KEY), ("OPENAI_ORG_ID", "sk-of-nobody")]).expect_err("a fault");
    assert_eq!(
        fault.to_string(),
        "OPENAI_ORG_ID looks like an API key, and events would contain it: set it to the organization's id, for example \
         OPENAI_ORG_ID=org-1"
    );
    let fault = detected(&[("OPENAI_API_KEY", KEY), ("OPENAI_PROJECT_ID", "sk-of-nobody")]).expect_err("a fault");
    assert!(fault.to_string().ends_with("set it to the project's id, for example OPENAI_PROJECT_ID=proj_1"), "{fault}");
}

#[test]
fn azure_needs_an_endpoint_and_serves_its_deployments() {
    const ENDPOINT: (&str, &str) = ("AZURE_OPENAI_ENDPOINT", "https://res.openai.azure.com/");
    let key = ("AZURE_OPENAI_API_KEY", KEY);
    let alone = detected(&[key]).expect("no fault");
    assert!(alone.providers.is_empty() && alone.notes[0].contains("AZURE_OPENAI_ENDPOINT"), "{alone:?}");
    let without = detected(&[key, ENDPOINT]).expect("no fault");
    assert!(without.providers.len() == 1 && without.notes[0].contains(DEPLOYMENTS_VARIABLE), "{without:?}");
    let of = |list: &str| found(&[key, ENDPOINT, (DEPLOYMENTS_VARIABLE, list)]).deployments;
    let deployment =
        |model: &str, name: &str, zone| Deployment { model: model.to_owned(), name: name.to_owned(), zone };
    let both = vec![deployment("gpt-4.1", "prod", None), deployment("o4-mini", "o4-mini", None)];
    assert_eq!(of("gpt-4.1=prod, o4-mini,"), Some(both));
    let zoned = vec![deployment("gpt-4.1", "prod", Some("eu")), deployment("o4-mini", "o4-mini", Some("us"))];
    assert_eq!(of("gpt-4.1=prod@eu, o4-mini @ us"), Some(zoned));
    assert_eq!(of("gpt-4.1@global"), Some(vec![deployment("gpt-4.1", "gpt-4.1", None)]));
    let long = "m".repeat(201);
    for wrong in ["=", "a=", "=b", "a b", "a=b,a=c", "a,a", "a@mars", "a=b@", "@eu", "a@EU", &long] {
        let fault = detected(&[key, ENDPOINT, (DEPLOYMENTS_VARIABLE, wrong)]).expect_err("a fault");
        assert_eq!(fault.variable, DEPLOYMENTS_VARIABLE, "{wrong}");
    }
    let state = found(&[key, ENDPOINT]).state(format!("prv_{:032x}", 1).parse().expect("an id"), "a".to_owned());
    assert_eq!(state.given_output_cap_field(), Some(OutputCapField::MaxCompletionTokens));
}

#[test]
fn bedrock_is_found_by_its_key_and_by_an_access_key_only_where_that_is_asked_for() {
    let (region, bearer) = (("AWS_REGION", "eu-west-1"), ("AWS_BEARER_TOKEN_BEDROCK", KEY));
    let by_key = found(&[bearer, region]);
    assert_eq!(by_key.base_url, "https://bedrock-runtime.eu-west-1.amazonaws.com");
    assert_eq!(key_of(&by_key), Some(KEY));
    assert_eq!(
        found(&[bearer, ("AWS_DEFAULT_REGION", "cn-north-1")]).base_url,
        "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"
    );
    let incomplete = detected(&[bearer]).expect("no fault");
    assert!(incomplete.providers.is_empty() && incomplete.notes[0].contains("AWS_REGION"), "{incomplete:?}");
    let private = found(&[bearer, region, ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://10.0.0.1:80")]);
    assert!(private.is_private && private.base_url == "http://10.0.0.1");

    let (id, secret) = (("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", KEY));
    let unused = detected(&[id, secret, region]).expect("no fault");
    assert!(unused.providers.is_empty() && unused.notes.len() == 1, "{unused:?}");
    assert!(unused.notes[0].contains("AWS_ACCESS_KEY_ID is set, but LEDGERWAY_BEDROCK is not"), "{unused:?}");
    assert!(detected(&[id, bearer, region]).expect("no fault").notes.is_empty());
    let asked = DetectionSettings { bedrock: true, ..DetectionSettings::default() };
    let key = |variables: &[(&str, &str)]| {
        let detected = detected_with(asked, variables).expect("no fault");
        detected.providers.first().and_then(|found| key_of(found).map(str::to_owned))
    };
    assert_eq!(key(&[id, secret, region]), Some(format!("AKIDEXAMPLE:{KEY}")));
    assert_eq!(key(&[id, secret, ("AWS_SESSION_TOKEN", "t"), region]), Some(format!("AKIDEXAMPLE:{KEY}:t")));
    assert_eq!(key(&[id, secret, bearer, region]), Some(KEY.to_owned()));
    for (variables, at_fault) in [
        (vec![region], "AWS_ACCESS_KEY_ID"),
        (vec![id, region], "AWS_SECRET_ACCESS_KEY"),
        (vec![id, secret], "AWS_REGION"),
        (vec![("AWS_ACCESS_KEY_ID", "a:b"), secret, region], "AWS_ACCESS_KEY_ID"),
        (vec![id, secret, ("AWS_REGION", "eu west")], "AWS_REGION"),
    ] {
        assert_eq!(detected_with(asked, &variables).expect_err("a fault").variable, at_fault);
    }
}

#[test]
fn a_local_server_is_found_by_its_address_alone() {
    let found = found(&[("OLLAMA_URL", "http://127.0.0.1:11434")]);
    assert_eq!((found.id.as_str(), found.key_variable.as_deref()), ("ollama", None));
    assert!(found.is_private);
    assert!(detected(&[("OLLAMA_HOST", "127.0.0.1:11434")]).expect("no fault").providers.is_empty());
}

/// Holds: environment.faults
#[test]
fn a_value_that_cannot_be_right_is_named_and_a_key_is_not_repeated() {
    let key = ("OPENAI_API_KEY", KEY);
    let spaced = format!("{KEY} ");
    for (variables, at_fault, problem) in [
        (vec![("OPENAI_API_KEY", spaced.as_str())], "OPENAI_API_KEY", "visible ASCII"),
        (vec![("HF_TOKEN", "schlüssel")], "HF_TOKEN", "visible ASCII"),
        (vec![("AWS_BEARER_TOKEN_BEDROCK", "a:b"), ("AWS_REGION", "us-east-1")], "AWS_BEARER_TOKEN_BEDROCK", "API key"),
        (vec![key, ("OPENAI_BASE_URL", "api.openai.com")], "OPENAI_BASE_URL", "must be a URL"),
        (vec![key, ("OPENAI_BASE_URL", "https://me:secret@example.com")], "OPENAI_BASE_URL", "user name"),
        (vec![key, ("OPENAI_BASE_URL", "https://api.openai.com")], "OPENAI_BASE_URL", "https://api.openai.com/v1"),
        (
            vec![key, ("OPENAI_BASE_URL", "https://x.example/v1/chat/completions")],
            "OPENAI_BASE_URL",
            "/chat/completions",
        ),
        (vec![key, ("OPENAI_BASE_URL", "http://169.254.169.254/v1")], "OPENAI_BASE_URL", "never called"),
        (vec![("OLLAMA_URL", "127.0.0.1:11434")], "OLLAMA_URL", "http"),
    ] {
        let fault = detected(&variables).expect_err("a fault");
        let said = fault.to_string();
        assert!(fault.variable == at_fault && said.contains(problem), "{said}");
        assert!(said.contains(&format!("for example {at_fault}=")), "{said}");
        assert!(!said.contains(KEY) && !said.contains("secret@"), "{said}");
    }
}

#[test]
fn what_is_meant_for_other_programs_ends_no_start() {
    // Without the key, nobody would use it.
    assert!(
        detected(&[("OPENAI_BASE_URL", "api.openai.com"), ("AWS_REGION", "a b")])
            .is_ok_and(|found| found.providers.is_empty())
    );
    // A client of this gateway may be started from the same shell.
    let settings = DetectionSettings { own_port: Some(8080), ..DetectionSettings::default() };
    for (address, is_own) in [
        ("http://localhost:8080/v1", true),
        ("http://127.0.0.1:8080", true),
        ("http://[::1]:8080/v1", true),
        ("http://127.0.0.1:8081/v1", false),
        ("http://10.0.0.1:8080/v1", false),
    ] {
        let found =
            detected_with(settings, &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", address)]).expect("no fault");
        assert_eq!((found.providers.is_empty(), found.notes.len()), (is_own, usize::from(is_own)), "{address}");
    }
}

#[test]
fn no_output_shows_a_key() {
    let shown = format!("{:?}", detected(&[("OPENAI_API_KEY", KEY)]).expect("no fault"));
    assert!(!shown.contains(KEY), "{shown}");
}
