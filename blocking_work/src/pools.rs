//! The pools of the process, each with its bounds.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use rustix::process::{Resource, getrlimit};

use super::Pool;

/// The most names that are looked up at a time.
const LOOK_UPS_MAX: usize = 256;
/// Files that the process may open for each look-up that it may have.
const FILES_PER_LOOK_UP: usize = 8;

/// Declares the pools, each with its name, how many pieces of work it does at a time and, for each owner, how many of them.
macro_rules! pools {
    ($($(#[$doc:meta])* $pool:ident = $name:literal, $turns_max:expr $(, of each owner $of_each:expr)?;)*) => {
        $($(#[$doc])* pub static $pool: LazyLock<Pool> =
            LazyLock::new(|| Pool::new($name, $turns_max)$(.with_owners($of_each))?);)*

        /// All pools of the process.
        pub static POOLS: &[&LazyLock<Pool>] = &[$(&$pool),*];
    };
}

pools! {
    /// Large bodies of requests and answers: read, written and translated.
    BODIES = "bodies", cores(), of each owner cores().div_ceil(2);
    /// Slow hashes of key secrets.
    KEY_HASHES = "keys", (cores() / 2).max(1), of each owner cores().div_ceil(4);
    /// Stored secrets of keys, of many keys in one read. Its owners take turns in each.
    KEY_SECRETS = "key-secrets", 1;
    /// Reads of a few rows of the ledger: the secrets of a tenant's providers and its earlier replies, and, as of no owner, whatever else
    /// administration asks.
    READS = "reads", 6, of each owner 4;
    /// All administration, read from the ledger for the tables that serve requests.
    TABLES = "tables", 1;
    /// Pages of the ledger for what follows it, a page for each follower: tables, views, figures and outlets.
    FOLLOWING = "following", 16;
    /// The tokens of prompts whose budgets are short.
    TOKENS = "tokens", 1, of each owner 1;
    /// The tokens of prompts that somebody asks to count, or that may be too long for a context window.
    ESTIMATES = "estimates", 1, of each owner 1;
    /// Catalogues and files of configuration.
    CONFIGURATION = "configuration", 4;
    /// Prompts and answers that are sealed before they are stored.
    SEALING = "sealing", 2, of each owner 1;
    /// Names of tenants' providers that are looked up, on threads of their own.
    NAMES = "names", look_ups(64), of each owner 4;
    /// The same of the platform's providers.
    PLATFORM_NAMES = "platform-names", look_ups(32);
    /// Look-ups of names that take long, on the same threads.
    LATE_NAMES = "late-names", look_ups(160), of each owner 4;
    /// Files of object stores that are folders. A mount that does not answer keeps them.
    FOLDERS = "folders", 8;
    /// Object stores that are opened. A mount that does not answer keeps them, one for each attempt.
    OPENING = "opening", 8;
    /// The work of roles: one piece for each, and one that its last holder has left behind.
    OUTLETS = "outlets", 12;
    /// Checkpoints of other logs that this witness is asked to cosign.
    WITNESS = "witness", 8;
    /// The start and the end of the process.
    STARTING = "starting", 4;
    /// The state of the process, for its metrics.
    PROCESS = "process", 1;
}

/// The cores that this process may use.
fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Scales a number of look-ups down if the process may open few files: each look-up has one.
fn look_ups(of_all: usize) -> usize {
    // The soft limit is raised to it.
    let files = getrlimit(Resource::Nofile).maximum.map(usize::try_from);
    let files = files.and_then(Result::ok).unwrap_or(usize::MAX);
    (of_all * LOOK_UPS_MAX.min(files / FILES_PER_LOOK_UP) / LOOK_UPS_MAX).max(1)
}

/// How many names may be looked up at a time, each with a file.
pub fn look_ups_max() -> usize {
    NAMES.turns_max + PLATFORM_NAMES.turns_max + LATE_NAMES.turns_max
}

/// How many threads all pools have together. A runtime with as many threads for blocking work lets no pool wait for another.
pub fn threads_max() -> usize {
    POOLS.iter().map(|pool| pool.turns_max).sum()
}
