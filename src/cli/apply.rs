//! `ledgerway apply`: brings what a running gateway has to what files ask for. `ledgerway export config` writes such a file. Exit 0 done
//! or nothing to do, also of a dry run; 1 stopped in the middle; 2 not begun: a mistake in a file, no gateway or no key.

mod carry_out;
mod desired;
mod export;
mod files;
mod kind;
mod live;
mod mistake;
mod names;
mod plan;
mod references;
mod report;
mod schema;
mod secret_source;
mod text;
mod yaml;
mod yaml_writer;

use std::process::ExitCode;
use std::sync::Arc;

use events::ids::{IdMaker, RequestId, SystemRandom};
use events::time::{Clock, SystemClock};

use super::gateway_access::{FOR_ADMINISTRATION, connect};
use super::gateway_client::GatewayClient;
use super::{Failure, exit, print_error, print_line, single_threaded_runtime};
use crate::config::Flags;
use crate::config::arguments::{ApplyArgs, ExportConfigArgs};
use mistake::Mistake;
use names::Names;
use plan::{Plan, SecretsSent};

/// The most resources that are named as left out of a file.
const LEFT_OUT_SHOWN_MAX: usize = 20;

pub fn run(args: &ApplyArgs, flags: &Flags) -> ExitCode {
    exit(apply(args, flags))
}

pub fn export_config(args: &ExportConfigArgs, flags: &Flags) -> ExitCode {
    exit(write_config(args, flags))
}

fn apply(args: &ApplyArgs, flags: &Flags) -> Result<(), Failure> {
    if args.schema {
        print_line(&serde_json::to_string_pretty(&schema::schema()).map_err(Failure::failed)?);
        return Ok(());
    }
    let path = args.file.as_deref().ok_or_else(|| Failure::NotBegun("give a file or a folder with -f".to_owned()))?;
    let files = files::read(path).map_err(Failure::NotBegun)?;
    let gateway = connect(&args.gateway, flags, &FOR_ADMINISTRATION)?;
    let runtime = single_threaded_runtime()?;
    let live = runtime.block_on(live::read(&gateway)).map_err(Failure::not_begun)?;
    let mut names = live::names(&live);
    let desired = desired::read(&files, &mut names).map_err(|mistakes| refused(&mistakes))?;
    let sent = if args.rotate_secrets { SecretsSent::All } else { SecretsSent::WhereNeeded };
    let plan = Plan::of(desired, &live, sent, SystemClock::new().now()).map_err(|mistakes| refused(&mistakes))?;
    report::steps(&plan, &names).iter().for_each(|line| print_line(line));
    if args.dry_run {
        print_line(&format!("dry run, nothing was changed: {}", report::counts(&plan)));
        return Ok(());
    }
    if plan.steps.is_empty() {
        print_line(&format!("nothing to change: {} unchanged", plan.unchanged));
        return Ok(());
    }
    runtime.block_on(carry_out(&plan, &gateway, &names))
}

async fn carry_out(plan: &Plan, gateway: &GatewayClient, names: &Names) -> Result<(), Failure> {
    let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let run = ids.make::<RequestId>().to_string();
    match carry_out::carry_out(plan, gateway, &run).await {
        Ok(()) => {
            let (created, changed) = (plan.created(), plan.changed());
            print_line(&format!("done: {created} created, {changed} changed, {} unchanged", plan.unchanged));
            Ok(())
        }
        Err(stopped) => Err(Failure::Failed(format!(
            "{}: stopped at {}: {}; {} of {} changes were carried out; correct it and apply again",
            stopped.at.desired.source.place(),
            report::subject(stopped.at, names),
            stopped.error,
            stopped.done,
            plan.steps.len()
        ))),
    }
}

fn refused(mistakes: &[Mistake]) -> Failure {
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
    Failure::NotBegun(format!("nothing was changed, because of mistakes:\n{}", lines.join("\n")))
}

fn write_config(args: &ExportConfigArgs, flags: &Flags) -> Result<(), Failure> {
    let gateway = connect(&args.gateway, flags, &FOR_ADMINISTRATION)?;
    let live = single_threaded_runtime()?.block_on(live::read(&gateway)).map_err(Failure::not_begun)?;
    let exported = export::export(&live, &live::names(&live));
    print_line(exported.text.trim_end());
    let (shown, rest) = exported.left_out.split_at(exported.left_out.len().min(LEFT_OUT_SHOWN_MAX));
    shown.iter().for_each(|one| print_error(&format!("left out: {one}")));
    if !rest.is_empty() {
        print_error(&format!("left out: and {} more", rest.len()));
    }
    Ok(())
}
