//! The operator's commands during a phase, on a thread of their own: budgets of an honest tenant are created and deleted. Each announces
//! an alert at the next request.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::admin::Admin;
use harness::load::Tally;
use serde_json::json;

/// The pause between two commands; an honest tenant's request comes in between.
const INTERVAL: Duration = Duration::from_millis(500);

pub struct Commands {
    /// Dropping it ends the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<CommandResults>,
}

/// A budget whose alert has been announced.
#[derive(Clone, Debug)]
pub struct OrderedAlert {
    pub budget: String,
    /// The time before the budget was created.
    pub ordered: Instant,
}

#[derive(Debug, Default)]
pub struct CommandResults {
    pub tally: Tally,
    pub alerts: Vec<OrderedAlert>,
}

impl CommandResults {
    /// Notes the time of a command, and returns its result.
    fn time<T>(&mut self, command: impl FnOnce() -> io::Result<T>) -> Option<T> {
        let began = Instant::now();
        match command() {
            Ok(result) => {
                self.tally.totals.push(began.elapsed());
                Some(result)
            }
            Err(error) => {
                self.tally.fail(error.to_string());
                None
            }
        }
    }
}

impl Commands {
    pub fn start(admin: Admin, user: &str) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let body = json!({ "scope": { "user_id": user }, "limit_usd": "1000", "period": "total", "alert_at": ["0.000000001"] });
        let thread = std::thread::spawn(move || {
            let mut results = CommandResults::default();
            let is_over = || stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
            while !is_over() {
                let ordered = Instant::now();
                let Some(budget) = results.time(|| admin.try_create("/budgets", &body)) else { continue };
                let budget = budget["id"].as_str().unwrap_or_default().to_owned();
                let was_asked = !is_over();
                let deleted = results.time(|| admin.delete(&format!("/budgets/{budget}")));
                if was_asked && deleted.is_some() {
                    results.alerts.push(OrderedAlert { budget, ordered });
                }
                if !was_asked {
                    break;
                }
            }
            results
        });
        Self { stop, thread }
    }

    pub fn end(self) -> CommandResults {
        drop(self.stop);
        self.thread.join().expect("the thread does not panic")
    }
}
