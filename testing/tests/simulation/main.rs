//! Deterministic simulation of log, ledger, sweeper and views. One seed draws everything: the requests of the clients, which of
//! them are repeated or lost, when the writer works, the faults of disk and clock, when the process dies, and the files that
//! are left. The simulation steps the real code on one thread over files in memory. An independent checker, made of plain
//! lists, verifies every position, every answer and every process. A seed that fails prints itself and replays exactly. See
//! `docs/simulation.md`.

mod alerts;
mod books;
mod calls;
mod clients;
mod dice;
mod disk;
mod facts;
mod follower;
mod process;
mod trace;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use world::World;

/// Seeds of a test run, unless `SIM_SEEDS` is set. The first is `SIM_FIRST_SEED`; else `TEST_ROTATION`, a number that `tests/run` takes
/// from the commit, chooses one of four parts of the first 10,000.
const SEEDS: u64 = 2_500;
const PARTS: u64 = 4;
const MOVES: usize = 50;
/// Seeds that are played twice, to compare their traces.
const REPLAYED: u64 = 25;

/// Seeds of whose logs views are built as of earlier positions.
const REPLAYED_VIEWS: u64 = 40;

/// The trace of a seed, and the promise that it broke.
struct Played {
    trace: String,
    hash: u64,
    broken: Option<String>,
}

fn play(seed: u64) -> Played {
    // Calls to the writer have deadlines and are answered by their runtime. Its paused clock lets no deadline pass.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = Rc::new(runtime.expect("a runtime"));
    let _deadlines = runtime.enter();
    let mut world = World::of(seed, Rc::clone(&runtime));
    let broken = match catch_unwind(AssertUnwindSafe(|| world.play(MOVES))) {
        Ok(checked) => checked.err(),
        // The message is in the output.
        Err(_) => Some("a panic".to_owned()),
    };
    Played { hash: world.trace.hash(), trace: world.trace.text().to_owned(), broken }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Holds: event.never-over, event.one-end, event.order, event.views-disposable
#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("SIM_SEED") {
        let played = play(seed);
        println!("{}seed {seed}: trace {:016x}", played.trace, played.hash);
        return must_keep_every_promise(seed, &played);
    }
    let part = number("TEST_ROTATION").unwrap_or(0) % PARTS;
    let first = number("SIM_FIRST_SEED").unwrap_or(1 + part * SEEDS);
    let last = first + number("SIM_SEEDS").unwrap_or(SEEDS);
    let (next, hash_of_all) = (AtomicU64::new(first), AtomicU64::new(0));
    // Seeds begin in order: when one fails, all lower ones have begun too, and the lowest that fails is reported.
    let broken: Mutex<BTreeMap<u64, Played>> = Mutex::default();
    let work = || {
        while broken.lock().expect("no panic").is_empty() {
            let seed = next.fetch_add(1, SeqCst);
            if seed >= last {
                return;
            }
            let played = play(seed);
            hash_of_all.fetch_xor(played.hash, SeqCst);
            if played.broken.is_some() {
                broken.lock().expect("no panic").insert(seed, played);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    if let Some((seed, played)) = broken.into_inner().expect("no panic").first_key_value() {
        println!("{}", played.trace);
        must_keep_every_promise(*seed, played);
    }
    println!("seeds {first} to {}: traces {:016x}", last - 1, hash_of_all.into_inner());
}

fn must_keep_every_promise(seed: u64, played: &Played) {
    if let Some(reason) = &played.broken {
        let again = format!("SIM_SEED={seed} cargo test -p testing --test simulation every -- --nocapture");
        panic!("seed {seed}, trace {:016x}: {reason}. Again: {again}", played.hash);
    }
}

/// Holds: bin.replay
#[test]
fn views_as_of_a_position_are_those_that_stopped_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = Rc::new(runtime.expect("a runtime"));
    let _deadlines = runtime.enter();
    for seed in 1..=REPLAYED_VIEWS {
        let mut world = World::of(seed, Rc::clone(&runtime));
        let checked = world.play(MOVES).and_then(|()| world.replay_views());
        checked.unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 1..=REPLAYED {
        let (once, again) = (play(seed), play(seed));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!(once.hash, again.hash, "seed {seed}");
    }
}
