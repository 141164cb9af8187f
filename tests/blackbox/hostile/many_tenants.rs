//! Many hostile tenants at once, each of which does all that it may, beside honest ones. `cargo bench --bench siege` has more of them
//! and measures times, with `SIEGE_MODE=tenants`.

use std::time::{Duration, Instant};

use serde_json::json;
use testing::hostile_tenants::{Act, Answers, HostileTenant, Siege, add};
use testing::name_server::NameServer;
use testing::upstream::MockUpstream;
use testing::upstream::prepared::PreparedUpstream;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, OPERATOR_KEY, SHELL_FIRST};
use crate::tenant::{Setup, Tenant};

const HOSTILE: u64 = 40;
const HONEST: usize = 3;
const LASTS: Duration = Duration::from_secs(8);
const MEMORY_MAX_KIB: u64 = 400 * 1024;
/// The seed of all that is drawn, unless the variable says another number.
const SEED: u64 = 1;
const SEED_VARIABLE: &str = "SIEGE_SEED";

/// A gateway whose name server does not answer for some names, where this process may have one.
fn start(names: Option<&NameServer>) -> Gateway {
    let shell = names.map(NameServer::shell_first);
    let env: Vec<(&'static str, &str)> = shell.iter().map(|first| (SHELL_FIRST, first.as_str())).collect();
    Gateway::start_with(&env)
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_hostile_tenants_cost_honest_ones_no_answer() {
    let seed = std::env::var(SEED_VARIABLE).map_or(SEED, |seed| seed.parse().expect("a seed"));
    println!("{SEED_VARIABLE}={seed}");
    let names = NameServer::start().await;
    let (mut gateway, upstream) = (start(names.as_ref()), MockUpstream::start().await);
    let mut honest = Vec::new();
    for _ in 0..HONEST {
        let setup = Setup { limit_usd: "1000", ..Setup::default() };
        honest.push(Tenant::with(&gateway, &upstream, &["ok"], setup).await);
    }
    let siege = Siege {
        gateway: ([127, 0, 0, 1], gateway.port()).into(),
        upstream: PreparedUpstream::start().address,
        operator_key: OPERATOR_KEY,
        seed,
        pause: Duration::from_millis(200),
        batch: 10,
    };
    let mut hostile = Vec::new();
    for number in 0..HOSTILE {
        hostile.push(HostileTenant::settle(&siege, number).await.expect("a hostile tenant"));
    }
    let until = Instant::now() + LASTS;
    let mut crowd = JoinSet::new();
    for tenant in hostile {
        crowd.spawn(tenant.act_until(until));
    }
    let mut asked = 0;
    while Instant::now() < until {
        for tenant in &honest {
            tenant.chat("ok").await.must(200);
            asked += 1;
        }
        let partner = json!({ "name": gateway.next_name() });
        gateway.operator().post("/v1/admin/partners", &partner).await.must(201);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut answers = Answers::new();
    for others in crowd.join_all().await {
        add(&mut answers, others);
    }
    println!("{asked} honest requests beside {answers:?}");
    for act in Act::ALL {
        assert!(answers.contains_key(&act), "nobody did {act:?}");
    }
    for act in [Act::Create, Act::Spend, Act::LeaveStream, Act::SendLargeBody] {
        assert!(answers[&act].contains_key(&200), "{act:?} was never allowed: {:?}", answers[&act]);
    }
    let creations = &answers[&Act::Create];
    assert!(!creations.contains_key(&403), "something is not a tenant administrator's to create: {creations:?}");
    let peak = gateway.peak_resident_kib();
    assert!(peak < MEMORY_MAX_KIB, "{} MiB", peak / 1024);
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}
