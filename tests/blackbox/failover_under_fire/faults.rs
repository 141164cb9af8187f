//! The ways in which a target fails, and what the gateway is to make of each.

/// One way to fail.
pub struct Fault {
    /// Part of the name of the target's model.
    pub name: &'static str,
    pub behaviour: Behaviour,
    /// The `reason` in the log if a whole answer was asked for, and if a stream was.
    pub reasons: [&'static str; 2],
    pub status: Option<u16>,
    pub breaker: BreakerRule,
}

/// The reaction of a failing target to every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Nobody listens.
    Refused,
    /// Accepts the call and says nothing.
    Silent,
    /// Answers well, but long after the time for the first byte is over.
    Late,
    /// Sends the head of an answer and then nothing.
    SilentAfterHead,
    /// Closes the connection instead of an answer.
    Closes,
    /// Sends these bytes instead of an answer, and closes.
    Says(&'static str),
    /// Sends a well-formed response with this status, these headers and this body.
    Responds(u16, &'static str, &'static str),
    /// Sends a stream where a whole answer was asked for, and the other way round.
    OtherForm,
    /// Begins an answer.
    Breaks(Point, Break),
}

/// Where a stream breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    BeforeFirstToken,
    /// Something was relayed: no other target may be called.
    AfterFirstToken,
}

/// How an answer breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The connection is closed in the middle of the body.
    Cut,
    /// The body ends properly, and too early.
    Ends,
    /// The rest never comes.
    Stalls,
    /// An error in the place of the rest, or of the whole answer.
    Error,
}

/// How long the gateway waits for a target. Where it need not give up, it has time, so that a busy machine makes no other failure
/// of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// For the first byte and between bytes.
    Short,
    ShortBetweenBytes,
    Long,
}

/// The effect of a fault on the target's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerRule {
    Opens,
    /// Somebody else may be to blame, or the target only has a limit: each request calls it, so many times.
    StaysClosed {
        calls: usize,
    },
}

impl Fault {
    const fn new(name: &'static str, behaviour: Behaviour, reason: &'static str) -> Self {
        Self { name, behaviour, reasons: [reason; 2], status: None, breaker: BreakerRule::Opens }
    }

    const fn status(name: &'static str, status: u16, body: &'static str) -> Self {
        let behaviour = Behaviour::Responds(status, JSON, body);
        Self { status: Some(status), ..Self::new(name, behaviour, "status") }
    }

    const fn ok(name: &'static str, headers: &'static str, body: &'static str, reason: &'static str) -> Self {
        Self::new(name, Behaviour::Responds(200, headers, body), reason)
    }

    const fn breaks(name: &'static str, point: Point, how: Break, reason: &'static str) -> Self {
        Self::new(name, Behaviour::Breaks(point, how), reason)
    }

    /// With another reason where a stream was asked for.
    const fn streamed(self, reason: &'static str) -> Self {
        Self { reasons: [self.reasons[0], reason], ..self }
    }

    /// The target is called by each request, so many times.
    const fn stays_closed(self, calls: usize) -> Self {
        Self { breaker: BreakerRule::StaysClosed { calls }, ..self }
    }

    /// With these headers.
    const fn with(self, headers: &'static str) -> Self {
        match self.behaviour {
            Behaviour::Responds(status, _, body) => {
                Self { behaviour: Behaviour::Responds(status, headers, body), ..self }
            }
            _ => self,
        }
    }

    pub const fn reason(&self, is_streamed: bool) -> &'static str {
        self.reasons[is_streamed as usize]
    }

    /// How long the gateway waits for the target.
    pub const fn patience(&self) -> Patience {
        match self.behaviour {
            // After the head, it waits for the longer one of both times.
            Behaviour::Silent | Behaviour::Late | Behaviour::SilentAfterHead => Patience::Short,
            Behaviour::Breaks(_, Break::Stalls) => Patience::ShortBetweenBytes,
            _ => Patience::Long,
        }
    }

    /// True if the client sees this failure: only of a stream of which something was relayed.
    pub const fn is_seen(&self, is_streamed: bool) -> bool {
        is_streamed && matches!(self.behaviour, Behaviour::Breaks(Point::AfterFirstToken, _))
    }
}

