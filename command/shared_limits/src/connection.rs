//! A connection to Redis, to one server or to a cluster. It does not reconnect and does not repeat: whether a call had an effect
//! is then never in doubt for longer than the connection, and a node sends all that it counts over the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use events::limit::Measure;
use events::shown_text::shown_text;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult, Script, ScriptInvocation};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

use crate::address::RedisAddress;
use crate::call::{Correction, Count, LimitCall, LimitState, begin, limit_key, nodes_key};
use crate::error::{CounterError, CounterErrorKind};
use crate::reply::CountReply;

/// How long it may take to connect. What is tried then may take as long as answers may.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take. Requests wait for it.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// The first version whose scripts may write after they have asked for the time.
const MAJOR_VERSION_MIN: u32 = 5;
/// The policy of a server that drops no key when its memory is full.
const KEEPS_ALL: &str = "noeviction";
/// The group and the limit of the calls that a connection begins with, and the group in which a node says each second that it is there.
const TRIAL: &str = "trial";
/// The most characters of a server's version or policy that are passed on.
const SETTING_CHARS_MAX: usize = 20;

/// A connection of one node. Cheap to clone; the clones share it.
#[derive(Clone)]
pub struct CounterConnection {
    link: Link,
    node: Arc<str>,
    /// The server's name in errors.
    server: Arc<str>,
    script: Arc<Script>,
}

#[derive(Clone)]
enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl CounterConnection {
    /// Connects as the node of this name, if the server lets it do all that counting needs, and answers in time.
    pub async fn open(address: &RedisAddress, node: &str) -> Result<Self, CounterError> {
        let server: Arc<str> = address.shown().into();
        let failed = |kind| CounterError::new(Arc::clone(&server), kind);
        let link = timeout(CONNECT_MAX, connect(address)).await;
        let link = link.map_err(|_| failed(CounterErrorKind::TimedOut(CONNECT_MAX)))?.map_err(failed)?;
        let script = Arc::new(Script::new(include_str!("script.lua")));
        let connection = Self { link, node: node.into(), server, script };
        // By one name, so that it leaves nothing of each process.
        let trial = Self { node: TRIAL.into(), ..connection.clone() };
        trial.try_all().await?;
        connection.is_known(TRIAL).await?;
        Ok(connection)
    }

    /// Counts in a group of its own: a user may be allowed to connect and not to count.
    async fn try_all(&self) -> Result<(), CounterError> {
        // Windows and running requests are counted by other commands of Redis. The second call removes what the first has counted.
        let count = |measure| Count { measure, kept: Duration::ZERO, bound: u64::MAX, amount: 1, bucket: 0 };
        let counts = [Measure::RequestsPerMinute, Measure::ConcurrentRequests].map(count).to_vec();
        let ended = Correction { measure: Measure::ConcurrentRequests, bucket: 0, delta: -1 };
        let state = Some(LimitState { running: 0, windows: Vec::new() });
        let limit = LimitCall { limit: TRIAL.to_owned(), number: 1, state, corrections: vec![ended], counts };
        self.load_script().await?;
        for _ in 0..2 {
            self.count(TRIAL, std::slice::from_ref(&limit)).await?;
        }
        Ok(())
    }

    /// Counts against all limits or against none. They are of one group, which one server of a cluster has.
    pub async fn count(&self, group: &str, limits: &[LimitCall]) -> Result<CountReply, CounterError> {
        let mut invocation = self.script.prepare_invoke();
        begin(&mut invocation, &self.node, group);
        for limit in limits {
            invocation.key(limit_key(group, &limit.limit));
            limit.write(&mut invocation);
        }
        CountReply::read(&self.invoke(&invocation).await?).map_err(|kind| self.failed(kind))
    }

    /// Asks whether the server answers (in a cluster, each primary), accepts writes, and still knows this node (in a cluster, the one
    /// that has the trial). A replica, or a server whose memory is full, still answers.
    pub async fn check(&self) -> Result<(), CounterError> {
        if let Link::Cluster(mut cluster) = self.link.clone() {
            self.answered::<()>(redis::cmd("PING").query_async(&mut cluster)).await?;
        }
        self.renew(TRIAL).await
    }

    /// The nodes that have said lately that they are there.
    pub async fn live_nodes(&self) -> Result<Vec<String>, CounterError> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(nodes_key(TRIAL)).arg(0).arg(-1);
        match self.link.clone() {
            Link::Server(mut server) => self.answered(range.query_async(&mut server)).await,
            Link::Cluster(mut cluster) => self.answered(range.query_async(&mut cluster)).await,
        }
    }

    /// Keeps the places of this node's running requests in a group.
    pub async fn renew(&self, group: &str) -> Result<(), CounterError> {
        if self.is_known(group).await? { Ok(()) } else { Err(self.failed(CounterErrorKind::Lost)) }
    }

    /// Says that this node is there, and returns whether Redis knew it.
    async fn is_known(&self, group: &str) -> Result<bool, CounterError> {
        Ok(self.count(group, &[]).await? != CountReply::Unknown)
    }

    /// A call that finds no script sends it and asks again: that would be three answers in the time of one. In a cluster it is left to that:
    /// the client would send it to every server, replicas too, on which nothing is counted.
    async fn load_script(&self) -> Result<(), CounterError> {
        match self.link.clone() {
            Link::Server(mut server) => self.answered(self.script.load_async(&mut server)).await.map(drop),
            Link::Cluster(_) => Ok(()),
        }
    }

    async fn invoke(&self, invocation: &ScriptInvocation<'_>) -> Result<Vec<String>, CounterError> {
        match self.link.clone() {
            Link::Server(mut server) => self.answered(invocation.invoke_async(&mut server)).await,
            Link::Cluster(mut cluster) => self.answered(invocation.invoke_async(&mut cluster)).await,
        }
    }

    async fn answered<T>(&self, call: impl Future<Output = RedisResult<T>>) -> Result<T, CounterError> {
        let answer = timeout(ANSWER_MAX, call).await;
        let answer = answer.map_err(|_| self.failed(CounterErrorKind::TimedOut(ANSWER_MAX)))?;
        answer.map_err(|error| self.failed(error.into()))
    }

    fn failed(&self, kind: CounterErrorKind) -> CounterError {
        CounterError::new(Arc::clone(&self.server), kind)
    }
}

