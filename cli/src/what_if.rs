//! `ledgerway what-if`: which recorded requests would have been refused or admitted, and what they would have cost, under other budgets,
//! rate limits, prices and routes. Read-only, also while a gateway runs. Exit 0 done, 1 failed, 2 not begun.

mod screen;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use events::time::rfc3339;
use events_log::{Reader, open_reader_offline};
use serde_json::{Value, json};
use what_if::{Figures, Period, RefusingRule, Report, Rules, WhatIfError};

use super::archived_ledger::{Strays, build};
use super::ledger_place::LedgerPlace;
use super::object_store::named_archive;
use super::progress::{Progress, WithoutTerminal};
use super::runtime::CommandRuntime;
use super::scratch_folder::ScratchFolder;
use super::time_range::TimeRange;
use super::{Failure, print_line};
use crate::arguments::WhatIfArgs;
use crate::settings::Flags;

/// The largest file of rules: some thousand of them.
const RULES_BYTES_MAX: u64 = 1 << 20;

pub fn run(args: &WhatIfArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let json = args.output.is_json(flags)?;
    let TimeRange { from, to } = TimeRange::read(args.from.as_deref(), args.to.as_deref())?;
    let rules = read_rules(&args.rules)?;
    let period = Period { from, to };
    let report = match &args.archive {
        Some(address) => {
            let (archive, folder) = (named_archive(Some(address))?, ScratchFolder::create()?);
            let built = runtime.block_on(build(&archive, folder.path(), "reading the archive", Strays::Ignored));
            let ledger = built.map_err(Failure::not_begun)?.file;
            replay(&*open_reader_offline(&ledger).map_err(Failure::not_begun)?, &rules, period)
        }
        None => {
            let ledger = LedgerPlace::find_alone(&args.ledger, flags)?;
            replay(&*ledger.open_shared_with_a_gateway()?, &rules, period)
        }
    }?;
    print_line(&if json { as_json(&report).to_string() } else { screen::text(&report, &args.rules) });
    Ok(())
}

fn replay(log: &dyn Reader, rules: &Rules, period: Period) -> Result<Report, Failure> {
    let mut progress = Progress::new("replaying", WithoutTerminal::Silent);
    let report = what_if::what_if(log, rules, period, &mut |position, last| progress.at(position, last));
    let report = report.map_err(|error| match error {
        WhatIfError::Log(error) => Failure::Log(error),
        error @ WhatIfError::Unknown { .. } => Failure::not_begun(error),
        error @ (WhatIfError::Unpriced { .. } | WhatIfError::Overflow { .. } | WhatIfError::Unsound { .. }) => {
            Failure::failed(error)
        }
    })?;
    progress.done();
    Ok(report)
}

fn read_rules(path: &Path) -> Result<Rules, Failure> {
    let shown = path.display();
    let unread = |error: std::io::Error| Failure::NotBegun(format!("cannot read the rules in {shown}: {error}"));
    let mut json = Vec::new();
    let file = File::open(path).map_err(unread)?;
    file.take(RULES_BYTES_MAX + 1).read_to_end(&mut json).map_err(unread)?;
    if json.len() as u64 > RULES_BYTES_MAX {
        return Err(Failure::NotBegun(format!("{shown} is larger than {RULES_BYTES_MAX} bytes")));
    }
    Rules::parse(&json)
        .map_err(|error| Failure::NotBegun(format!("{shown}: {error}; docs/what-if.md describes the file")))
}

fn as_json(report: &Report) -> Value {
    let tenants = report.tenants.iter().map(|(tenant, figures)| {
        let name = tenant.and_then(|tenant| report.tenant_names.get(&tenant));
        with(figures, json!({ "tenant_id": tenant, "name": name }))
    });
    let users = report.users.iter();
    let users = users.map(|((tenant, user), figures)| with(figures, json!({ "tenant_id": tenant, "user_id": user })));
    let models = report.models.iter().map(|(model, figures)| with(figures, json!({ "model": model })));
    let refused_by = report.refused_by.iter().map(|(rule, by)| {
        let mut object = rule_json(*rule);
        object["scope"] = json!(by.scope);
        object["requests"] = json!(by.requests);
        object
    });
    json!({
        "from": report.period.from.map(rfc3339),
        "to": report.period.to.map(rfc3339),
        "position": report.position,
        "is_as_recorded": report.total.is_as_recorded(),
        "total": with(&report.total, json!({})),
        "refused_by": refused_by.collect::<Value>(),
        "tenants": tenants.collect::<Value>(),
        "users": users.collect::<Value>(),
        "models": models.collect::<Value>(),
    })
}

/// The figures of what `of` names.
fn with(figures: &Figures, mut of: Value) -> Value {
    if let (Value::Object(members), Ok(Value::Object(all))) = (&mut of, serde_json::to_value(figures)) {
        members.extend(all);
        members.insert("difference_usd".to_owned(), json!(figures.difference()));
    }
    of
}

fn rule_json(rule: RefusingRule) -> Value {
    match rule {
        RefusingRule::Budget(id) => json!({ "budget_id": id }),
        RefusingRule::AddedBudget(number) => json!({ "rule": added_budget(number) }),
        RefusingRule::RateLimit(id, measure) => json!({ "limit_id": id, "measure": measure }),
        RefusingRule::AddedRateLimit(number, measure) => json!({ "rule": added_limit(number), "measure": measure }),
    }
}

/// The path of an added budget in the file.
fn added_budget(number: usize) -> String {
    format!("budgets.add[{number}]")
}

/// The path of an added limit in the file.
fn added_limit(number: usize) -> String {
    format!("rate_limits.add[{number}]")
}
