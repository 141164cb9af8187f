//! What a node and a server say to each other: several limits at once, running requests, losses, turns and clusters.

use std::time::Duration;

use events::limit::Measure;
use shared_limits::{
    Answer, BucketState, Correction, Count, CountReply, CounterConnection, CounterErrorKind, LimitCall, LimitState,
    NodeState, PutReply, RedisAddress, Shortage, WindowState,
};
use testing::proxy::{Proxy, ProxyMode};
use testing::redis::{Durability, RedisCluster, RedisServer};

use crate::nodes::{Node, state};

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
        CountReply::Lost | CountReply::Superseded => panic!("{reply:?}"),
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
    let marker = answer(a.count("g", &[]).await).marker;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let renewed = a.count_as(NodeState { has_running: true, ..state("g", &marker, 1) }, &[]).await;
        assert!(is_counted(&renewed), "{renewed:?}");
    }
    assert!(is_counted(&a.count("g", &two).await), "the place of node b is free");
    let back = b.count_as(NodeState { has_running: true, ..state("g", &marker, 1) }, &two).await;
    assert_eq!(back, CountReply::Lost, "what it had running is not counted any more");
}

#[tokio::test]
async fn a_server_that_has_lost_its_counts_does_not_count_on() {
    let server = RedisServer::start(Durability::Forgets);
    let a = Node::open(&server, "a").await;
    let one = [limit("l", &[requests(5)])];
    let marker = answer(a.count("g", &one).await).marker;
    assert!(is_counted(&a.count_as(state("g", &marker, 1), &one).await));
    server.ask(&["FLUSHALL"]);
    assert_eq!(a.count_as(state("g", &marker, 1), &one).await, CountReply::Lost);
    // Somebody else begins anew.
    let b = Node::open(&server, "b").await;
    assert_ne!(answer(b.count("g", &one).await).marker, marker);
    assert_eq!(a.count_as(state("g", &marker, 1), &one).await, CountReply::Lost);
}

#[tokio::test]
async fn what_a_node_puts_replaces_what_it_had_counted_and_nothing_else() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let one = [limit("l", &[requests(9)])];
    assert_eq!(amounts(a.count("g", &one).await), [1]);
    assert_eq!(amounts(b.count("g", &one).await), [2]);
    let put = |number, amounts: &[u64]| {
        let bucket = |(number, amount): (i64, &u64)| BucketState { number, age: KEPT / 2, amount: *amount };
        let buckets = (1..).zip(amounts).map(bucket).collect();
        let windows = vec![WindowState { measure: Measure::RequestsPerMinute, buckets }];
        [LimitState { limit: "l".to_owned(), number, running: 0, windows }]
    };
    for (number, amounts_put, then) in
        [(2, &[2, 3][..], 6), (2, &[1, 1], 6), (1, &[0, 1], 6), (3, &[1, 1], 3), (4, &[1, 1], 3)]
    {
        assert!(matches!(a.put_as(state("g", "", 2), &put(number, amounts_put)).await, PutReply::Put(_)));
        let look = [LimitCall { counts: vec![Count { amount: 0, ..requests(9) }], ..one[0].clone() }];
        assert_eq!(amounts(b.count("g", &look).await), [then], "{number}");
    }
    let wait = |reply| answer(reply).standings[0].more_in.expect("a time");
    let look = [LimitCall { counts: vec![Count { amount: 0, ..requests(9) }], ..one[0].clone() }];
    assert!(wait(b.count("g", &look).await) <= KEPT / 2, "the age of what was put counts");
    assert_eq!(a.count("g", &one).await, CountReply::Superseded, "a call of an earlier turn");
    assert_eq!(a.put_as(state("g", "", 1), &put(9, &[9])).await, PutReply::Superseded);
    assert_eq!(amounts(a.count_as(state("g", "", 3), &one).await), [4], "a later turn counts on");
    assert_eq!(a.put_as(state("g", "", 2), &put(9, &[9])).await, PutReply::Superseded);
}

