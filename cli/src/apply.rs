//! `ledgerway apply`: brings what a running gateway has to what files ask for. `ledgerway export config` writes such a file. Exit 0 done
//! or nothing to do, also of a dry run; 1 refused, or unknown whether the changes were made; 2 not begun: a mistake in a file, too many
//! changes, no gateway or no key.
//!
//! - `files` and `yaml` read files as a tree that knows its lines (`mistake`). `kind` has the kinds of resources and what
//!   tells them apart, `names` their names. `references` puts ids in place of names and back, where the schemas of bodies
//!   have ids, with `conditions` for those in conditions of rules; `secret_source` says where a secret is.
//! - `desired` checks what files ask for, `live` reads what the gateway has, and `plan` compares both. `between_resources`
//!   finds what the gateway would refuse because of others (`model_names`: which model a name means), `warnings` what is
//!   probably a mistake, and `carry_out` sends the changes together; `report` and `text` show them.
//! - `export` writes a file (`yaml_writer`) and reads it back until `apply` finds no mistake in it, and `schema` makes the JSON
//!   Schema of files. `command::admin` has the normal form of a body (`body_format.rs`), and checks it without a gateway.

mod between_resources;
mod carry_out;
mod conditions;
mod desired;
mod document_labels;
mod export;
pub mod files;
mod kind;
mod live;
mod mistake;
mod model_names;
mod names;
mod plan;
mod planned_secrets;
mod prune;
mod references;
mod report;
mod schema;
mod secret_source;
mod text;
mod warnings;
mod yaml;
mod yaml_writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use command::admin::CHANGES_MAX;
use command::admin::body_format::Body;
use events::ids::RequestId;
use events::time::{Clock, SystemClock};

use super::gateway_access::{FOR_ADMINISTRATION, connect, of_operator};
use super::gateway_client::GatewayClient;
pub use super::gateway_client::OwnRoutes;
use super::runtime::CommandRuntime;
use super::{Failure, new_ids, print_error, print_line};
use crate::arguments::{ApplyArgs, GatewayArgs};
use crate::settings::{Flags, Label};
use carry_out::NewPlan;
use files::SourceFile;
use kind::Kind;
use live::Reading;
use mistake::{MISTAKES_MAX, Mistake, in_order};
use names::Names;
use plan::{Plan, Wanted};
use planned_secrets::SecretsSent;
use prune::{InUse, has_label};
use secret_source::OwnSecrets;
use warnings::warnings;

/// How often a plan is made at most, if others change the gateway meanwhile.
const ATTEMPTS_MAX: usize = 3;
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);
const READING_AGAIN: &str = "others changed the gateway after it was read, so it is read again";
/// The most resources that are named as still used.
const IN_USE_SHOWN_MAX: usize = 20;
/// The most resources that are named as left out of an export.
const LEFT_OUT_SHOWN_MAX: usize = 200;

pub fn run(args: &ApplyArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    if args.schema {
        print_line(&serde_json::to_string_pretty(&schema::schema()).map_err(Failure::failed)?);
        return Ok(());
    }
    let prune = args.prune.as_deref().map(str::parse::<Label>).transpose();
    let prune = prune.map_err(|error| Failure::NotBegun(format!("--prune {error}")))?;
    let path = args.file.as_deref().ok_or_else(|| Failure::NotBegun("give a file or a folder with -f".to_owned()))?;
    let files = files::read(path).map_err(Failure::NotBegun)?;
    let gateway = connect(&args.gateway, flags, &FOR_ADMINISTRATION)?;
    let sent = if args.rotate_secrets { SecretsSent::All } else { SecretsSent::WhereNeeded };
    let own_secrets = OwnSecrets { data: &args.gateway.data.dir, key: gateway.key() };
    let wanted = Wanted { sent, prune: prune.as_ref(), own_secrets };
    let show = |step: RunStep<'_>| match step {
        RunStep::Planned(Planned { plan, names, warnings, .. }) => {
            warnings.iter().for_each(|warning| print_error(&format!("warning: {warning}")));
            report::changes(plan, names).iter().for_each(|line| print_line(line));
        }
        RunStep::Overtaken(failure) => print_error(&format!("{failure}; {READING_AGAIN}")),
    };
    if args.dry_run {
        let planned = runtime.block_on(planned(&files, &gateway, &wanted))?;
        show(RunStep::Planned(&planned));
        check_count(&planned.plan, wanted.prune)?;
        print_line(&format!("dry run, nothing was changed: {}", report::planned(&planned.plan)));
        return Ok(());
    }
    let done = runtime.block_on(plan_and_carry_out(&files, &gateway, &wanted, show, || true))?;
    print_line(&done);
    Ok(())
}

