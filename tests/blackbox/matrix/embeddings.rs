//! The sixth surface: embeddings, of the families that have them and of those that have not. They have no streams, tools,
//! images, thoughts, caches, caps or refusals; what a request may have besides its inputs is in its golden files.

use super::*;

const SURFACE: &str = "openai-embeddings";
const PATH: &str = "/v1/embeddings";
const FEATURE: &str = "embeddings";
/// A request with two inputs, for which the samples are an answer.
const TWO: &str = "texts";
const ERROR: &str = "error-in-band.json";
const LATE: &str = "~late";

/// The sample of two vectors of a family that has embeddings.
fn sample(kind: &str) -> &'static str {
    if kind.ends_with("openai") { "floats.json" } else { "texts.json" }
}

/// The golden requests by name.
fn requests() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(golden().join(SURFACE).join("requests")).expect("a folder");
    let name = |file: std::fs::DirEntry| file.file_name().into_string().expect("a name");
    let cases = files.map(|file| name(file.expect("a file"))).filter(|file| file.matches('.').count() == 1);
    cases.map(|file| (file.replace(".json", ""), stored_json(format!("{SURFACE}/requests/{file}")))).collect()
}

async fn matrix() -> MatrixGateway {
    MatrixGateway::serving(SampleUpstream::of_embeddings(golden()).await).await
}

/// Holds: inf.embeddings
#[tokio::test(flavor = "multi_thread")]
async fn every_request_for_embeddings_is_sent_in_the_words_of_its_family_or_refused_as_documented() {
    let (matrix, requests) = (matrix().await, requests());
    let (mut refused, mut sent) = (Vec::new(), 0);
    for family in &FAMILIES {
        let has_embeddings = !matrix.documented.refuses(family.kind, FEATURE);
        assert_eq!(has_embeddings, matrix.upstream.kinds().contains(&family.kind.to_owned()), "{}", family.kind);
        let model = matrix.add_embedding_model(family, sample(family.kind)).await;
        for (name, request) in &requests {
            let (mut body, what) = (request.clone(), format!("{name} to {}", family.kind));
            body["model"] = json!(model);
            let reply = matrix.app.post(PATH, &body).await;
            if !has_embeddings {
                let details = reply.json()["error"]["details"].clone();
                let field = if name == "streamed" { "stream" } else { "model" };
                assert_eq!((reply.status, &details["field"]), (400, &json!(field)), "{what}: {details}");
                refused.push(reply.request_id());
                continue;
            }
            let right = stored_json(format!("{SURFACE}/requests/{name}.{}.json", family.kind));
            if right["refused"].is_string() {
                ExpectedRefusal::OfSurface.check(&reply, family, &right, &what);
                refused.push(reply.request_id());
            } else {
                let seen = matrix.upstream.seen(family.kind, sample(family.kind)).pop();
                assert_eq!(seen.map(comparable), Some(comparable(right)), "{what}");
                sent += 1;
            }
        }
    }
    assert!(sent > 20 && refused.len() > 30, "{sent} were sent, {} refused", refused.len());
    matrix.gateway.books_when_all_ended(WAIT_MAX).await;
    let events = events_by_request(&matrix.gateway).await;
    for request in &refused {
        let held = events.get(request).into_iter().flatten().find(|event| type_of(event).starts_with("budget."));
        assert!(held.is_none(), "{held:?}");
    }
}

/// Holds: inf.embeddings, inf.embeddings-exact
#[tokio::test(flavor = "multi_thread")]
async fn every_family_with_embeddings_answers_fails_and_is_left() {
    let matrix = matrix().await;
    let mut right = BTreeMap::new();
    for family in FAMILIES.iter().filter(|family| matrix.upstream.kinds().contains(&family.kind.to_owned())) {
        let sample = sample(family.kind);
        let case = sample.replace(".json", "");
        let model = matrix.add_embedding_model(family, sample).await;
        for encoding in ["float", "base64"] {
            let reply = matrix.app.post(PATH, &asking(&model, encoding)).await.must(200);
            let answer = stored_json(format!("{}/embeddings/{case}.{encoding}.json", family.kind));
            assert_eq!(reply.json()["data"], answer["data"], "{} as {encoding}", family.kind);
            assert_eq!(reply.json()["usage"], answer["usage"], "{} as {encoding}", family.kind);
            right.insert(reply.request_id(), (family, "inference.completed.v1"));
        }
        let failing = matrix.add_embedding_model(family, ERROR).await;
        let failed = matrix.app.post(PATH, &asking(&failing, "float")).await.must(502);
        assert_eq!(failed.json()["error"]["code"], "upstream_error", "{}", family.kind);
        right.insert(failed.request_id(), (family, "inference.failed.v1"));
        leave(&matrix, family).await;
    }
    let books = matrix.gateway.books_when_all_ended(WAIT_MAX).await;
    assert_eq!(books.admitted().len(), 5 * 4);
    let events = events_by_request(&matrix.gateway).await;
    for request in books.admitted() {
        let (life, known) = (&events[request], right.get(request));
        let outcome = known.map_or("inference.aborted.v1", |(_, outcome)| outcome);
        let ended =
            life.iter().find(|event| type_of(event) == outcome).unwrap_or_else(|| panic!("{outcome}: {life:?}"));
        assert!(life.last().is_some_and(|end| ENDS.contains(&type_of(end))), "{life:?}");
        if outcome != "inference.failed.v1" {
            // All samples of two vectors report as much.
            assert_eq!(ended["data"]["usage"]["input_uncached_tokens"], 8, "{ended}");
        }
    }
}

fn asking(model: &str, encoding: &str) -> Value {
    let mut body = stored_json(format!("{SURFACE}/requests/{TWO}.json"));
    (body["model"], body["encoding_format"]) = (json!(model), json!(encoding));
    // Vectors of another length than was asked for are an error.
    body.as_object_mut().expect("an object").remove("dimensions");
    body
}

async fn leave(matrix: &MatrixGateway, family: &Family) {
    let late = format!("{}{LATE}", sample(family.kind));
    let model = matrix.add_embedding_model(family, &late).await;
    let (app, mut asked) = (matrix.gateway.client(Some(&matrix.key)), JoinSet::new());
    asked.spawn(async move { app.try_post(PATH, &asking(&model, "float")).await.is_ok() });
    matrix.until_asked(family, &late, 1).await;
    asked.shutdown().await;
}
