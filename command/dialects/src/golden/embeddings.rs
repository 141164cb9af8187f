//! Embeddings: `openai-embeddings/requests`, and `<kind>/embeddings` with responses to two inputs.

use intermediate::embeddings::Encoding;

use super::*;

fn embedding() -> impl Iterator<Item = (&'static str, ProviderKind)> {
    kinds().filter(|(_, kind)| provider_dialects::of(*kind).has(Api::Embeddings))
}

/// Holds: inf.embeddings
#[test]
fn requests_for_embeddings_go_upstream() {
    let folder_name = "openai-embeddings/requests";
    for (case, body) in cases(folder_name, "json") {
        let request = ClientRequest::parse(Surface::OpenAiEmbeddings, body);
        for (name, kind) in embedding() {
            let target = EmbeddingsTarget { model: "backend-1", allowed_fields: &NO_FIELDS };
            let found = match &request {
                Ok(request) => request.upstream_bodies().embeddings_body(kind, &target),
                Err(refusal) => Err(refusal.clone()),
            };
            let found = found.map_or_else(|refusal| refused(&refusal), |body| body.bytes.to_vec());
            check(folder_name, &format!("{case}.{name}.json"), &found);
        }
    }
}

/// Holds: inf.embeddings, inf.embeddings-exact
#[test]
fn embeddings_reach_their_client_in_the_encoding_that_it_asked_for() {
    for (name, kind) in embedding() {
        let folder_name = format!("{name}/embeddings");
        for (case, body) in cases(&folder_name, "json") {
            for (encoding, asked) in [(Encoding::Float, "float"), (Encoding::Base64, "base64")] {
                let request = json!({ "model": MODEL, "input": ["a", "b"], "encoding_format": asked }).to_string();
                let request = ClientRequest::parse(Surface::OpenAiEmbeddings, request.into()).expect("a request");
                let (found, metered) = match request.answer_reader().read(kind, body.clone(), None) {
                    Ok(answer) => {
                        let usage = usage(&answer.metered);
                        let rendered = answer.render(&receipt(&usage, &answer.metered));
                        serde_json::from_slice::<Value>(&rendered).expect("it is JSON");
                        (rendered.to_vec(), described(&answer.metered, None))
                    }
                    Err(FailedAnswer { fault, metered }) => {
                        (fault.to_string().into_bytes(), described(&metered, Some(fault.clone())))
                    }
                };
                assert!(matches!(request.answer_reader(), AnswerReader::Embeddings(_, it) if it.encoding == encoding));
                check(&folder_name, &format!("{case}.{asked}.json"), &found);
                check(&folder_name, &format!("{case}.json.metered.json"), metered.as_bytes());
            }
        }
    }
}
