//! `ledgerway doctor`: lets a running gateway check its providers, keys, prices and models, and shows what it found. Exit 0 all
//! is well, 1 something is wrong, 2 could not check.

mod screen;

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::gateway_access::{FOR_ADMINISTRATION, connect};
use super::runtime::CommandRuntime;
use super::{Failure, print_line};
use crate::arguments::DoctorArgs;
use crate::settings::Flags;

/// Longer than the gateway takes for all checks together.
const CHECK_MAX: Duration = Duration::from_secs(90);

pub fn run(args: &DoctorArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let json = args.output.is_json(flags)?;
    let gateway = connect(&args.gateway, flags, &FOR_ADMINISTRATION)?.waiting(CHECK_MAX);
    let checking = gateway.request(Method::POST, "/v1/admin/doctor");
    let report = runtime.block_on(checking).map_err(Failure::not_begun)?;
    let Some(is_well) = report["ok"].as_bool() else {
        return Err(Failure::NotBegun("the answer is not that of a gateway of this version".to_owned()));
    };
    print_line(&if json { Value::to_string(&report) } else { screen::render(&report) });
    if is_well { Ok(()) } else { Err(Failure::Printed) }
}
