//! Exchanges between a node and a server: several limits at once, running requests, losses, states and clusters.

use std::time::Duration;

use events::limit::Measure;
use shared_limits::{
    Answer, BucketState, Correction, Count, CountReply, CounterConnection, CounterErrorKind, LimitCall, LimitState,
    RedisAddress, Shortage, WindowState,
};
use testing::proxy::{Proxy, ProxyMode};
use testing::redis::{Durability, RedisCluster, RedisServer};

use crate::nodes::Node;

const KEPT: Duration = Duration::from_secs(60);

fn requests(bound: u64) -> Count {
    Count { measure: Measure::RequestsPerMinute, kept: KEPT, bound, amount: 1, bucket: 7 }
}

fn running(bound: u64) -> Count {
    Count { measure: Measure::ConcurrentRequests, bound, ..requests(bound) }
}

fn limit(name: &str, counts: &[Count]) -> LimitCall {
    LimitCall { limit: name.to_owned(), counts: counts.to_vec(), ..LimitCall::default() }
}

fn answer(reply: CountReply) -> Answer {
    match reply {
        CountReply::Counted(answer) | CountReply::Refused(answer) => answer,
        CountReply::Unknown => panic!("{reply:?}"),
    }
}

fn is_counted(reply: &CountReply) -> bool {
    matches!(reply, CountReply::Counted(_))
}

fn amounts(reply: CountReply) -> Vec<u64> {
    answer(reply).standings.iter().map(|standing| standing.counted).collect()
}

#[tokio::test]
async fn a_request_counts_against_all_limits_or_against_none() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let both = [limit("wide", &[requests(9)]), limit("narrow", &[requests(1), running(5)])];
    assert_eq!(amounts(a.count("g", &both).await), [1, 1, 1]);
    for _ in 0..3 {
        let refused = b.count("g", &both).await;
        assert!(!is_counted(&refused));
        let standings = answer(refused).standings;
        let counted: Vec<u64> = standings.iter().map(|standing| standing.counted).collect();
        assert_eq!(counted, [1, 1, 1], "nothing is counted");
        assert_eq!((standings[0].shortage, standings[2].shortage), (None, None));
        assert!(matches!(standings[1].shortage, Some(Shortage::After(wait)) if wait > KEPT / 2 && wait <= KEPT));
    }
    assert!(is_counted(&b.count("other", &both).await), "groups have nothing to do with each other");
}

#[tokio::test]
async fn running_requests_of_a_node_count_until_it_ends_them_or_is_silent_for_five_seconds() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let two = [limit("l", &[running(2)])];
    assert!(is_counted(&a.count("g", &two).await) && is_counted(&b.count("g", &two).await));
    let refused = a.count("g", &two).await;
    assert_eq!(answer(refused).standings[0].shortage, Some(Shortage::Concurrency));
    let ends = Correction { measure: Measure::ConcurrentRequests, bucket: 0, delta: -1 };
    let next = LimitCall { corrections: vec![ends], ..two[0].clone() };
    assert!(is_counted(&a.count("g", &[next]).await), "its own place is free at once");
    assert!(!is_counted(&a.count("g", &two).await));
    // Node b is not heard of any more.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        a.connection().renew("g").await.expect("it is live");
    }
    assert!(is_counted(&a.count("g", &two).await), "the place of node b is free");
    let silent = b.connection().renew("g").await.expect_err("what it had running may not be counted any more");
    assert_eq!(*silent.kind(), CounterErrorKind::Lost);
    assert!(!is_counted(&a.count("g", &two).await), "it is there again, and so is its place");
}

#[tokio::test]
async fn a_server_that_has_lost_its_counts_says_so_each_second() {
    let server = RedisServer::start(Durability::Forgets);
    let a = Node::open(&server, "a").await;
    a.connection().check().await.expect("it has nothing to lose yet");
    server.ask(&["FLUSHALL"]);
    assert_eq!(*a.connection().check().await.expect_err("a loss").kind(), CounterErrorKind::Lost);
    a.connection().check().await.expect("it is known again");
}

/// Buckets of these amounts, which were counted half a window ago.
fn state(amounts: &[u64]) -> LimitState {
    let bucket = |(number, amount): (i64, &u64)| BucketState { number, age: KEPT / 2, amount: *amount };
    let buckets = (1..).zip(amounts).map(bucket).collect();
    LimitState { running: 0, windows: vec![WindowState { measure: Measure::RequestsPerMinute, buckets }] }
}

