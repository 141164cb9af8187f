//! Parts of the sample requests: backend, route, ends.

use std::collections::BTreeMap;

use events::content::ContentPart;
use events::event::inference::{Backend, FinishReason, Hedge, InferenceEnded, Payer, Route};
use events::money::NanoUsd;
use events::routing::left_out::NotInRule;
use events::routing::{ChosenBy, LeftOut, PassedOverFor, RequestFeatures, RequestType, Strategy};
use events::terms::{AdmittedTerms, Region, RequiredTerms};
use events::usage::{TokenClasses, Usage, UsageSource};

use super::samples::{start, usd};
use crate::facts::id;

pub fn backend() -> Backend {
    Backend { provider_id: id(11), provider: "openai-eu".to_owned(), model: "gpt-4o".to_owned(), provider_key_id: None }
}

pub fn region(text: &str) -> Region {
    text.parse().expect("a region")
}

/// A route chosen by a rule with a strategy of its own.
pub fn route() -> Route {
    let [one, two] = ["gpt-4o", "gpt-4o-mini"].map(|model| format!("prv_0000000000000000000000000000000b/{model}"));
    let features = RequestFeatures {
        input_tokens: 120,
        language: "de".to_owned(),
        request_type: RequestType::Summary,
        complexity: 15,
        images: 0,
        documents: 0,
        tools: false,
        structured_output: false,
        streaming: true,
        hour: 8,
    };
    let stated = one.clone();
    Route {
        strategy: Strategy::Cost,
        chosen_by: ChosenBy::Request,
        figures: [(one, [5_120_000, 0].into()), (two.clone(), [310_000, 1].into())].into(),
        left_out: [(two, LeftOut::NotInRule(NotInRule).recorded())].into(),
        features: Some(features),
        features_digest: Some("7c".repeat(16)),
        rule: Some(1),
        stands_for: Some("gpt-4o".to_owned()),
        session: Some("5b".repeat(16)),
        canary: Some(stated.clone()),
        decided_at: Some(start()),
        terms: Some(AdmittedTerms {
            tenant: RequiredTerms { residency: Some(region("eu")), ..RequiredTerms::NONE },
            request: RequiredTerms { training: false, ..RequiredTerms::NONE },
            stated_by: [(stated, vec![4])].into(),
        }),
    }
}

pub fn ended() -> Box<InferenceEnded> {
    let tokens = TokenClasses {
        input_uncached_tokens: 60,
        input_cache_read_tokens: 40,
        input_cache_write_tokens: 7,
        input_cache_write_by_ttl: [("5m".to_owned(), 7)].into(),
        output_text_tokens: 30,
        output_reasoning_tokens: 20,
        ..TokenClasses::default()
    };
    Box::new(InferenceEnded {
        model: "gpt".to_owned(),
        admitted_at: start(),
        backend: Some(backend()),
        payer: None,
        usage: Some(Usage::new(tokens, UsageSource::Provider)),
        provider_usage: Some(serde_json::json!({ "prompt_tokens": 107, "completion_tokens": 50 })),
        cost_usd: usd(1_042_000),
        price_version: Some(9),
        finish_reason: Some(FinishReason::Stop),
        latency_ms: Some(842),
        first_token_ms: Some(210),
        attempts: Some(1),
        passed_over: BTreeMap::new(),
        queued_ms: None,
        hedge: None,
        upstream_request_id: Some("chatcmpl-1".to_owned()),
        answer_digest: None,
        content_lost: Vec::new(),
        code: None,
        reason: None,
    })
}

pub fn failed() -> Box<InferenceEnded> {
    Box::new(InferenceEnded {
        payer: Some(Payer::Own),
        usage: None,
        provider_usage: None,
        cost_usd: NanoUsd::ZERO,
        price_version: None,
        finish_reason: Some(FinishReason::Error),
        first_token_ms: None,
        attempts: Some(2),
        queued_ms: Some(1250),
        hedge: Some(Hedge::Failed),
        passed_over: [(
            "prv_0000000000000000000000000000000b/gpt-4o-mini".to_owned(),
            vec![PassedOverFor::NoRoom, PassedOverFor::RetryBudget],
        )]
        .into(),
        answer_digest: Some("ab".repeat(32)),
        content_lost: vec![ContentPart::Answer],
        code: Some("UPSTREAM_ERROR".to_owned()),
        reason: Some("status".to_owned()),
        ..*ended()
    })
}