#[tokio::test]
async fn nodes_say_when_they_are_ready() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let alone = a.connection().ready(7).await.expect("an answer");
    assert_eq!((alone.nodes.len(), alone.was_known), (1, false));
    let both = b.connection().ready(7).await.expect("an answer");
    assert_eq!(both.nodes, ["a", "b"].map(str::to_owned).into());
    assert!(a.connection().ready(7).await.expect("an answer").was_known);
    assert!(!a.connection().ready(8).await.expect("an answer").was_known, "another turn");
    server.ask(&["FLUSHALL"]);
    assert!(!a.connection().ready(7).await.expect("an answer").was_known);
}

#[tokio::test]
async fn a_server_that_restarts_keeps_what_it_acknowledged_if_it_is_told_to() {
    for durability in [Durability::Keeps, Durability::Forgets] {
        let mut server = RedisServer::start(durability);
        let a = Node::open(&server, "a").await;
        let one = [limit("l", &[requests(9)])];
        let marker = answer(a.count("g", &one).await).marker;
        server.kill();
        let state = state("g", &marker, 1);
        let error = a.connection().count(&state, &one).await.expect_err("nobody answers");
        assert!(matches!(error.kind(), CounterErrorKind::ConnectionClosed), "{error}");
        server.start_again();
        assert!(a.connection().count(&state, &one).await.is_err(), "a connection does not come back by itself");
        let again = Node::open(&server, "a").await.count_as(state, &one).await;
        match durability {
            Durability::Keeps => assert_eq!(amounts(again), [2]),
            Durability::Forgets => assert_eq!(again, CountReply::Lost),
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
        assert_eq!(a.connection().ready(1).await.expect("an answer").nodes, ["a".to_owned()].into());
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
    for command in of_script.chain(["INFO", "SADD", "EXPIRE", "SMEMBERS"]) {
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
        let counted = node.connection().count(&state("g", "", 1), &[limit("l", &[requests(9)])]).await;
        let opened = CounterConnection::open(&url.parse().expect("an address"), "b").await.map(drop);
        for late in [counted.map(drop), opened] {
            let error = late.expect_err("too slow");
            assert!(matches!(error.kind(), CounterErrorKind::TimedOut(_)), "{url}: {error}");
        }
    }
}

/// As if the clock of the server were set back by ten minutes: all that was counted is of ten minutes later.
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
        a.count("g", &[]).await;
    }
    assert!(is_counted(&a.count("g", &one).await), "the window is empty, and the place of node b is free");
}

#[tokio::test]
async fn a_server_that_has_dropped_a_limit_does_not_count_on() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let one = [limit("l", &[requests(5)])];
    let counted = [LimitCall { must_be_there: true, ..one[0].clone() }];
    assert!(is_counted(&a.count("g", &one).await) && is_counted(&a.count("g", &counted).await));
    server.ask(&["DEL", "lw:{g}:l"]);
    assert!(is_counted(&b.count("g", &one).await), "it has not counted in it");
    let corrections = [LimitCall { counts: vec![], ..counted[0].clone() }];
    assert_eq!(a.count("g", &corrections).await, CountReply::Lost);
    assert_eq!(a.count("g", &counted).await, CountReply::Lost);
}

#[tokio::test]
async fn nothing_is_left_of_a_node_that_has_gone_and_whose_windows_are_empty() {
    let server = RedisServer::start(Durability::Forgets);
    let (a, b) = (Node::open(&server, "a").await, Node::open(&server, "b").await);
    let one = [limit("l", &[Count { kept: Duration::from_millis(100), ..requests(5) }])];
    let windows = vec![WindowState { measure: Measure::RequestsPerMinute, buckets: vec![] }];
    let state_of_b = LimitState { limit: "l".to_owned(), number: 1, running: 0, windows };
    b.put_as(state("g", "", 1), &[state_of_b]).await;
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
    assert_eq!(fields(":a").len(), 2);
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