#[tokio::test]
async fn a_state_replaces_what_its_node_had_counted_and_calls_by_another_one_change_nothing() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let one = limit("l", &[requests(9)]);
    let by = |number, amounts: Option<&[u64]>| [LimitCall { number, state: amounts.map(state), ..one.clone() }];
    assert_eq!(a.call("g", &by(1, None)).await, CountReply::Unknown, "it has no state of it");
    assert_eq!(amounts(a.call("g", &by(1, Some(&[]))).await), [1]);
    assert_eq!(amounts(b.call("g", &by(1, Some(&[]))).await), [2]);
    assert_eq!(amounts(a.call("g", &by(1, Some(&[]))).await), [3], "this state is there already");
    assert_eq!(amounts(a.call("g", &by(3, Some(&[2, 3]))).await), [7]);
    for (number, amounts) in [(1, None), (2, Some(&[9][..])), (4, None)] {
        assert_eq!(a.call("g", &by(number, amounts)).await, CountReply::Unknown, "{number}");
    }
    let look = [LimitCall { counts: vec![Count { amount: 0, ..requests(9) }], ..by(3, None)[0].clone() }];
    let standings = answer(a.call("g", &look).await).standings;
    assert_eq!(standings[0].counted, 7);
    assert!(standings[0].more_in.expect("a time") <= KEPT / 2, "the age of what was counted before counts");
    // One limit that Redis does not have so is enough.
    let both = [by(3, None)[0].clone(), LimitCall { limit: "m".to_owned(), ..by(3, None)[0].clone() }];
    assert_eq!(a.call("g", &both).await, CountReply::Unknown);
    assert_eq!(amounts(a.call("g", &by(3, None)).await), [8], "nothing was counted");
}

#[tokio::test]
async fn a_state_has_the_running_requests_and_takes_away_windows_that_it_has_not() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let both = limit("l", &[requests(9), running(9)]);
    let by = |number, running, amounts: &[u64]| {
        let state = LimitState { running, ..state(amounts) };
        [LimitCall { number, state: Some(state), ..both.clone() }]
    };
    assert_eq!(amounts(a.call("g", &by(1, 3, &[4])).await), [5, 4]);
    assert_eq!(amounts(b.call("g", &by(1, 0, &[])).await), [6, 5]);
    let none = LimitState { running: 1, windows: Vec::new() };
    let none = LimitCall { number: 2, state: Some(none), ..both.clone() };
    assert_eq!(amounts(a.call("g", &[none]).await), [2, 3]);
}

#[tokio::test]
async fn a_server_that_restarts_keeps_what_it_acknowledged_if_it_is_told_to() {
    for durability in [Durability::Keeps, Durability::Forgets] {
        let mut server = RedisServer::start(durability);
        let a = Node::open(&server, "a").await;
        let one = [limit("l", &[requests(9)])];
        assert!(is_counted(&a.count("g", &one).await));
        server.kill();
        let error = a.connection().count("g", &one).await.expect_err("nobody answers");
        assert!(matches!(error.kind(), CounterErrorKind::ConnectionClosed), "{error}");
        server.start_again();
        assert!(a.connection().count("g", &one).await.is_err(), "a connection does not come back by itself");
        let by_the_same = [LimitCall { number: 1, ..one[0].clone() }];
        let again = Node::open(&server, "a").await.call("g", &by_the_same).await;
        match durability {
            Durability::Keeps => assert_eq!(amounts(again), [2]),
            Durability::Forgets => assert_eq!(again, CountReply::Unknown),
        }
    }
}

#[tokio::test]
async fn a_cluster_has_each_group_on_one_of_its_servers() {
    let cluster = RedisCluster::start();
    for url in [cluster.url(), cluster.url_of_all()] {
        let (a, b) = (Node::at(&url, "a").await, Node::at(&url, "b").await);
        let both = [limit("one", &[requests(99)]), limit("two", &[running(99)])];
        for group in 0..30 {
            let group = format!("par_{group}-{}", url.len());
            assert_eq!(amounts(a.count(&group, &both).await), [1, 1]);
            assert_eq!(amounts(b.count(&group, &both).await), [2, 2]);
        }
        a.connection().check().await.expect("all servers are there");
    }
    let keys = |server: &RedisServer| server.ask(&["DBSIZE"]).parse::<u64>().expect("a number");
    assert!(cluster.servers().iter().all(|server| keys(server) > 10), "they share the groups");
}

