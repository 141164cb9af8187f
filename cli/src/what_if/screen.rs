//! The answer of `what-if` as text: what is the same is left out.

use std::path::Path;

use events::time::rfc3339;
use what_if::{Figures, RefusingRule, Report};

use super::super::printable;
use super::super::table::aligned;
use super::{added_budget, added_limit};

pub fn text(report: &Report, rules: &Path) -> String {
    let period = report.period;
    let from = period.from.map_or_else(|| "the beginning".to_owned(), rfc3339);
    let to = period.to.map_or_else(|| "the end".to_owned(), rfc3339);
    let title = format!("{} from {from} to {to}, by the log up to position {}", rules.display(), report.position);
    let mut parts = vec![title, totals(&report.total)];
    if report.total.is_as_recorded() && report.refused_by.is_empty() {
        parts.push("Every decision and every sum of costs is as recorded.".to_owned());
    }
    if !report.refused_by.is_empty() {
        parts.push(refused_by(report));
    }
    let tenants = report.tenants.iter().map(|(tenant, figures)| {
        let name = tenant.and_then(|tenant| report.tenant_names.get(&tenant)).map(|name| printable(name));
        (vec![or_dash(tenant), name.unwrap_or_default()], figures)
    });
    parts.extend(differences(&["TENANT", "name"], tenants));
    let users = report.users.iter().map(|((_, user), figures)| (vec![or_dash(user)], figures));
    parts.extend(differences(&["USER"], users));
    let models = report.models.iter().map(|(model, figures)| (vec![printable(model)], figures));
    parts.extend(differences(&["MODEL"], models));
    parts.extend(notes(&report.total));
    parts.join("\n\n")
}

fn totals(total: &Figures) -> String {
    let count = |of: &str, recorded: u64, less: u64, more: u64| {
        let ruled = i128::from(recorded) - i128::from(less) + i128::from(more);
        vec![of.to_owned(), recorded.to_string(), ruled.to_string(), format!("{:+}", ruled - i128::from(recorded))]
    };
    let header = ["", "recorded", "under the rules", "difference"].map(str::to_owned).to_vec();
    aligned(vec![
        header,
        count("requests admitted", total.admitted, total.newly_refused, total.newly_admitted),
        count("requests refused", total.refused, total.newly_admitted, total.newly_refused),
        vec![
            "cost in USD".to_owned(),
            total.recorded_cost_usd.to_string(),
            total.cost_usd.to_string(),
            total.difference().to_string(),
        ],
    ])
}

fn refused_by(report: &Report) -> String {
    let header = ["REFUSED BY", "measure", "of", "requests"].map(str::to_owned).to_vec();
    let rows = report.refused_by.iter().map(|(rule, by)| {
        let (rule, measure) = match rule {
            RefusingRule::Budget(id) => (id.to_string(), None),
            RefusingRule::AddedBudget(number) => (added_budget(*number), None),
            RefusingRule::RateLimit(id, measure) => (id.to_string(), Some(measure)),
            RefusingRule::AddedRateLimit(number, measure) => (added_limit(*number), Some(measure)),
        };
        let measure = measure.map(ToString::to_string).unwrap_or_default();
        let of = by.scope.as_ref().map(|scope| printable(&scope.to_string())).unwrap_or_default();
        vec![rule, measure, of, by.requests.to_string()]
    });
    aligned([header].into_iter().chain(rows).collect())
}

/// A table of those that differ; `None` if none does.
fn differences<'a>(of: &[&str], rows: impl Iterator<Item = (Vec<String>, &'a Figures)>) -> Option<String> {
    let figures =
        ["admitted", "newly refused", "newly shortened", "newly admitted", "recorded USD", "USD", "difference USD"];
    let header: Vec<String> = of.iter().chain(&figures).map(|&name| name.to_owned()).collect();
    // A column of zeros is left out.
    let shown = |number: u64| if number == 0 { String::new() } else { number.to_string() };
    let rows = rows.filter(|(_, figures)| !figures.is_as_recorded()).map(|(mut cells, figures)| {
        cells.push(figures.admitted.to_string());
        cells.extend([figures.newly_refused, figures.newly_shortened, figures.newly_admitted].map(shown));
        cells.extend([figures.recorded_cost_usd, figures.cost_usd, figures.difference()].map(|sum| sum.to_string()));
        cells
    });
    let rows: Vec<Vec<String>> = [header].into_iter().chain(rows).collect();
    (rows.len() > 1).then(|| aligned(rows))
}

/// Notes on the limits of the figures.
fn notes(total: &Figures) -> Option<String> {
    let mut notes = Vec::new();
    if total.newly_admitted > 0 {
        let (requests, at_most) = (total.newly_admitted, total.newly_admitted_at_most_usd);
        notes.push(format!(
            "The cost of {requests} newly admitted requests is unknown, since nobody ran them, and is not in the figures: those \
             that a budget had refused cost at most {at_most} USD."
        ));
    }
    if total.undecided > 0 {
        let requests = total.undecided;
        notes.push(format!(
            "{requests} requests count as refused although a rate limit that refused them is raised: how many tokens they \
             asked for, or how long they would have run, is not recorded."
        ));
    }
    if total.open > 0 {
        notes.push(format!("{} admitted requests have not ended: their cost is not known yet.", total.open));
    }
    (!notes.is_empty()).then(|| notes.join("\n"))
}

fn or_dash<T: std::fmt::Display>(id: &Option<T>) -> String {
    id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}