const JSON: &str = "content-type: application/json\r\n";
const BUSY: &str = r#"{"error":{"message":"too many requests","type":"rate_limit_error"}}"#;
const DOWN: &str = r#"{"error":{"message":"try later","type":"server_error"}}"#;
const WRONG_KEY: &str =
    r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}"#;
const NO_SCOPE: &str = r#"{"error":{"message":"You have insufficient permissions for this operation.","code":null}}"#;
const NO_MODEL: &str = r#"{"error":{"message":"The model does not exist","code":"model_not_found"}}"#;
const NO_MONEY: &str = r#"{"error":{"message":"Insufficient Balance","code":"insufficient_balance"}}"#;
const GATEWAY_PAGE: &str = "<html><head><title>502 Bad Gateway</title></head></html>";

/// Every known way. A 400, 413 or 422 that is about the request is none: it is the client's mistake, another target would reject
/// it as well, and it does not fail over (`http.upstream-rejected`).
pub const FAULTS: &[Fault] = &[
    Fault::new("refused", Behaviour::Refused, "connect"),
    Fault::new("silent", Behaviour::Silent, "timeout"),
    Fault::new("late", Behaviour::Late, "timeout"),
    Fault::new("head", Behaviour::SilentAfterHead, "timeout"),
    Fault::new("closes", Behaviour::Closes, "closed"),
    Fault::new("not-http", Behaviour::Says("SSH-2.0-OpenSSH_9.6\r\n"), "malformed"),
    Fault::status("408", 408, DOWN),
    Fault::status("500", 500, DOWN),
    Fault::status("502", 502, GATEWAY_PAGE).with("content-type: text/html\r\n"),
    Fault::status("503", 503, DOWN).with("content-type: application/json\r\nretry-after: 30\r\n"),
    Fault::status("504", 504, ""),
    Fault::status("529", 529, DOWN),
    Fault::status("429", 429, BUSY).stays_closed(1),
    Fault::status("429-long", 429, BUSY).with("retry-after: 7\r\n").stays_closed(1),
    // It is waited for, once.
    Fault::status("429-short", 429, BUSY).with("retry-after: 1\r\n").stays_closed(2),
    Fault::status("401", 401, WRONG_KEY),
    // The request may be the one that the key may not make.
    Fault::status("403", 403, NO_SCOPE).stays_closed(1),
    Fault::status("402", 402, NO_MONEY),
    Fault::status("404", 404, NO_MODEL).stays_closed(1),
    Fault::status("307", 307, "").with("location: /elsewhere\r\n").stays_closed(1),
    Fault::ok("page", "content-type: text/html\r\n", "<html><body>Welcome</body></html>", "malformed")
        .streamed("truncated"),
    Fault::ok("nonsense", JSON, "\u{1}\u{2}}{ no JSON", "malformed").streamed("truncated"),
    Fault::ok("other-json", JSON, r#"{"status":"ok","items":[1,2,3]}"#, "malformed").streamed("truncated"),
    Fault::ok("empty", JSON, "", "malformed").streamed("truncated"),
    Fault::new("other-form", Behaviour::OtherForm, "malformed").streamed("truncated"),
    Fault::breaks("cut", Point::BeforeFirstToken, Break::Cut, "closed"),
    Fault::breaks("ends", Point::BeforeFirstToken, Break::Ends, "malformed").streamed("truncated"),
    Fault::breaks("stalls", Point::BeforeFirstToken, Break::Stalls, "timeout"),
    Fault::breaks("error", Point::BeforeFirstToken, Break::Error, "in_band_error"),
    Fault::breaks("cut-late", Point::AfterFirstToken, Break::Cut, "closed"),
    Fault::breaks("ends-late", Point::AfterFirstToken, Break::Ends, "malformed").streamed("truncated"),
    Fault::breaks("stalls-late", Point::AfterFirstToken, Break::Stalls, "timeout"),
    Fault::breaks("error-late", Point::AfterFirstToken, Break::Error, "in_band_error"),
];

/// The fault of a target's model, `FAULT.…`; `None` for one that answers well.
pub fn of(model: &str) -> Option<&'static Fault> {
    let (name, _) = model.split_once('.')?;
    FAULTS.iter().find(|fault| fault.name == name)
}
