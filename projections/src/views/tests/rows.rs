//! The rows of each view for known facts.

use super::facts::{Story, budget, key, partner, tenant, user};
use super::{dump, rows, summarize, views_of};

fn views_after(tell: impl FnOnce(&mut Story)) -> tempfile::TempDir {
    let mut story = Story::default();
    tell(&mut story);
    views_of(&story.facts(), 3)
}

#[test]
fn a_budget_shows_what_is_charged_and_what_is_held() {
    let dir = views_after(|story| {
        story.setup();
        story.completes(100, 7);
        story.under_way(101);
        story.fails(102);
        story.expires(103);
        story.corrects(103, -250);
    });
    let windows =
        rows(dir.path(), "SELECT budget_id, window_start, settled_nanos, held_nanos FROM rows_budget_windows");
    assert_eq!(windows, [format!("{}|0|{}|1000", budget(), 400 + 1000 - 250)]);
    let limits =
        rows(dir.path(), "SELECT partner_id, tenant_id, limit_nanos, period, closed_at, position FROM rows_budgets");
    assert_eq!(limits, [format!("{}|{}|6000000000|total|-|6", partner(), tenant())]);
}

/// The story begins ten seconds before nine o'clock; a request counts in the hour of its admission.
/// Holds: query.usage-counts
#[test]
fn usage_counts_in_the_hour_of_admission_under_the_backend_that_served() {
    let dir = views_after(|story| {
        story.setup();
        story.completes(100, 7);
        story.under_way(101);
        story.fails(102);
        story.expires(103);
        story.corrects(103, 250);
        story.refuses(None, 17);
    });
    let usage = rows(
        dir.path(),
        "SELECT strftime('%H', hour, 'unixepoch'), model, backend, requests, refused, failed, input_uncached_tokens,
                output_text_tokens, cost_nanos FROM rows_usage_by_hour",
    );
    assert_eq!(
        usage,
        [
            "08|large|sim/echo|1|0|0|12|9|400",
            "09|large|sim/echo|1|0|1|0|0|0",
            "09|large||2|17|0|0|0|1000",
            "09|||0|0|0|0|0|250",
        ]
    );
    let chains = rows(dir.path(), "SELECT DISTINCT partner_id, tenant_id, user_id, key_id FROM rows_usage_by_hour");
    assert_eq!(chains, [format!("{}|{}|{}|{}", partner(), tenant(), user(), key())]);
    let latencies = rows(dir.path(), "SELECT backend, latency_ms, latency_requests FROM rows_usage_latency");
    assert_eq!(latencies, ["sim/echo|[30]|[1]", "sim/echo|[7]|[1]"]);
}

/// Holds: query.inferences
#[test]
fn an_inference_has_its_whole_life_in_one_row() {
    let dir = views_after(|story| {
        story.setup();
        story.completes(100, 7);
        story.fails(102);
        story.expires(103);
        story.corrects(103, -250);
        story.under_way(101);
        story.refuses(Some(104), 1);
        story.refuses(None, 17);
    });
    let lives = rows(
        dir.path(),
        "SELECT status, backend, cost_nanos, position, hold_position, outcome_position, hold_end_position
         FROM rows_inferences",
    );
    assert_eq!(
        lives,
        [
            "aborted|-|750|16|17|18|19",
            "admitted|-|0|21|22|-|-",
            "completed|sim/echo|400|7|8|9|10",
            "failed|sim/echo|0|11|12|14|15",
            "refused|-|0|23|-|-|-",
        ]
    );
    let incidents = rows(dir.path(), "SELECT position FROM rows_inference_incidents");
    assert_eq!(incidents, ["13", "20"]);
    let used = rows(
        dir.path(),
        "SELECT position, input_uncached_tokens, output_text_tokens, latency_ms, corrected_nanos FROM rows_inferences",
    );
    assert_eq!(used, ["11|0|0|30|0", "16|0|0|-|-250", "21|0|0|-|0", "23|0|0|-|0", "7|12|9|7|0"]);
    let others =
        rows(dir.path(), "SELECT position, tenant_id, key_id, model, refused, cost_nanos FROM rows_other_usage");
    let (tenant, key) = (tenant(), key());
    assert_eq!(
        others,
        [
            format!("20|{tenant}|{key}||0|-250"),
            format!("23|{tenant}|{key}|large|1|0"),
            format!("24|{tenant}|{key}|large|17|0"),
        ]
    );
}

#[test]
fn the_audit_has_administration_refusals_and_reads_but_no_traffic() {
    let dir = views_after(|story| {
        story.setup();
        story.completes(100, 7);
        story.refuses(Some(104), 1);
        story.rotates_and_revokes();
        story.reads_and_is_rejected();
    });
    let entries =
        rows(dir.path(), "SELECT position, actor, action, resource, category, severity, outcome FROM rows_audit");
    let (key, budget) = (key(), budget());
    assert_eq!(entries.len(), 13);
    for expected in [
        format!("4|operator|key.created|key/{key}|administration|notice|success"),
        format!("5|operator|budget.opened|budget/{budget}|money|notice|success"),
        format!("13|operator|key.revoked|key/{key}|administration|notice|success"),
        format!("14|system:gateway|access.denied|key/{key}|access|warning|denied"),
        format!("15|{key}|access.read|key/{key}|reads|info|success"),
        format!("16|{key}|admin.rejected|budget/{budget}|administration|notice|denied"),
        format!("17|{key}|admin.rejected|key/{key}|administration|notice|denied"),
    ] {
        assert!(entries.contains(&expected), "{expected} is not in {entries:#?}");
    }
}

