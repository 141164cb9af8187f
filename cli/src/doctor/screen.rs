//! A report of the checks as text: a table, then what to do about each finding, then the verdict.

use serde_json::Value;

use super::super::printable_text::printable_line;
use super::super::table::aligned;

/// The most characters that are shown of a text.
const TEXT_CHARS_MAX: usize = 400;

/// Advice for a gateway without providers.
const NO_PROVIDER: &str = "there are no providers: create one, as docs/provider.md shows; or set \
                           OPENAI_API_KEY, or another variable of docs/environment.md, and start the gateway again (it ignores them \
                           with LEDGERWAY_PROVIDERS_FROM_ENV=false)";

pub fn render(report: &Value) -> String {
    let mut rows = vec![["checked", "what", "verdict", "found"].map(str::to_owned).to_vec()];
    let mut advice: Vec<CheckAdvice> = Vec::new();
    let providers = list(&report["providers"]).map(|provider| (named("name", provider), provider));
    let targets = list(&report["targets"]["items"]).map(|target| (named("backend", target), target));
    for (name, checked) in providers.chain(targets) {
        for (at, finding) in list(&checked["findings"]).enumerate() {
            let [check, verdict, detail] = ["check", "verdict", "detail"].map(|field| text(&finding[field]));
            if let Some(what) = finding["advice"].as_str() {
                add(&mut advice, format!("{name}: {}", printable(what)), &check);
            }
            let shown = if at == 0 { name.clone() } else { String::new() };
            rows.push(vec![shown, check, plain(&verdict).to_owned(), with_models(&detail, checked)]);
        }
    }
    let mut parts = Vec::new();
    if rows.len() > 1 {
        parts.push(aligned(rows));
    }
    if list(&report["providers"]).next().is_none() {
        parts.push(NO_PROVIDER.to_owned());
    }
    if !advice.is_empty() {
        let lines = advice.into_iter().map(|CheckAdvice { what, checks }| format!("  {what} ({})", checks.join(", ")));
        parts.push(std::iter::once("what to do:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n"));
    }
    if report["local_limits"].is_object() {
        parts.push(local_limits(&report["local_limits"]));
    }
    parts.push(summary(report));
    parts.join("\n\n")
}

fn local_limits(local: &Value) -> String {
    let [began_at, node, reason] = ["began_at", "node", "reason"].map(|field| text(&local[field]));
    format!(
        "rate limits are counted by shares since {began_at}: node {node}: {reason}; `ledgerway status` shows which nodes are not connected \
         to Redis: let them reach it, or stop them"
    )
}

/// The name of what was checked, with the tenant that it belongs to.
fn named(field: &str, checked: &Value) -> String {
    let name = text(&checked[field]);
    match checked["tenant_id"].as_str() {
        Some(tenant) => format!("{name} of {}", printable(tenant)),
        None => name,
    }
}

/// A piece of advice, and the checks that give it.
struct CheckAdvice {
    what: String,
    checks: Vec<String>,
}

/// Adds a piece of advice, or the check to the same advice of another one.
fn add(advice: &mut Vec<CheckAdvice>, what: String, check: &str) {
    match advice.iter_mut().find(|known| known.what == what) {
        Some(known) if known.checks.iter().any(|known| known == check) => {}
        Some(known) => known.checks.push(check.to_owned()),
        None => advice.push(CheckAdvice { what, checks: vec![check.to_owned()] }),
    }
}

