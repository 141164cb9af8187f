//! Clients that leave, at every surface and every family: after the first bytes of a stream, and before a whole answer.

use testing::request;

use super::*;

/// The samples whose end never comes, or that come late.
const STALLED: &str = "~open";
const LATE: &str = "~late";

fn body_of(
    matrix: &MatrixGateway,
    surface: &'static Surface,
    family: &'static Family,
    model: &str,
    streamed: bool,
) -> Value {
    let text = SCENARIOS.iter().find(|scenario| scenario.expectation == Expectation::Text).expect("it is there");
    let cell = Cell { family, surface, scenario: text, streamed };
    assert!(cell.documented(&matrix.documented).is_none(), "{}", cell.what());
    cell.request(model)
}

/// Leaves after the first bytes, with a reset: a client that has only closed its side may still listen.
async fn leave_stream(
    matrix: &MatrixGateway,
    family: &'static Family,
    surface: &'static Surface,
    model: &str,
) -> String {
    let body = body_of(matrix, surface, family, model, true).to_string();
    let mut wire = matrix.gateway.wire().await;
    wire.send(request::with_body("POST", surface.path, &matrix.key, body.as_bytes())).await;
    let head = wire.head().await.expect("a head");
    assert!(wire.read_some().await, "{} of {} has not begun", surface.name, family.kind);
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
    wire.reset();
    id.unwrap_or_else(|| panic!("{head}")).to_owned()
}

/// Leaves when the family has the request.
async fn leave_whole(matrix: &MatrixGateway, family: &'static Family, surface: &'static Surface, model: &str) {
    let (app, sample) = (matrix.gateway.client(Some(&matrix.key)), format!("{}{LATE}", family.text[0]));
    let (body, before) =
        (body_of(matrix, surface, family, model, false), matrix.upstream.seen(family.kind, &sample).len());
    let mut asking = JoinSet::new();
    asking.spawn(async move { app.try_post(surface.path, &body).await.is_ok() });
    matrix.until_asked(family, &sample, before + 1).await;
    asking.shutdown().await;
}

/// The requests of those that left streams.
async fn leave_all(matrix: Arc<MatrixGateway>, family: &'static Family) -> Vec<String> {
    let late = matrix.add_model(family, &format!("{}{LATE}", family.text[0])).await;
    let stalled = matrix.add_model(family, &format!("{}{STALLED}", family.text[1])).await;
    let mut left = Vec::new();
    for surface in &SURFACES {
        leave_whole(&matrix, family, surface, &late).await;
        left.push(leave_stream(&matrix, family, surface, &stalled).await);
    }
    left
}

/// Holds: event.one-end, inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_every_surface_may_leave_every_family_and_each_request_ends_once() {
    let matrix = Arc::new(MatrixGateway::new().await);
    let mut families = JoinSet::new();
    for family in &FAMILIES {
        families.spawn(leave_all(Arc::clone(&matrix), family));
    }
    let streamed: BTreeSet<String> = families.join_all().await.into_iter().flatten().collect();
    // The fold of the log panics if a request or a hold ends twice.
    let books = matrix.gateway.books_when_all_ended(WAIT_MAX).await;
    let cells = FAMILIES.len() * SURFACES.len();
    assert_eq!((streamed.len(), books.admitted().len()), (cells, cells * 2));
    let events = events_by_request(&matrix.gateway).await;
    for request in books.admitted() {
        let (life, is_stream) = (&events[request], streamed.contains(request));
        let ended = |name: &str| life.iter().filter(|event| type_of(event).starts_with(name)).count();
        assert_eq!((ended("inference.aborted."), ended("budget.settled.")), (1, 1), "{life:?}");
        assert_eq!(ended("inference.completed.") + ended("inference.failed."), 0, "{life:?}");
        let aborted = life.iter().find(|event| type_of(event) == "inference.aborted.v1").expect("it was counted");
        let answer = &aborted["data"];
        assert_eq!(answer["reason"], "client_closed", "{aborted}");
        if !is_stream {
            let admitted =
                life.iter().find(|event| type_of(event) == "inference.admitted.v1").expect("it was admitted");
            check_whole(admitted["data"]["model"].as_str().expect("a model"), answer);
        }
    }
}

/// A whole answer is generated, and charged as the family reports it, though nobody waits for it.
fn check_whole(model: &str, answer: &Value) {
    let of_model = |family: &&Family| model.strip_prefix(family.kind).is_some_and(|rest| rest.starts_with('/'));
    let family = FAMILIES.iter().find(of_model).expect("a family");
    let metered = metered(family.kind, family.text[0]);
    for (class, tokens) in metered["reported"].as_object().expect("a report") {
        assert_eq!(answer["usage"][class], *tokens, "{class} of {model}: {answer}");
    }
    assert_eq!(answer["usage"]["source"], "provider", "{model}: {answer}");
}
