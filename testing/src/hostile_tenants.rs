//! Tenants that do what they may do, as often as they may: each has an administrator's key, and a seed draws what it does next.
//! A test and a bench put many of them beside honest ones. They need a [prepared](crate::upstream::prepared) upstream.

mod resources;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep_until, timeout};

use self::resources::Resources;
use crate::http1::Body;
use crate::random::SplitMix64;
use crate::request::{head, with_body};
use crate::upstream::prepared::model;
use crate::wire::Wire;

/// The longest that a tenant waits for an answer before it goes away.
const ACT_MAX: Duration = Duration::from_secs(4);
/// The time for which it reads a stream that it then leaves.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// The time of a command that sets a tenant up.
const COMMAND_MAX: Duration = Duration::from_secs(10);
/// Connections of each kind that a tenant leaves open: silent ones, and those whose calls hang.
const KEPT_MAX: usize = 2;
/// The most files that a process has open for one tenant: its connections, and the upstream's side of its calls.
pub const FILES_OF_TENANT: u64 = 8;
/// The address of the first tenant; the others follow.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
const CHAT: &str = "/v1/chat/completions";
/// Bytes of the text of a large body: at least so many, and up to so many more.
const LARGE_BYTES: usize = 64 * 1024;
const LARGE_MORE_BYTES: u64 = 1024 * 1024;
/// The model whose provider is at a name that no name server answers for.
const NAMED: &str = "named";
/// The models of a tenant's own at the upstream.
const OWN: [&str; 4] = [model::WHOLE, model::DRIP, model::COMMENTS, model::HANG];

/// The gateway under siege, and how hard it is pressed.
#[derive(Clone, Copy, Debug)]
pub struct Siege<'a> {
    pub gateway: SocketAddr,
    /// The address of a [`PreparedUpstream`](crate::upstream::prepared::PreparedUpstream).
    pub upstream: SocketAddr,
    pub operator_key: &'a str,
    pub seed: u64,
    /// The average pause of a tenant between two acts.
    pub pause: Duration,
    /// Resources that a tenant creates at once.
    pub batch: u64,
}

/// The kinds of acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Several resources of one kind, until their bound is reached.
    Create,
    /// A request at absurd prices that many narrowed budgets and limits bind, each with alerts.
    Spend,
    /// A connection that says nothing, or only half a head.
    StaySilent,
    /// A request for a provider whose name is not answered for.
    LookUpName,
    /// A stream that is left after its first event.
    LeaveStream,
    /// A stream of comments.
    ReadComments,
    SendLargeBody,
    /// A call that its upstream never answers.
    Hang,
}

impl Act {
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Spend,
        Self::StaySilent,
        Self::LookUpName,
        Self::LeaveStream,
        Self::ReadComments,
        Self::SendLargeBody,
        Self::Hang,
    ];
    /// The odds that it is drawn, of all of them together.
    const ODDS: [u64; 8] = [5, 4, 1, 1, 2, 1, 1, 1];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "resources created",
            Self::Spend => "requests at absurd prices, with alerts",
            Self::StaySilent => "silent connections",
            Self::LookUpName => "names that hang or do not exist",
            Self::LeaveStream => "streams that are left",
            Self::ReadComments => "streams of comments",
            Self::SendLargeBody => "large bodies",
            Self::Hang => "calls that hang",
        }
    }

    fn draw(random: &mut SplitMix64) -> Self {
        let mut drawn = below(random, Self::ODDS.iter().sum());
        for (act, odds) in Self::ALL.into_iter().zip(Self::ODDS) {
            match drawn.checked_sub(odds) {
                None => return act,
                Some(left) => drawn = left,
            }
        }
        Self::Create
    }
}

/// The number of answers to each kind of act by status. 0 stands for none: nobody waits for it, it did not come in time, or the
/// connection was closed.
pub type Answers = BTreeMap<Act, BTreeMap<u16, usize>>;

/// Adds the answers to other tenants.
pub fn add(answers: &mut Answers, others: Answers) {
    for (act, by_status) in others {
        for (status, number) in by_status {
            *answers.entry(act).or_default().entry(status).or_default() += number;
        }
    }
}