#[tokio::test]
async fn a_server_that_cannot_be_used_says_why_without_its_password() {
    let server = RedisServer::start(Durability::Forgets);
    server.ask(&["CONFIG", "SET", "requirepass", "s3cret-word"]);
    let open = async |url: String| {
        let address: RedisAddress = url.parse().expect("an address");
        CounterConnection::open(&address, "a").await.err().map(|error| (error.to_string(), error.is_final()))
    };
    let (wrong, is_final) = open(format!("redis://:wr0ng-word@127.0.0.1:{}", server.port())).await.expect("an error");
    let this_user = format!("Redis at 127.0.0.1:{} refuses this user", server.port());
    assert!(wrong.starts_with(&this_user) && !wrong.contains("wr0ng") && is_final, "{wrong}");
    let (without, is_final) = open(server.url()).await.expect("an error");
    assert!(without.starts_with(&format!("{this_user}: NOAUTH")) && is_final, "{without}");
    assert_eq!(open(format!("redis://:s3cret-word@127.0.0.1:{}", server.port())).await, None);
    // Of several, one that refuses is enough, whatever becomes of the others.
    for user in [":wr0ng-word@", ""] {
        for others in ["127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2"] {
            let (wrong, is_final) =
                open(format!("redis://{user}127.0.0.1:{},{others}", server.port())).await.expect("an error");
            assert!(wrong.contains("refuses this user") && !wrong.contains("wr0ng") && is_final, "{wrong}");
        }
    }
    let (nobody, is_final) = open("redis://:s3cret-word@127.0.0.1:1".to_owned()).await.expect("an error");
    assert!(nobody == "127.0.0.1:1 refused the connection" && !is_final, "{nobody}");
}

#[tokio::test]
async fn a_user_or_a_server_that_does_not_let_a_node_count_is_refused_when_it_connects() {
    let server = RedisServer::start(Durability::Forgets);
    let open = async |user: &str, rules: &[&str]| {
        server.ask(&[&["ACL", "SETUSER", user, "on", ">w0rd"], rules].concat());
        let address: RedisAddress =
            format!("redis://{user}:w0rd@127.0.0.1:{}", server.port()).parse().expect("an address");
        CounterConnection::open(&address, "a").await.err().map(|error| (error.to_string(), error.is_final()))
    };
    assert_eq!(open("counts", &["~lw:*", "+@all", "-@dangerous", "+info"]).await, None, "as docs/limits.md says");
    for (user, rules) in
        [("runs-no-script", ["~lw:*", "+@all", "-@scripting"]), ("has-other-keys", ["~other:*", "+@all", "+info"])]
    {
        let (refused, is_final) = open(user, &rules).await.expect(user);
        assert!(refused.contains(" refuses this user: ") && is_final, "{user}: {refused}");
    }
    let script = include_str!("../../src/script.lua").split("redis.call('").skip(1);
    let of_script = script.filter_map(|call| call.split('\'').next());
    for command in of_script.chain(["INFO"]) {
        let command = command.to_lowercase();
        let (refused, is_final) = open("lacks-one", &["~lw:*", "+@all", &format!("-{command}")]).await.expect(&command);
        assert!(refused.contains(" refuses this user: ") && is_final, "{command}: {refused}");
        assert!(refused.contains(&format!("'{command}'")) || refused.contains("script"), "{command}: {refused}");
    }
    let replica = RedisServer::start(Durability::Forgets);
    replica.ask(&["REPLICAOF", "127.0.0.1", &server.port().to_string()]);
    let address: RedisAddress = replica.url().parse().expect("an address");
    let error = CounterConnection::open(&address, "a").await.err().expect("it takes no writes");
    assert!(matches!(error.kind(), CounterErrorKind::ReadOnly) && error.is_final(), "{error}");
}

#[tokio::test]
async fn a_user_of_a_cluster_that_may_ask_who_has_which_slots_can_count() {
    let cluster = RedisCluster::start();
    for server in cluster.servers() {
        let rules = ["~lw:*", "+@all", "-@dangerous", "+info", "+cluster|slots"];
        server.ask(&[&["ACL", "SETUSER", "counts", "on", ">w0rd"][..], &rules].concat());
    }
    let url = cluster.url_of_all().replacen("redis://", "redis://counts:w0rd@", 1);
    assert_eq!(amounts(Node::at(&url, "a").await.count("g", &[limit("l", &[requests(9)])]).await), [1]);
}

#[tokio::test]
async fn a_server_is_tried_without_a_trace_of_each_process() {
    let server = RedisServer::start(Durability::Forgets);
    let left = || {
        let keys = server.ask(&["KEYS", "*"]);
        let mut keys: Vec<(String, String)> = keys
            .lines()
            .map(|key| {
                let count = match server.ask(&["TYPE", key]).as_str() {
                    "hash" => server.ask(&["HLEN", key]),
                    "set" => server.ask(&["SCARD", key]),
                    "zset" => server.ask(&["ZCARD", key]),
                    _ => String::new(),
                };
                (key.to_owned(), count)
            })
            .collect();
        keys.sort_unstable();
        keys
    };
    Node::open(&server, "a").await;
    let of_one = left();
    for name in ["b", "c", "d"] {
        Node::open(&server, name).await;
    }
    // Nodes that are not heard of any more are forgotten with the next call.
    tokio::time::sleep(Duration::from_secs(6)).await;
    Node::open(&server, "e").await;
    assert_eq!(left(), of_one);
}

