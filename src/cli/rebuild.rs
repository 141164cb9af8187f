//! `ledgerway rebuild`: builds views anew from the log. In a folder that nobody serves it does so itself; where a gateway
//! runs it asks that one, which answers from the old rows meanwhile. Exit 0 done, 1 failed, 2 not begun.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use events::log::lock::{FolderLock, Served, served};
use http::Method;
use projections::views::{View, offline};
use serde_json::Value;

use super::asking::{Running, Unanswered};
use super::progress::{Elsewhere, Progress};
use super::{complain, ledger_in, say};
use crate::config::Flags;
use crate::config::arguments::RebuildArgs;

const NOT_BEGUN: u8 = 2;
/// Between two looks at how far the gateway is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why it is not done; a sentence.
enum Failure {
    NotBegun(String),
    Failed(String),
}

impl From<Unanswered> for Failure {
    fn from(error: Unanswered) -> Self {
        Self::Failed(error.to_string())
    }
}

pub fn run(args: &RebuildArgs, flags: &Flags) -> ExitCode {
    let views = views_of(&args.views).and_then(|views| {
        ledger_in(&args.data, flags).map_err(Failure::NotBegun)?;
        Ok(views)
    });
    let done = views.and_then(|views| rebuild(&args.data.dir, &views));
    match done {
        Ok(sentence) => {
            say(&sentence);
            ExitCode::SUCCESS
        }
        Err(Failure::NotBegun(why)) => {
            complain(&why);
            NOT_BEGUN.into()
        }
        Err(Failure::Failed(why)) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// All of them where none is named.
fn views_of(names: &[String]) -> Result<Vec<View>, Failure> {
    if names.is_empty() {
        return Ok(View::ALL.to_vec());
    }
    let mut views = Vec::new();
    for name in names {
        let view = View::parse(name).ok_or_else(|| {
            let known: Vec<&str> = View::ALL.iter().map(|view| view.as_str()).collect();
            let shown: String = name.chars().take(64).collect();
            Failure::NotBegun(format!("{shown:?} is no view; there are {}", known.join(", ")))
        })?;
        if !views.contains(&view) {
            views.push(view);
        }
    }
    Ok(views)
}

fn rebuild(dir: &Path, views: &[View]) -> Result<String, Failure> {
    let found = served(dir).map_err(|error| Failure::NotBegun(format!("look at {}: {error}", dir.display())))?;
    match found {
        Served::No => rebuild_here(dir, views),
        Served::At(url) => {
            ask_for(&Running::at(&url, dir).map_err(|error| Failure::NotBegun(error.to_string()))?, views)
        }
        Served::Silently => {
            let why = "another process has the folder and does not say where it listens; try again once it is ready";
            Err(Failure::NotBegun(why.to_owned()))
        }
    }
}

fn rebuild_here(dir: &Path, views: &[View]) -> Result<String, Failure> {
    let _lock = FolderLock::take(dir).map_err(|error| Failure::NotBegun(error.to_string()))?;
    let mut progress = Progress::of(names(views), Elsewhere::Lines);
    let rebuilt = offline::rebuild(dir, views, &mut |position, last| progress.at(position, last));
    let position = rebuilt.map_err(|error| Failure::Failed(error.to_string()))?;
    progress.done();
    Ok(format!("rebuilt {} as of position {position}", names(views)))
}

fn ask_for(gateway: &Running, views: &[View]) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::NotBegun(format!("start the runtime: {error}")))?;
    runtime.block_on(async {
        for (begun, view) in views.iter().enumerate() {
            let asked = gateway.ask(Method::POST, &format!("/v1/admin/views/{}/rebuild", view.as_str())).await;
            asked.map_err(|error| if begun == 0 { Failure::NotBegun(error.to_string()) } else { error.into() })?;
        }
        let mut progress = Progress::of(names(views), Elsewhere::Lines);
        loop {
            let shown = gateway.ask(Method::GET, "/v1/projections").await?;
            let rebuilds = views.iter().map(|view| rebuild_of(&shown, *view)).collect::<Result<Vec<_>, _>>()?;
            let running = |rebuild: &&Value| matches!(rebuild["state"].as_str(), Some("waiting" | "building"));
            let Some(slowest) =
                rebuilds.iter().copied().filter(running).min_by_key(|rebuild| rebuild["percent"].as_u64())
            else {
                let said = said_of(views, &rebuilds)?;
                progress.done();
                return Ok(said);
            };
            progress.at(slowest["position"].as_u64().unwrap_or(0), slowest["target"].as_u64().unwrap_or(0));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

fn rebuild_of(shown: &Value, view: View) -> Result<&Value, Failure> {
    let items = shown["items"].as_array();
    let found = items.and_then(|items| items.iter().find(|item| item["name"] == view.as_str()));
    let rebuild = found.map(|item| &item["rebuild"]).filter(|rebuild| rebuild.is_object());
    rebuild.ok_or_else(|| Failure::Failed("the gateway was restarted before it had rebuilt the views".to_owned()))
}

fn said_of(views: &[View], rebuilds: &[&Value]) -> Result<String, Failure> {
    let failed = views.iter().zip(rebuilds).find(|(_, rebuild)| rebuild["state"] != "done");
    if let Some((view, rebuild)) = failed {
        let why = rebuild["error"].as_str().unwrap_or("no reason");
        return Err(Failure::Failed(format!("{} was not rebuilt: {why}", view.as_str())));
    }
    let position = rebuilds.iter().filter_map(|rebuild| rebuild["position"].as_u64()).min().unwrap_or(0);
    Ok(format!("rebuilt {} as of position {position}", names(views)))
}

fn names(views: &[View]) -> String {
    views.iter().map(|view| view.as_str()).collect::<Vec<_>>().join(", ")
}
