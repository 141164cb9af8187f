//! Clients that leave, at every surface and every family: after the first bytes of a stream, and before a whole answer.

use testing::request;

use super::*;

/// The samples whose end never comes, or that come late.
const STALLED: &str = "~open";
const LATE: &str = "~late";

fn body_of(house: &House, surface: &'static Surface, family: &'static Family, model: &str, streamed: bool) -> Value {
    let text = SCENARIOS.iter().find(|scenario| scenario.shows == Shows::Text).expect("it is there");
    let cell = Cell { family, surface, scenario: text, streamed };
    assert!(cell.documented(&house.documented).is_none(), "{}", cell.what());
    cell.request(model)
}

/// Leaves after the first bytes, with a reset: a client that has only closed its side may still listen.
async fn leave_stream(house: &House, family: &'static Family, surface: &'static Surface, model: &str) -> String {
    let body = body_of(house, surface, family, model, true).to_string();
    let mut wire = house.gateway.wire().await;
    wire.send(request::with_body("POST", surface.path, &house.key, body.as_bytes())).await;
    let head = wire.head().await.expect("a head");
    assert!(wire.read_some().await, "{} of {} has not begun", surface.name, family.kind);
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
    wire.reset();
    id.unwrap_or_else(|| panic!("{head}")).to_owned()
}

/// Leaves when the family has the request.
async fn leave_whole(house: &House, family: &'static Family, surface: &'static Surface, model: &str) {
    let (app, sample) = (house.gateway.client(Some(&house.key)), format!("{}{LATE}", family.text[0]));
    let (body, before) =
        (body_of(house, surface, family, model, false), house.upstream.seen(family.kind, &sample).len());
    let mut asking = JoinSet::new();
    asking.spawn(async move { app.try_post(surface.path, &body).await.is_ok() });
    house.until_asked(family, &sample, before + 1).await;
    asking.shutdown().await;
}

/// The requests of those that left streams.
async fn leave_all(house: Arc<House>, family: &'static Family) -> Vec<String> {
    let late = house.add_model(family, &format!("{}{LATE}", family.text[0])).await;
    let stalled = house.add_model(family, &format!("{}{STALLED}", family.text[1])).await;
    let mut left = Vec::new();
    for surface in &SURFACES {
        leave_whole(&house, family, surface, &late).await;
        left.push(leave_stream(&house, family, surface, &stalled).await);
    }
    left
}

/// Holds: event.one-end, inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_every_surface_may_leave_every_family_and_each_request_ends_once() {
    let house = Arc::new(House::new().await);
    let mut families = JoinSet::new();
    for family in &FAMILIES {
        families.spawn(leave_all(Arc::clone(&house), family));
    }
    let streamed: BTreeSet<String> = families.join_all().await.into_iter().flatten().collect();
    // The fold of the log panics if a request or a hold ends twice.
    let books = house.gateway.books_when_all_ended(SOON).await;
    let cells = FAMILIES.len() * SURFACES.len();
    assert_eq!((streamed.len(), books.admitted().len()), (cells, cells * 2));
    let lives = lives(&house.gateway).await;
    for request in books.admitted() {
        let (life, is_stream) = (&lives[request], streamed.contains(request));
        let ended = |name: &str| life.iter().filter(|event| type_of(event).starts_with(name)).count();
        assert_eq!((ended("inference.aborted."), ended("budget.settled.")), (1, 1), "{life:?}");
        assert_eq!(ended("inference.completed.") + ended("inference.failed."), 0, "{life:?}");
        let aborted = life.iter().find(|event| type_of(event) == "inference.aborted.v1").expect("it was counted");
        let said = &aborted["data"];
        assert_eq!(said["reason"], "client_closed", "{aborted}");
        if !is_stream {
            let admitted =
                life.iter().find(|event| type_of(event) == "inference.admitted.v1").expect("it was admitted");
            check_whole(admitted["data"]["model"].as_str().expect("a model"), said);
        }
    }
}

/// A whole answer is generated, and charged as the family reports it, though nobody waits for it.
fn check_whole(model: &str, said: &Value) {
    let of_model = |family: &&Family| model.strip_prefix(family.kind).is_some_and(|rest| rest.starts_with('/'));
    let family = FAMILIES.iter().find(of_model).expect("a family");
    let metered = metered(family.kind, family.text[0]);
    for (class, tokens) in metered["reported"].as_object().expect("a report") {
        assert_eq!(said["usage"][class], *tokens, "{class} of {model}: {said}");
    }
    assert_eq!(said["usage"]["source"], "provider", "{model}: {said}");
}