/// A node that runs goes on with a server that answers each call within half a second, so one that connects may do with it, too.
#[tokio::test]
async fn a_server_that_answers_each_call_in_time_can_be_connected_to_and_no_slower_one() {
    let (server, cluster) = (RedisServer::start(Durability::Forgets), RedisCluster::start());
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into());
    // In each direction.
    proxy.set(ProxyMode::Slow(Duration::from_millis(175)));
    let node = Node::at(&format!("redis://127.0.0.1:{}", proxy.port), "a").await;
    node.connection().check().await.expect("in time");
    for (url, servers) in [(server.url(), std::slice::from_ref(&server)), (cluster.url(), cluster.servers())] {
        let node = Node::at(&url, "a").await;
        for server in servers {
            server.ask(&["CLIENT", "PAUSE", "1200", "WRITE"]);
        }
        let counted = node.connection().count("g", &[limit("l", &[requests(9)])]).await;
        let opened = CounterConnection::open(&url.parse().expect("an address"), "b").await.map(drop);
        for late in [counted.map(drop), opened] {
            let error = late.expect_err("too slow");
            assert!(matches!(error.kind(), CounterErrorKind::TimedOut(_)), "{url}: {error}");
        }
    }
}

/// Simulates a server's clock set back by ten minutes: all that was counted is ten minutes later.
#[tokio::test]
async fn what_was_counted_by_a_clock_that_was_set_back_stays_for_one_window_more() {
    const SET_BACK: &str = "
        for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
          if field:sub(1, 2) == 'w:' then
            local window = redis.call('HGET', KEYS[1], field)
            local later = { window:sub(1, 8) }
            for at = 9, #window, 24 do
              local bucket, newest, amount = struct.unpack('>ddd', window, at)
              later[#later + 1] = struct.pack('>ddd', bucket, newest + 600000000, amount)
            end
            redis.call('HSET', KEYS[1], field, table.concat(later))
          end
        end
        for _, node in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('ZINCRBY', KEYS[2], 600000000, node) end
        return 'set back'";
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let short = |bound| Count { kept: Duration::from_secs(2), ..requests(bound) };
    let one = [limit("l", &[short(2), running(2)])];
    assert!(is_counted(&a.count("g", &one).await) && is_counted(&b.count("g", &one).await));
    assert_eq!(server.ask(&["EVAL", SET_BACK, "2", "lw:{g}:l", "lw:{g}:nodes"]), "set back");
    let standings = answer(a.count("g", &one).await).standings;
    assert!(
        matches!(standings[0].shortage, Some(Shortage::After(wait)) if wait <= Duration::from_secs(2)),
        "{standings:?}"
    );
    // Node b is not heard of any more.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        a.connection().renew("g").await.expect("it is live");
    }
    assert!(is_counted(&a.count("g", &one).await), "the window is empty, and the place of node b is free");
}

#[tokio::test]
async fn nothing_is_left_of_a_node_that_has_gone_and_whose_windows_are_empty() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let one = [limit("l", &[Count { kept: Duration::from_millis(100), ..requests(5) }])];
    assert!(is_counted(&b.count("g", &one).await));
    let fields = |of: &str| -> Vec<String> {
        let fields = server.ask(&["HKEYS", "lw:{g}:l"]);
        fields.lines().filter(|field| field.ends_with(of)).map(str::to_owned).collect()
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_counted(&a.count("g", &one).await));
    assert!(fields(":b").contains(&"t:b".to_owned()), "it is live");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_counted(&a.count("g", &one).await));
    assert_eq!(fields(":b"), Vec::<String>::new());
    assert_eq!(fields(":a").len(), 3);
}

#[tokio::test]
async fn a_server_that_may_drop_counts_is_not_used() {
    let (server, cluster) = (RedisServer::start(Durability::Forgets), RedisCluster::start());
    let of_cluster = &cluster.servers()[2];
    for url in [server.url(), cluster.url(), cluster.url_of_all()] {
        let address: RedisAddress = url.parse().expect("an address");
        assert!(CounterConnection::open(&address, "a").await.is_ok());
        for server in [&server, of_cluster] {
            server.ask(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
        }
        let error = CounterConnection::open(&address, "a").await.err().expect("an error");
        assert!(error.to_string().contains("noeviction instead of volatile-lru"), "{error}");
        for server in [&server, of_cluster] {
            server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
        }
    }
}