async fn connect(address: &RedisAddress) -> Result<Link, CounterErrorKind> {
    // The client takes the process's provider. Somebody else may have set the same one before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let [server] = address.servers() {
        let (server, about) = connect_to_server(server.clone()).await?;
        if !about.is_of_cluster {
            return Ok(Link::Server(server));
        }
    }
    match connect_to_cluster(address).await {
        Ok(cluster) => Ok(Link::Cluster(cluster)),
        Err(error) => Err(refusal_of_a_server(address).await.unwrap_or(error)),
    }
}

async fn connect_to_server(server: Url) -> Result<(MultiplexedConnection, AboutServer), CounterErrorKind> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        // Each call has its own limit: see `answered`.
        .set_response_timeout(None);
    let mut connection = Client::open(server)?.get_multiplexed_async_connection_with_config(&settings).await?;
    let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
    Ok((connection, usable(&info)?))
}

async fn connect_to_cluster(address: &RedisAddress) -> Result<ClusterConnection, CounterErrorKind> {
    let client = ClusterClient::builder(address.servers().iter().cloned())
        .retries(0)
        // It waits for every server. Time is left to ask them for their reasons.
        .connection_timeout(CONNECT_MAX / 2)
        // No shorter than the limit of any call (see `answered`), so that it is always that limit which ends a call.
        .response_timeout(CONNECT_MAX)
        .build()?;
    let mut cluster = client.get_async_connection().await?;
    let infos: HashMap<String, String> = redis::cmd("INFO").query_async(&mut cluster).await?;
    infos.values().try_for_each(|info| usable(info).map(drop))?;
    Ok(cluster)
}

/// Why a server of the address does not let this node use it, whatever becomes of the others. The client of a cluster says only that
/// it is connected to none.
async fn refusal_of_a_server(address: &RedisAddress) -> Option<CounterErrorKind> {
    let mut asked = JoinSet::new();
    for server in address.servers() {
        asked.spawn(connect_to_server(server.clone()));
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok(Err(error)) = answer
            && error.is_final()
        {
            return Some(error);
        }
    }
    None
}

struct AboutServer {
    is_of_cluster: bool,
}

/// Errors: the server is too old, or may drop keys.
fn usable(info: &str) -> Result<AboutServer, CounterErrorKind> {
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let version = value("redis_version").unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
    if major < MAJOR_VERSION_MIN {
        return Err(CounterErrorKind::TooOld(shown_text(version, SETTING_CHARS_MAX)));
    }
    // Some services hide it.
    if let Some(policy) = value("maxmemory_policy").filter(|policy| *policy != KEEPS_ALL) {
        return Err(CounterErrorKind::Evicts(shown_text(policy, SETTING_CHARS_MAX)));
    }
    Ok(AboutServer { is_of_cluster: value("cluster_enabled") == Some("1") })
}