#[test]
fn the_catalogue_has_every_resource_as_its_last_event_left_it() {
    let dir = views_after(|story| {
        story.setup();
        story.rotates_and_revokes();
    });
    let resources = rows(
        dir.path(),
        "SELECT kind, id, partner_id, tenant_id, user_id, name, ended_at IS NULL, created_position, position
         FROM rows_catalogue",
    );
    let (partner, tenant, user, key, budget) = (partner(), tenant(), user(), key(), budget());
    assert_eq!(
        resources,
        [
            format!("budget|{budget}|{partner}|{tenant}|-|-|1|5|6"),
            format!("key|{key}|{partner}|{tenant}|{user}|app|0|4|8"),
            format!("partner|{partner}|{partner}|-|-|P|1|1|1"),
            format!("tenant|{tenant}|{partner}|{tenant}|-|T|1|2|2"),
            format!("user|{user}|{partner}|{tenant}|{user}|-|1|3|3"),
        ]
    );
    let limit = rows(dir.path(), "SELECT json_extract(body, '$.limit_usd') FROM rows_catalogue WHERE kind = 'budget'");
    assert_eq!(limit, ["6.000000000"]);
}

#[test]
fn every_checkpoint_is_at_the_last_event() {
    let dir = views_after(Story::setup);
    let checkpoints = rows(dir.path(), "SELECT DISTINCT position, error FROM rows_projections");
    assert_eq!(checkpoints, ["6|-"]);
}

#[test]
fn no_sum_overflows_however_often_the_maximum_comes() {
    const TIMES: u128 = 40;
    let mut story = Story::default();
    story.setup();
    for number in 0..TIMES {
        story.completes_at_the_maximum(100 + number);
        story.corrects(100 + number, i64::MAX);
        story.refuses(None, u64::MAX);
    }
    story.corrects(100, i64::MIN);
    story.corrects(100, i64::MIN);
    let facts = story.facts();
    let (tokens, money) = (TIMES * u128::from(u64::MAX), i128::from(i64::MAX));
    let times = i128::try_from(TIMES).expect("few");
    let expected = dump(views_of(&facts, facts.len()).path());
    for batch in [facts.len(), 1, 7] {
        let dir = views_of(&facts, batch);
        assert_eq!(rows(dir.path(), "SELECT DISTINCT error FROM rows_projections"), ["-"], "{batch} at a time");
        assert_eq!(dump(dir.path()), expected, "{batch} at a time");
    }
    let dir = views_of(&facts, 3);
    let windows = rows(dir.path(), "SELECT settled_nanos, held_nanos FROM rows_budget_windows");
    let settled = 2 * times * money + 2 * i128::from(i64::MIN);
    assert_eq!(windows, [format!("{settled}|{}", times * (1000 - money))]);
    let lives = rows(dir.path(), "SELECT cost_nanos FROM rows_inferences WHERE request_id LIKE '%64'");
    assert_eq!(lives, [(2 * money + 2 * i128::from(i64::MIN)).to_string()]);
    let usage =
        |columns: &str, of: &str| rows(dir.path(), &format!("SELECT {columns} FROM rows_usage_by_hour WHERE {of}"));
    let served =
        "requests, input_uncached_tokens, input_cache_read_tokens, input_cache_write_tokens, output_text_tokens,
                  output_reasoning_tokens, cost_nanos";
    let of = |times: u128| {
        let (tokens, cost) = (times * u128::from(u64::MAX), times * u128::from(i64::MAX.unsigned_abs()));
        format!("{times}|{tokens}|{tokens}|{tokens}|{tokens}|{tokens}|{cost}")
    };
    // The first request is admitted before nine o'clock.
    assert_eq!(usage(served, "backend = 'sim/echo'"), [of(1), of(TIMES - 1)]);
    assert_eq!(usage("refused", "refused <> 0"), [tokens.to_string()]);
    let corrected = times * money + 2 * i128::from(i64::MIN);
    assert_eq!(usage("cost_nanos, adjusted_nanos", "model = ''"), [format!("{corrected}|{corrected}")]);
    let spent =
        summarize(dir.path(), 0, 5, &[]).expect("the views are read").and_then(|summary| summary.spent).expect("rows");
    let (requests, cost) = (u64::try_from(TIMES).expect("few"), times * money + corrected);
    assert_eq!(spent.iter().map(|of| (of.requests, of.cost.nanos())).collect::<Vec<_>>(), [(requests, cost)]);
}
