//! A node: this program once more, as a process that has opened a shared ledger and does the work that it reads from its input.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::event::access::AccessDenied;
use events::event::{Access, Actor, Context, Event, Stream, StreamKind};
use events::ids::{IdMaker, SystemRandom};
use events::refusal::ErrorCode;
use events::time::SystemClock;
use events_log::{DatabaseAddress, Log, LogOptions, Note};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::budgets::{Customers, Spenders};
use crate::load::{self, Measured, Waits};

/// The first argument of such a process.
pub const ARGUMENT: &str = "node";
/// The events of a note, which are appended in one batch.
const NOTED: usize = 1000;
/// While one is written, the next one waits.
const NOTERS: usize = 2;

#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Work {
    /// Requests, admitted and settled.
    Requests { submitters: usize },
    /// A thousand events at a time.
    Bulk,
}

#[derive(Serialize, Deserialize)]
struct Order {
    work: Work,
    time: Duration,
}

pub struct Node {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Node {
    /// Starts it, and waits until it has opened its budgets.
    pub fn start(address: &str, customers: Customers) -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, address, &customers.0.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut node = Self { process, answers: BufReader::new(answers) };
        node.line()?;
        Ok(node)
    }

    pub fn begin(&mut self, work: Work, time: Duration) -> io::Result<()> {
        let order = serde_json::to_string(&Order { work, time })?;
        writeln!(self.process.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?, "{order}")
    }

    /// Waits for the end of the work.
    pub fn finish(&mut self) -> io::Result<Measured> {
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a node has failed"));
        }
        Ok(line)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // This closes its input, with which it ends.
        let _ = self.process.wait();
    }
}

/// The process itself: does what its input says until that ends.
pub fn run(address: &str, customers: Customers) -> io::Result<()> {
    let clock = Arc::new(SystemClock::new());
    let ids = IdMaker::new(clock.clone(), Arc::new(SystemRandom));
    let database = DatabaseAddress::from_str(address).map_err(io::Error::other)?;
    let node = format!("bench-{}", std::process::id());
    let log = Log::open_shared(&database, &node, LogOptions::new(clock)).map_err(io::Error::other)?;
    let runtime = load::runtime()?;
    let spenders = Arc::new(runtime.block_on(Spenders::open(&log, ids, customers)));
    answer("ready")?;
    for line in io::stdin().lines() {
        let Order { work, time } = serde_json::from_str(&line?)?;
        let measured = match work {
            Work::Requests { submitters } => runtime.block_on(load::requests(&log, &spenders, submitters, time)),
            Work::Bulk => runtime.block_on(bulk(&log, time)),
        };
        answer(&serde_json::to_string(&measured)?)?;
    }
    log.close();
    Ok(())
}

fn answer(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

async fn bulk(log: &Log, time: Duration) -> Measured {
    load::measured(log, async {
        let until = Instant::now() + time;
        let noters = (0..NOTERS).map(|_| {
            let log = log.clone();
            async move {
                while Instant::now() < until {
                    log.note((0..NOTED).map(note).collect()).await.expect("the events are appended");
                }
            }
        });
        noters.collect::<JoinSet<()>>().join_all().await;
        Waits::default()
    })
    .await
}

fn note(number: usize) -> Note {
    let denied = AccessDenied { code: ErrorCode::Forbidden, count: number as u64 };
    Note {
        stream: Stream::new(StreamKind::Access, "anonymous"),
        context: Context::of(Actor::System("gateway")),
        event: Event::Access(Access::Denied(Box::new(denied))),
    }
}