/// The gateway that this process is.
#[derive(Clone)]
pub struct OwnGateway {
    /// Names it in errors.
    pub url: String,
    /// Its data folder, which may have its key.
    pub data: PathBuf,
    pub routes: OwnRoutes,
}

/// Applies the files with the operator's key, unless `may_go_on` says no before anything is changed. Returns what was done, in words.
pub async fn apply_to(
    OwnGateway { url, data, routes }: &OwnGateway,
    files: &[SourceFile],
    prune: Option<&Label>,
    may_go_on: impl Fn() -> bool,
) -> Result<String, Failure> {
    let gateway = of_operator(url, data)?.through(Arc::clone(routes));
    let own_secrets = OwnSecrets { data, key: gateway.key() };
    let wanted = Wanted { sent: SecretsSent::WhereNeeded, prune, own_secrets };
    let show = |step: RunStep<'_>| match step {
        RunStep::Planned(Planned { warnings, .. }) => {
            warnings
                .iter()
                .for_each(|warning| tracing::warn!(%warning, "the files have something that may be a mistake"));
        }
        RunStep::Overtaken(failure) => tracing::info!(%failure, "{READING_AGAIN}"),
    };
    plan_and_carry_out(files, &gateway, &wanted, show, may_go_on).await
}

/// A step of a run.
enum RunStep<'a> {
    Planned(&'a Planned),
    /// Others have changed the gateway since it was read.
    Overtaken(&'a Failure),
}

/// Brings the gateway to what the files ask for. If others change it between the reading and the changes, it is read again. Returns what
/// was done, in words.
async fn plan_and_carry_out(
    files: &[SourceFile],
    gateway: &GatewayClient,
    wanted: &Wanted<'_>,
    show: impl Fn(RunStep<'_>),
    may_go_on: impl Fn() -> bool,
) -> Result<String, Failure> {
    let mut attempt = 1;
    loop {
        let planned = planned(files, gateway, wanted).await?;
        show(RunStep::Planned(&planned));
        check_count(&planned.plan, wanted.prune)?;
        match carry_out(&planned, gateway, &may_go_on).await {
            Ok(done) => return Ok(done),
            Err(Undone { failure, was_overtaken: true }) if attempt < ATTEMPTS_MAX => {
                show(RunStep::Overtaken(&failure))
            }
            Err(Undone { failure, .. }) => return Err(failure),
        }
        attempt += 1;
        tokio::time::sleep(READ_AGAIN_AFTER).await;
    }
}

/// The changes that the files make in the gateway.
struct Planned {
    plan: Plan,
    names: Names,
    /// Probable mistakes that may be meant for later.
    warnings: Vec<Mistake>,
    /// The log position of what the gateway had.
    as_of: Option<u64>,
}

/// The reason why a plan was not carried out.
struct Undone {
    failure: Failure,
    /// Whether others were faster, so that another plan may be carried out.
    was_overtaken: bool,
}

impl From<Failure> for Undone {
    fn from(failure: Failure) -> Self {
        Self { failure, was_overtaken: false }
    }
}

async fn planned(files: &[SourceFile], gateway: &GatewayClient, wanted: &Wanted<'_>) -> Result<Planned, Failure> {
    let Reading { live, as_of } = live::read(gateway).await.map_err(Failure::not_begun)?;
    let mut names = live::names(&live);
    let desired = desired::read(files, &mut names).map_err(|mistakes| refused(&mistakes))?;
    if let Some(label) = wanted.prune.filter(|label| !desired.iter().any(|one| has_label(&one.normal, label))) {
        return Err(Failure::NotBegun(format!(
            "nothing was changed: no resource of the files has the label {label}, so all that have it would be deleted"
        )));
    }
    let mut warnings = warnings(&desired, &live);
    let plan = Plan::of(desired, &live, wanted, SystemClock::new().now());
    let mut plan = plan.map_err(|mistakes| refused(&mistakes))?;
    warnings.append(&mut plan.without_effect);
    let mut warnings = in_order(warnings);
    warnings.truncate(MISTAKES_MAX);
    let mistakes = in_order(between_resources::mistakes(&plan, &live, &names));
    if !mistakes.is_empty() {
        return Err(refused(&mistakes));
    }
    match &plan.in_use[..] {
        [] => Ok(Planned { plan, names, warnings, as_of }),
        in_use => Err(still_used(in_use, &names)),
    }
}

/// Refuses more changes than a gateway makes together.
fn check_count(plan: &Plan, prune: Option<&Label>) -> Result<(), Failure> {
    let many = plan.len();
    if many <= CHANGES_MAX {
        return Ok(());
    }
    // With `--prune`, a part of the files alone would delete what the other parts have.
    let way_out = match prune {
        None => "apply fewer files, or parts of a file, at a time",
        Some(_) if plan.deletions.len() > CHANGES_MAX => "take fewer resources out of the files at a time",
        Some(_) => "apply parts of the files without --prune first, then all of them with it",
    };
    Err(Failure::NotBegun(format!(
        "nothing was changed: these are {many} changes, and a gateway makes at most {CHANGES_MAX} together: {way_out}"
    )))
}

async fn carry_out(
    Planned { plan, names, as_of, .. }: &Planned,
    gateway: &GatewayClient,
    may_go_on: impl Fn() -> bool,
) -> Result<String, Undone> {
    if plan.is_empty() {
        return Ok(format!("nothing to change: {} unchanged", plan.unchanged));
    }
    if !may_go_on() {
        let reason = "nothing was changed: another gateway applies its files now".to_owned();
        return Err(Failure::NotBegun(reason).into());
    }
    let run = new_ids().make::<RequestId>().to_string();
    match carry_out::carry_out(NewPlan { plan, based_on: *as_of, run: &run }, gateway).await {
        Ok(()) => Ok(format!("done: {}", report::done(plan))),
        Err(not_applied) => {
            let at =
                not_applied.at.map(|change| format!("{}: ", report::refused_at(change, names))).unwrap_or_default();
            let was_overtaken = not_applied.was_overtaken();
            let failure = Failure::Failed(format!("{at}{}; {}", not_applied.error, not_applied.outcome()));
            Err(Undone { failure, was_overtaken })
        }
    }
}

fn still_used(in_use: &[InUse], names: &Names) -> Failure {
    let line = |one: &InUse| {
        let place = one.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        let label = |(kind, body): &(Kind, Body)| desired::label(*kind, body, names);
        format!("  {place}{} uses {}", label(&one.user), label(&one.used))
    };
    let lines: Vec<String> = in_use.iter().take(IN_USE_SHOWN_MAX).map(line).collect();
    let lines = lines.join("\n");
    Failure::NotBegun(format!("nothing was changed, because what would be deleted is still used:\n{lines}"))
}

fn refused(mistakes: &[Mistake]) -> Failure {
    let lines: Vec<String> = mistakes.iter().take(MISTAKES_MAX).map(|mistake| format!("  {mistake}")).collect();
    Failure::NotBegun(format!("nothing was changed, because of mistakes:\n{}", lines.join("\n")))
}

pub fn export_config(args: &GatewayArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let gateway = connect(args, flags, &FOR_ADMINISTRATION)?;
    let Reading { live, .. } = runtime.block_on(live::read(&gateway)).map_err(Failure::not_begun)?;
    let exported = export::export(&live, SystemClock::new().now()).map_err(Failure::Failed)?;
    print_line(exported.text.trim_end_matches('\n'));
    let (shown, rest) = exported.left_out.split_at(exported.left_out.len().min(LEFT_OUT_SHOWN_MAX));
    shown.iter().for_each(|one| print_error(&format!("left out: {one}")));
    if !rest.is_empty() {
        print_error(&format!("left out: and {} more", rest.len()));
    }
    exported.end.iter().for_each(|sentence| print_error(sentence));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::prune::Deletion;
    use super::*;

    #[test]
    fn too_many_deletions_are_refused_with_what_makes_them_fewer() {
        let label: Label = "managed-by=git".parse().expect("a label");
        let plan = |count: usize| {
            let deletion =
                |number: usize| Deletion { kind: Kind::Partner, id: number.to_string(), normal: Body::new() };
            Plan { deletions: (0..count).map(deletion).collect(), ..Plan::default() }
        };
        assert!(check_count(&plan(CHANGES_MAX), Some(&label)).is_ok());
        let refused = check_count(&plan(CHANGES_MAX + 1), Some(&label)).expect_err("too many").to_string();
        assert!(refused.ends_with("together: take fewer resources out of the files at a time"), "{refused}");
    }
}
