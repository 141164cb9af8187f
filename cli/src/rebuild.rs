//! `ledgerway rebuild`: rebuilds views from the log. If a gateway serves the folder, that gateway rebuilds them, and
//! serves the old rows until they are ready; otherwise this process does. Exit 0 done, 1 failed, 2 not begun.

use std::path::Path;
use std::time::Duration;

use events::private::create_folder;
use events_log::lock::FolderLock;
use http::Method;
use projections::views::{View, offline};
use serde_json::Value;

use super::gateway_access;
use super::gateway_client::GatewayClient;
use super::ledger_place::LedgerPlace;
use super::progress::{Progress, WithoutTerminal};
use super::runtime::CommandRuntime;
use super::{Failure, moved_ledger, print_line};
use crate::arguments::{RebuildArgs, is_address};
use crate::settings::Flags;
use crate::settings::setting::DATABASE_URL;

/// How often the gateway is asked for its progress.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

pub fn run(args: &RebuildArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let (views, dir) = (views_of(&args.views)?, &args.data.dir);
    let ledger = LedgerPlace::find_with_folder(&args.data, flags)?;
    let position = match gateway_access::serving(dir)? {
        Some(url) => runtime.block_on(rebuild_in_gateway(&gateway_access::of_operator(&url, dir)?, &views))?,
        None => rebuild_here(dir, &ledger, &views)?,
    };
    print_line(&format!("rebuilt {} as of position {position}, in {}", names(&views), dir.display()));
    Ok(())
}

/// The named views, or all if none is named.
fn views_of(names: &[String]) -> Result<Vec<View>, Failure> {
    if names.is_empty() {
        return Ok(View::ALL.to_vec());
    }
    let mut views = Vec::new();
    for name in names {
        if is_address(name) {
            let variable = DATABASE_URL.variable;
            let why =
                format!("give the address of the database in {variable}, and the folder of the views with --data DIR");
            return Err(Failure::NotBegun(why));
        }
        let view = View::parse(name).ok_or_else(|| {
            let known: Vec<&str> = View::words().collect();
            let shown: String = name.chars().take(64).collect();
            Failure::NotBegun(format!("{shown:?} is not a view; there are {}", known.join(", ")))
        })?;
        if !views.contains(&view) {
            views.push(view);
        }
    }
    Ok(views)
}

fn rebuild_here(dir: &Path, ledger: &LedgerPlace, views: &[View]) -> Result<u64, Failure> {
    create_folder(dir).map_err(|error| Failure::NotBegun(format!("cannot use {}: {error}", dir.display())))?;
    let _lock = FolderLock::take(dir).map_err(Failure::not_begun)?;
    if ledger.file().is_some() {
        moved_ledger::say_if_moved(dir)?;
    }
    let reader = ledger
        .open_shared_with_a_gateway()
        .map_err(|error| Failure::NotBegun(format!("cannot read {ledger}: {error}")))?;
    let mut progress = Progress::new(names(views), WithoutTerminal::Lines);
    let rebuilt = offline::rebuild(dir, &*reader, views, &mut |position, last| progress.at(position, last));
    let position = rebuilt.map_err(Failure::failed)?;
    progress.done();
    Ok(position)
}

async fn rebuild_in_gateway(gateway: &GatewayClient, views: &[View]) -> Result<u64, Failure> {
    for (begun, view) in views.iter().enumerate() {
        let started = gateway.request(Method::POST, &format!("/v1/admin/views/{}/rebuild", view.as_str())).await;
        started.map_err(if begun == 0 { Failure::not_begun } else { Failure::failed })?;
    }
    let mut progress = Progress::new(names(views), WithoutTerminal::Lines);
    loop {
        let projections = gateway.request(Method::GET, "/v1/projections").await.map_err(Failure::failed)?;
        let rebuilds = views.iter().map(|view| rebuild_of(&projections, *view)).collect::<Result<Vec<_>, _>>()?;
        let running = |rebuild: &&Value| matches!(rebuild["state"].as_str(), Some("waiting" | "building"));
        let Some(slowest) = rebuilds.iter().copied().filter(running).min_by_key(|rebuild| rebuild["percent"].as_u64())
        else {
            let result = result_of(views, &rebuilds)?;
            progress.done();
            return Ok(result);
        };
        progress.at(slowest["position"].as_u64().unwrap_or(0), slowest["target"].as_u64().unwrap_or(0));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The rebuild of a view in the response of `/v1/projections`.
fn rebuild_of(projections: &Value, view: View) -> Result<&Value, Failure> {
    let items = projections["items"].as_array();
    let found = items.and_then(|items| items.iter().find(|item| item["name"] == view.as_str()));
    let rebuild = found.map(|item| &item["rebuild"]).filter(|rebuild| rebuild.is_object());
    rebuild.ok_or_else(|| {
        Failure::Failed("the gateway was restarted before the views were rebuilt; run it again".to_owned())
    })
}

/// The position as of which all of them are rebuilt.
fn result_of(views: &[View], rebuilds: &[&Value]) -> Result<u64, Failure> {
    let failed = views.iter().zip(rebuilds).find(|(_, rebuild)| rebuild["state"] != "done");
    if let Some((view, rebuild)) = failed {
        let why = rebuild["error"].as_str().unwrap_or("no reason given");
        return Err(Failure::Failed(format!("{} was not rebuilt: {why}", view.as_str())));
    }
    Ok(rebuilds.iter().filter_map(|rebuild| rebuild["position"].as_u64()).min().unwrap_or(0))
}

fn names(views: &[View]) -> String {
    views.iter().map(|view| view.as_str()).collect::<Vec<_>>().join(", ")
}