pub struct HostileTenant {
    gateway: SocketAddr,
    /// An address of this machine that no other tenant has.
    source: Ipv4Addr,
    secret: String,
    random: SplitMix64,
    pause: Duration,
    batch: u64,
    resources: Resources,
    silent: VecDeque<Wire>,
    hanging: VecDeque<Wire>,
}

impl HostileTenant {
    /// Creates a tenant of this number, as the operator: with an administrator's key, and providers of its own.
    pub async fn settle(siege: &Siege<'_>, number: u64) -> io::Result<Self> {
        let mut operator = Operator { wire: Wire::open(siege.gateway).await?, key: siege.operator_key };
        let name = format!("hostile-{number}");
        let partner = operator.create("/partners", json!({ "name": name })).await?;
        let tenant = json!({ "partner_id": partner["id"], "name": name, "own_providers": true });
        let tenant = operator.create("/tenants", tenant).await?["id"].clone();
        let user = json!({ "tenant_id": tenant, "name": name, "roles": ["tenant_admin"] });
        let user = operator.create("/users", user).await?["id"].clone();
        let key = json!({ "user_id": user, "name": name, "permissions": ["admin:access", "models:use"] });
        let secret = operator.create("/keys", key).await?["secret"].as_str().unwrap_or_default().to_owned();
        let port = siege.upstream.port();
        let domain = if number.is_multiple_of(2) { "hang" } else { "missing" };
        let hosts = [siege.upstream.to_string(), format!("n{number}.{domain}.test:{port}")];
        let mut providers = Vec::new();
        for (provider, host) in ["own", NAMED].into_iter().zip(hosts) {
            let body = json!({ "tenant_id": tenant, "name": provider, "kind": "openai", "api_key": "k",
                "base_url": format!("http://{host}/v1"), "allow_private_network": true, "idle_timeout_ms": 2000 });
            providers.push(operator.create("/providers", body).await?["id"].clone());
        }
        let [own, named] = &providers[..] else { return Err(io::ErrorKind::InvalidData.into()) };
        let models = OWN.iter().map(|model| (own, *model)).chain([(named, NAMED)]);
        let changes: Vec<Value> =
            models.flat_map(|(provider, model)| resources::priced_model(&tenant, provider, model)).collect();
        operator.ask("/v1/admin/apply", &json!({ "changes": changes }), 200).await?;
        Ok(Self {
            gateway: siege.gateway,
            source: Ipv4Addr::from_bits(FIRST_SOURCE.to_bits() + u32::try_from(number).unwrap_or(0)),
            secret,
            random: SplitMix64::new(siege.seed.wrapping_mul(1_000_003).wrapping_add(number)),
            pause: siege.pause,
            batch: siege.batch,
            resources: Resources { tenant, user, provider: own.clone(), made: 0 },
            silent: VecDeque::new(),
            hanging: VecDeque::new(),
        })
    }

    /// Does one thing after the other until then.
    pub async fn act_until(mut self, until: Instant) -> Answers {
        let mut answers = Answers::new();
        while Instant::now() < until {
            let act = Act::draw(&mut self.random);
            let status = match timeout(ACT_MAX, self.perform(act)).await {
                Ok(Ok(status)) => status,
                Ok(Err(_)) | Err(_) => 0,
            };
            *answers.entry(act).or_default().entry(status).or_default() += 1;
            let percent = u32::try_from(50 + below(&mut self.random, 100)).unwrap_or(100);
            sleep_until((Instant::now() + self.pause * percent / 100).min(until).into()).await;
        }
        answers
    }

