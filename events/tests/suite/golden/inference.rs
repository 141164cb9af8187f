//! What samples of requests have in common.

use events::event::inference::{Backend, Route};
use events::routing::{RequestFeatures, RequestType, Strategy};

use crate::facts::id;

pub fn backend() -> Backend {
    Backend { provider_id: id(11), provider: "openai-eu".to_owned(), model: "gpt-4o".to_owned(), provider_key_id: None }
}

/// By a rule with a strategy of its own.
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
    Route {
        strategy: Strategy::Cost,
        figures: [(one, [5_120_000, 0].into()), (two.clone(), [310_000, 1].into())].into(),
        left_out: [(two, "not_in_rule".to_owned())].into(),
        features: Some(features),
        rule: Some(1),
    }
}
