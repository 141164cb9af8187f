//! Fuzz targets of query strings. See `docs/fuzzing.md`.

use ::events::refusal::{ErrorCode, Refusal};
use ::events::time::{parse_rfc3339, rfc3339};
use fuzzing::{Corpus, Dice, fuzz, long, within_bounds};

use crate::page::PageRequest;
use crate::parameters::Parameters;
use crate::tests::world::{World, operator, text};

const QUERIES: [(&str, &str); 12] = [
    (
        "/v1/usage",
        "group_by=tenant,day,model,metadata.team&from=2026-11-20&to=2026-11-21T00:00:00Z&limit=10&metadata.env=a&model=sim",
    ),
    (
        "/v1/usage",
        "hour=2026-11-20T08:00:00%2B01:00&day=2026-11-20&week=2026-11-20&month=2026-11&totals=false&format=csv&key=key_00000000000000000000000000000005",
    ),
    ("/v1/budgets", "limit=5&cursor=standings-7&include_ended=true"),
    ("/v1/audit", "from=2026-11-20&actor=operator&action=key.created&resource=key/key_1&severity=info&q=a&format=json"),
    ("/v1/audit", "format=csv&limit=1000&cursor=audit-9223372036854775807&q=%C3%A9%25_"),
    ("/v1/audit", "search=asr_1&severity=info"),
    (
        "/v1/inferences",
        "status=completed&tenant=ten_00000000000000000000000000000003&provider=sim&backend=sim/echo&format=ndjson",
    ),
    ("/v1/events", "after=1&types=budget.settled.v1,key.created.v1&limit=3&from=2020-01-01&to=2100-01-01T00:00:00Z"),
    (
        "/v1/admin/keys",
        "user_id=usr_00000000000000000000000000000004&name=app&limit=1&cursor=keys-3&include_ended=false",
    ),
    ("/v1/admin/prices", "partner_id=par_1&tenant_id=ten_1"),
    ("/v1/log/head", ""),
    ("/v1/projections", ""),
];

fn corpus() -> Corpus {
    Corpus::of(QUERIES.map(|(_, query)| query.as_bytes().to_vec()))
}

/// One parameter changed, doubled, emptied, escaped; or bytes as they come.
fn any_query(corpus: &Corpus, dice: &mut Dice<'_>) -> String {
    let query = String::from_utf8_lossy(&corpus.draw(dice)).into_owned();
    let mut parts: Vec<String> = query.split('&').map(str::to_owned).collect();
    for _ in 0..dice.below(3) {
        let at = dice.below(parts.len());
        let part = parts[at].clone();
        let (name, value) = part.split_once('=').unwrap_or((&part, ""));
        let digits = dice.number();
        parts[at] = match dice.below(7) {
            0 => format!("{part}&{part}"),
            1 => format!("{name}={digits}"),
            2 => format!("{name}=%2B{digits}"),
            3 => format!("{name}=0{digits}"),
            4 => format!("{name}={}", value.to_uppercase()),
            5 => format!("{name}=%{:02x}{value}", dice.byte()),
            _ => format!("{name}={}", dice.text_of("0123456789-+:TZ.%20", 24)),
        };
    }
    parts.join("&")
}

fn parsed(query: &str) -> Result<Parameters, Refusal> {
    Parameters::parse(query)
}

/// The longest message of a refusal, which may repeat the query.
fn is_a_refusal(refusal: &Refusal, query: &str) {
    assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{query}");
    assert!(refusal.details.contains_key("field") && refusal.details.contains_key("reason"), "{query}");
}

#[test]
fn a_cursor_that_is_taken_is_one_that_a_list_gives() {
    fuzz!(20_000, |dice| {
        let cursor = match dice.below(4) {
            0 => format!("audit-{}", dice.number()),
            1 => format!("audit-0{}", dice.number()),
            2 => format!("audit-%2B{}", dice.number()),
            _ => format!("{}{}", dice.text_of("audit-", 6), dice.text_of("0123456789-%+ x", 22)),
        };
        let query = format!("cursor={cursor}");
        let Ok(mut parameters) = parsed(&query) else { return };
        let given = parameters.text("cursor").expect("it is there");
        match PageRequest::take(&mut parsed(&query).expect("it was parsed before"), "audit") {
            Ok(cut) => assert_eq!(format!("audit-{}", cut.bounds.before), given, "{query}"),
            Err(refusal) => {
                is_a_refusal(&refusal, &query);
                assert_eq!(refusal.details["field"], "cursor");
                let digits = given.strip_prefix("audit-").unwrap_or_default();
                let is_position = digits.parse::<i64>().is_ok_and(|at| at >= 0 && at.to_string() == digits);
                assert!(!is_position, "{query}");
            }
        }
    });
}

#[test]
fn a_time_that_is_taken_is_one_that_can_be_written() {
    let corpus = Corpus::of(
        ["2026-11-20", "2026-11-20T08:15:30.123456Z", "9999-12-31", "-0001-01-01", "+12345-01-01", " 2026 - 1 - 2"]
            .map(|time| time.as_bytes().to_vec()),
    );
    fuzz!(10_000, |dice| {
        let time = String::from_utf8_lossy(&corpus.draw(dice)).replace('+', "%2B");
        let Ok(mut parameters) = parsed(&format!("from={time}")) else { return };
        match parameters.time("from") {
            Ok(at) => assert!(at.is_none_or(|at| parse_rfc3339(&rfc3339(at)) == Some(at)), "{time} is {at:?}"),
            Err(refusal) => is_a_refusal(&refusal, &time),
        }
    });
}

#[test]
fn every_question_is_answered_or_refused_by_name() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let world = runtime.block_on(World::new());
    let corpus = corpus();
    fuzz!(3_000, |dice| {
        let (path, _) = QUERIES[dice.below(QUERIES.len())];
        let query = any_query(&corpus, dice);
        // Waits for what may never come are bounded elsewhere.
        if query.contains("min_position") || format!("{path}?{query}").parse::<http::Uri>().is_err() {
            return;
        }
        let asked = format!("{path}?{query}");
        let (status, refusal, body) = runtime.block_on(async {
            let response = world.send(&operator(), &asked, &[]).await;
            (response.status(), response.extensions().get::<Refusal>().cloned(), text(response).await)
        });
        match refusal {
            None => assert_eq!(status, http::StatusCode::OK, "{asked} {body}"),
            Some(refusal) => is_a_refusal(&refusal, &asked),
        }
    });
    runtime.block_on(world.close());
}

#[test]
fn long_queries_are_read_in_time() {
    let many: String = (0..long() / 16).map(|number| format!("n{number}=1&")).collect();
    for query in ["a".repeat(long()), "&".repeat(long()), "%25".repeat(long() / 3), many] {
        within_bounds(&format!("{query:.9}…"), || match parsed(&query).and_then(Parameters::finish) {
            Ok(()) => assert!(query.starts_with('&'), "{query:.9}"),
            Err(refusal) => assert!(refusal.message.len() < 4096, "{query:.9}"),
        });
    }
}