    /// Returns the status of the answer; 0 for an act that waits for none.
    async fn perform(&mut self, act: Act) -> io::Result<u16> {
        match act {
            Act::Create => {
                let (path, body) = self.resources.draw(&mut self.random, self.batch);
                self.status_of(&self.request(path, &body)).await
            }
            Act::Spend => {
                let metadata = resources::binding_metadata();
                let request = json!({ "model": own(model::WHOLE), "max_tokens": 16, "messages": said("hello"), "metadata": metadata });
                self.status_of(&self.request(CHAT, &request)).await
            }
            Act::StaySilent => {
                let mut wire = self.open().await?;
                if below(&mut self.random, 2) == 0 {
                    wire.write(head("POST", CHAT, &self.secret).as_bytes()).await?;
                }
                keep(&mut self.silent, wire);
                Ok(0)
            }
            Act::LookUpName => {
                let request = json!({ "model": own(NAMED), "max_tokens": 16, "messages": said("hello") });
                self.status_of(&self.request(CHAT, &request)).await
            }
            Act::LeaveStream => self.look_at(model::DRIP).await,
            Act::ReadComments => self.look_at(model::COMMENTS).await,
            Act::SendLargeBody => {
                let more = usize::try_from(below(&mut self.random, LARGE_MORE_BYTES)).unwrap_or(0);
                let text = "a".repeat(LARGE_BYTES + more);
                let request = json!({ "model": own(model::WHOLE), "max_tokens": 16, "messages": said(&text) });
                self.status_of(&self.request(CHAT, &request)).await
            }
            Act::Hang => {
                let mut wire = self.open().await?;
                let request = json!({ "model": own(model::HANG), "max_tokens": 16, "messages": said("hello") });
                wire.write(&self.request(CHAT, &request)).await?;
                keep(&mut self.hanging, wire);
                Ok(0)
            }
        }
    }

    fn request(&self, path: &str, body: &Value) -> Vec<u8> {
        with_body("POST", path, &self.secret, body.to_string().as_bytes())
    }

    async fn open(&self) -> io::Result<Wire> {
        Wire::open_from(self.source, self.gateway).await
    }

    async fn status_of(&self, request: &[u8]) -> io::Result<u16> {
        let mut wire = self.open().await?;
        wire.write(request).await?;
        answer(&mut wire).await.map(|answer| answer.status)
    }

    /// Begins to read a stream, and breaks its connection off.
    async fn look_at(&self, name: &str) -> io::Result<u16> {
        let mut wire = self.open().await?;
        let request = json!({ "model": own(name), "max_tokens": 600, "messages": said("hello"), "stream": true });
        wire.write(&self.request(CHAT, &request)).await?;
        let status = status(&mut wire).await?;
        // It has come within this time, or it comes too late.
        let _ = timeout(LOOK_MAX, wire.read()).await;
        wire.reset();
        Ok(status)
    }
}

/// The operator's connection, while a tenant is set up.
struct Operator<'a> {
    wire: Wire,
    key: &'a str,
}

impl Operator<'_> {
    async fn create(&mut self, collection: &str, body: Value) -> io::Result<Value> {
        self.ask(&format!("/v1/admin{collection}"), &body, 201).await
    }

    async fn ask(&mut self, path: &str, body: &Value, expected: u16) -> io::Result<Value> {
        self.wire.write(&with_body("POST", path, self.key, body.to_string().as_bytes())).await?;
        let Answer { status, body } = timeout(COMMAND_MAX, answer(&mut self.wire)).await??;
        if status != expected {
            return Err(io::Error::other(format!("{path}: {status}: {}", String::from_utf8_lossy(&body))));
        }
        serde_json::from_slice(&body).map_err(io::Error::other)
    }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// Reads a whole answer.
async fn answer(wire: &mut Wire) -> io::Result<Answer> {
    let head = loop {
        if let Some(head) = wire.take_head()? {
            break head;
        }
        wire.read().await?;
    };
    let mut answer = Answer { status: head.status, body: Vec::new() };
    let mut body = Body::new(head.framing);
    loop {
        wire.take_body(&mut body, |bytes| answer.body.extend_from_slice(bytes))?;
        if body.is_over() {
            return Ok(answer);
        }
        wire.read().await?;
    }
}

/// Reads the head of an answer.
async fn status(wire: &mut Wire) -> io::Result<u16> {
    loop {
        if let Some(head) = wire.take_head()? {
            return Ok(head.status);
        }
        wire.read().await?;
    }
}

/// Leaves a connection open, and ends the oldest of those that are too many.
fn keep(kept: &mut VecDeque<Wire>, wire: Wire) {
    kept.push_back(wire);
    while kept.len() > KEPT_MAX {
        kept.pop_front();
    }
}

/// The name of a model of a tenant's own.
fn own(name: &str) -> String {
    format!("own-{name}")
}

fn said(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

fn below(random: &mut SplitMix64, bound: u64) -> u64 {
    random.next_u64() % bound.max(1)
}
