//! The simulator's behaviour, parsed from the name of the backend model.

use std::time::Duration;

use http::StatusCode;

const TOKENS_MAX: u64 = 1_000_000;

/// The kind of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    #[default]
    Echo,
    Lorem,
}

/// See the table at [`crate::simulator`].
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    pub voice: Voice,
    pub ttft: Duration,
    pub pace: Duration,
    pub output_tokens: Option<u64>,
    pub reasoning_tokens: u64,
    pub input_tokens: Option<u64>,
    pub cached_tokens: u64,
    pub no_usage: bool,
    pub fail: Option<StatusCode>,
    pub retry_after_s: Option<u64>,
    pub fail_after: Option<u64>,
    pub cut_after: Option<u64>,
    pub silent: bool,
}

impl Behaviour {
    /// Parses the name. Errors: an unknown name, option or value.
    pub fn of(model: &str) -> Result<Self, String> {
        let (name, options) = model.split_once('?').unwrap_or((model, ""));
        let voice = match name {
            "echo" => Voice::Echo,
            "lorem" => Voice::Lorem,
            _ => return Err("the simulator has the models echo and lorem".into()),
        };
        let mut behaviour = Self { voice, ..Self::default() };
        for (option, value) in url::form_urlencoded::parse(options.as_bytes()) {
            let set = behaviour.set(&option, &value);
            set.map_err(|reason| format!("option {option} of the model's name {reason}"))?;
        }
        Ok(behaviour)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), &'static str> {
        let number = || value.parse::<u64>().map_err(|_| "must be a whole number");
        let up_to = |max| number().and_then(|n| if n <= max { Ok(n) } else { Err("is too large") });
        match option {
            "ttft_ms" => self.ttft = Duration::from_millis(up_to(600_000)?),
            "pace_ms" => self.pace = Duration::from_millis(up_to(60_000)?),
            "output_tokens" => self.output_tokens = Some(up_to(TOKENS_MAX)?),
            "reasoning_tokens" => self.reasoning_tokens = up_to(TOKENS_MAX)?,
            "input_tokens" => self.input_tokens = Some(up_to(1_000_000_000)?),
            "cached_tokens" => self.cached_tokens = up_to(1_000_000_000)?,
            "no_usage" => self.no_usage = up_to(1)? == 1,
            "fail" => {
                let status = u16::try_from(up_to(599)?).ok().and_then(|status| StatusCode::from_u16(status).ok());
                let status = status.filter(|status| status.as_u16() >= 400);
                self.fail = Some(status.ok_or("must be a status from 400 to 599")?);
            }
            "retry_after" => self.retry_after_s = Some(up_to(86_400)?),
            "fail_after" => self.fail_after = Some(number()?),
            "cut_after" => self.cut_after = Some(number()?),
            "silent" => self.silent = up_to(1)? == 1,
            _ => return Err("is unknown"),
        }
        Ok(())
    }
}
