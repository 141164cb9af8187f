//! Embeddings by `:batchEmbedContents`. Their order is that of the inputs.
//!
//! Token ids are refused, because Gemini takes texts alone, and so are more than 100 inputs. The client's name for its user
//! is dropped on purpose. Often no usage is reported: the tokens are then estimated. A text that is longer than the model's
//! context may be cut by Google, who takes no order not to.

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::embeddings::vectors::IndexedVector;
use intermediate::embeddings::{EmbeddingsRequest, Purpose};
use intermediate::{Metered, UpstreamFault, json};
use serde::Serialize;

use super::candidate::error_of;
use super::model;
use crate::EmbeddingsApi;
use crate::embedded_texts::{texts_of, vectors};

pub const API: EmbeddingsApi =
    EmbeddingsApi { path: |invocation| model::path(invocation.model, METHOD).into(), request_body, read_vectors };

const METHOD: &str = ":batchEmbedContents";
/// Texts per call, which Google says in its refusal of more.
const TEXTS_MAX: usize = 100;

#[derive(Serialize)]
struct GeminiEmbeddingsBody<'a> {
    requests: Vec<EmbedContent<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmbedContent<'a> {
    /// Each names the model of the path again.
    model: &'a str,
    content: EmbeddedContent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

#[derive(Serialize)]
struct EmbeddedContent<'a> {
    parts: [EmbeddedPart<'a>; 1],
}

#[derive(Serialize)]
struct EmbeddedPart<'a> {
    text: &'a str,
}

fn request_body(request: &EmbeddingsRequest, model: &str) -> Result<Bytes, Refusal> {
    let texts = texts_of(request, "gemini", TEXTS_MAX)?;
    let model = model::resource(model);
    let task_type = request.purpose.map(|purpose| match purpose {
        Purpose::SearchDocument => "RETRIEVAL_DOCUMENT",
        Purpose::SearchQuery => "RETRIEVAL_QUERY",
        Purpose::Classification => "CLASSIFICATION",
        Purpose::Clustering => "CLUSTERING",
    });
    let one = |text| EmbedContent {
        model: &model,
        content: EmbeddedContent { parts: [EmbeddedPart { text }] },
        task_type,
        output_dimensionality: request.dimensions,
    };
    Ok(json::written(&GeminiEmbeddingsBody { requests: texts.iter().map(|text| one(text)).collect() }).into())
}

fn read_vectors<'a>(text: &'a str, metered: &mut Metered) -> Result<Vec<IndexedVector<'a>>, UpstreamFault> {
    json::check(text)?;
    let [error, embeddings, usage] = json::pick(text, ["error", "embeddings", "usageMetadata"])?;
    if let Some(usage) = usage {
        metered.add_report(usage, true);
    }
    if let Some(error) = error {
        return Err(error_of(error, text));
    }
    vectors(embeddings, |index, embedding| {
        let [values] = json::pick(embedding, ["values"])?;
        Ok(IndexedVector { index, json: values.unwrap_or_default() })
    })
}

#[cfg(test)]
mod tests {
    use intermediate::embeddings::Inputs;

    use super::*;
    use crate::Invocation;

    #[test]
    fn each_text_is_a_request_of_its_own_that_names_the_model_again() {
        let inputs = Inputs::Texts(vec!["a".into(), "b\"".into()]);
        let purpose = Some(Purpose::SearchQuery);
        let request = EmbeddingsRequest { inputs, dimensions: Some(8), user: None, purpose };
        let body = request_body(&request, "gemini-embedding-001").expect("a body");
        let one = |text: &str| {
            format!(
                r#"{{"model":"models/gemini-embedding-001","content":{{"parts":[{{"text":"{text}"}}]}},"taskType":"RETRIEVAL_QUERY","outputDimensionality":8}}"#
            )
        };
        assert_eq!(body, format!(r#"{{"requests":[{},{}]}}"#, one("a"), one(r#"b\""#)));
        let of = |inputs| EmbeddingsRequest { inputs, dimensions: None, user: None, purpose: None };
        for inputs in [Inputs::Texts(vec!["a".into(); 101]), Inputs::Tokens(Vec::new())] {
            assert_eq!(request_body(&of(inputs), "m").expect_err("refused").details["field"], "input");
        }
        assert!(request_body(&of(Inputs::Texts(vec!["a".into(); 100])), "m").is_ok());
    }

    #[test]
    fn a_name_with_its_collection_is_not_given_another() {
        for (model, path, named) in [
            ("gemini-embedding-001", "/models/gemini-embedding-001:batchEmbedContents", "models/gemini-embedding-001"),
            ("models/gemini-x", "/models/gemini-x:batchEmbedContents", "models/gemini-x"),
            ("tunedModels/mine", "/tunedModels/mine:batchEmbedContents", "tunedModels/mine"),
            ("../x?y", "/models/..%2Fx%3Fy:batchEmbedContents", "models/../x?y"),
        ] {
            let invocation = Invocation { model, streamed: false, api_version: None, region: None };
            assert_eq!((API.path)(&invocation), path);
            let inputs = Inputs::Texts(vec!["a".into()]);
            let request = EmbeddingsRequest { inputs, dimensions: None, user: None, purpose: None };
            let wanted = format!(r#"{{"requests":[{{"model":"{named}","content":{{"parts":[{{"text":"a"}}]}}}}]}}"#);
            assert_eq!(request_body(&request, model).expect("a body"), wanted);
        }
    }

    #[test]
    fn vectors_are_found_in_their_order() {
        let text = r#"{"embeddings":[{"values":[1,2]},{"values":[3,4]}],"usageMetadata":{"promptTokenCount":4}}"#;
        let found = read_vectors(text, &mut Metered::default());
        let wanted = vec![IndexedVector { index: 0, json: "[1,2]" }, IndexedVector { index: 1, json: "[3,4]" }];
        assert_eq!(found, Ok(wanted));
        let error = read_vectors(r#"{"error":{"code":503,"message":"busy"}}"#, &mut Metered::default());
        assert!(matches!(error, Err(UpstreamFault::InBandError { retryable: true })), "{error:?}");
        for text in ["{}", "[]", r#"{"embeddings":{}}"#] {
            assert_eq!(
                read_vectors(text, &mut Metered::default()),
                Err(UpstreamFault::Malformed("no embeddings")),
                "{text}"
            );
        }
    }
}