/// The finding about a target, with the models that have it.
fn with_models(detail: &str, checked: &Value) -> String {
    let names: Vec<String> = list(&checked["models"]).map(text).collect();
    if names.is_empty() {
        return detail.to_owned();
    }
    let more = checked["models_count"].as_u64().unwrap_or(0).saturating_sub(names.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{detail} (models: {}{more})", names.join(", "))
}

fn summary(report: &Value) -> String {
    let providers = list(&report["providers"]).count();
    let targets = report["targets"]["checked"].as_u64().unwrap_or(0);
    let of = |findings: &Value, verdict: &str| list(findings).filter(|finding| finding["verdict"] == verdict).count();
    // A tenant's own are for the tenant to mend, and do not decide.
    let count = |verdict: &str, is_of_tenants: bool| -> usize {
        let checked = list(&report["providers"]).chain(list(&report["targets"]["items"]));
        let checked = checked.filter(|checked| checked["tenant_id"].is_string() == is_of_tenants);
        checked.map(|checked| of(&checked["findings"], verdict)).sum()
    };
    let [problems, warnings, unknown] = ["problem", "warning", "not_checked"].map(|verdict| count(verdict, false));
    let of_tenants = match count("problem", true) {
        0 => String::new(),
        wrong => format!("; {wrong} wrong at tenants' own providers or models"),
    };
    let verdict = match (report["ok"] == true, report["local_limits"].is_object()) {
        (true, false) => "all is well",
        (true, true) => "all is well but the rate limits",
        (false, _) => "something is wrong",
    };
    let left_out: u64 =
        [&report["providers_left_out"], &report["targets"]["left_out"]].iter().filter_map(|left| left.as_u64()).sum();
    let unstated = match report["targets"]["unknown_abilities"].as_u64().unwrap_or(0) {
        0 => String::new(),
        count => format!("; no abilities are stated of {}", counted(count, "target")),
    };
    let left_out = if left_out > 0 { format!("; {left_out} more are not shown") } else { String::new() };
    format!(
        "{verdict}: {} and {} checked, {problems} wrong, {}, {unknown} not checked{of_tenants}{unstated}{left_out}",
        counted(providers as u64, "provider"),
        counted(targets, "target"),
        counted(warnings as u64, "warning"),
    )
}

/// `1 provider`, `2 providers`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn plain(verdict: &str) -> &str {
    match verdict {
        "problem" => "WRONG",
        "not_checked" => "not checked",
        other => other,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

fn printable(text: &str) -> String {
    printable_line(text, TEXT_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_at_a_tenants_own_provider_is_marked_and_is_not_the_verdict() {
        let findings = json!([{ "check": "dns", "verdict": "problem", "detail": "no", "advice": "correct it" }]);
        let report = json!({
            "ok": true, "providers_left_out": 0, "targets": { "checked": 0, "left_out": 0, "items": [] },
            "providers": [
                { "name": "shared", "tenant_id": null, "findings": [] },
                { "name": "theirs", "tenant_id": "ten_1", "findings": findings },
            ],
        });
        let shown = render(&report);
        let verdict = "all is well: 2 providers and 0 targets checked, 0 wrong, 0 warnings, 0 not checked; 1 wrong at tenants' own \
                       providers or models";
        assert!(shown.ends_with(verdict) && shown.contains("theirs of ten_1: correct it (dns)"), "{shown}");
    }

    #[test]
    fn each_provider_is_named_once_and_each_piece_of_advice_is_given_once() {
        let finding = |check: &str, verdict: &str, advice: Option<&str>| json!({ "check": check, "verdict": verdict, "detail": "so\u{1b}", "advice": advice });
        let report = json!({
            "ok": false, "providers_left_out": 0,
            "providers": [{ "name": "one", "findings": [
                finding("dns", "ok", None), finding("clock", "problem", Some("set it")), finding("key", "problem", Some("set it")),
            ] }],
            "targets": { "checked": 3, "left_out": 2, "items": [
                { "backend": "one/m", "models": ["a"], "models_count": 4, "findings": [finding("price", "warning", Some("price it"))] },
            ] },
        });
        let shown = render(&report);
        let lines: Vec<String> =
            shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "checked what verdict found",
                "one dns ok so",
                "clock WRONG so",
                "key WRONG so",
                "one/m price warning so (models: a and 3 more)",
                "",
                "what to do:",
                "one: set it (clock, key)",
                "one/m: price it (price)",
                "",
                "something is wrong: 1 provider and 3 targets checked, 2 wrong, 1 warning, 0 not checked; 2 more are not shown",
            ]
        );
        let local = json!({ "began_at": "2026-11-25T10:00:00Z", "node": "a1", "reason": "one:6379 refused\u{1b}" });
        let shown = render(&json!({ "ok": true, "providers": [], "targets": {}, "local_limits": local }));
        let line = "rate limits are counted by shares since 2026-11-25T10:00:00Z: node a1: one:6379 refused; ";
        assert!(shown.lines().any(|shown| shown.starts_with(line)), "{shown}");
        assert!(shown.contains("\n\nall is well but the rate limits: "), "{shown}");
        let none = json!({ "ok": false, "providers": [], "targets": { "checked": 0, "items": [], "left_out": 0 } });
        assert!(
            render(&none).starts_with("there are no providers: create one, ")
                && render(&none)
                    .contains("LEDGERWAY_PROVIDERS_FROM_ENV=false)\n\nsomething is wrong: 0 providers and 0 targets"),
            "{}",
            render(&none)
        );
    }
}
