//! A gateway whose checkpoints a witness cosigns, both as the binary.

use std::fs;
use std::time::{Duration, Instant};

use events::time::{Clock, SystemClock};
use tlog::{Cosigner, SignedCheckpoint};

use super::{PUBLISHED, checkpoint_of, key, make_partners};
use crate::archive::run;
use crate::gateway::Gateway;
use crate::witness::Witness;

/// How long a cosignature may take on a busy machine.
const COSIGNED_MAX: Duration = Duration::from_secs(30);

/// Holds: log.published-witnesses
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_cosigned_by_a_witness_which_verify_can_require() {
    let [folder, of_witness] = std::array::from_fn(|_| tempfile::tempdir().expect("a folder"));
    let mut gateway = Gateway::start_in(folder.path(), &[PUBLISHED]);
    let key = key(gateway.operator()).await;
    gateway.stop();
    let witness = Witness::of_log(of_witness.path(), &key);
    let address = format!("{} {}", witness.key, witness.url());
    let mut gateway = Gateway::start_in(folder.path(), &[PUBLISHED, ("LEDGERWAY_WITNESSES", &address)]);
    for _ in 0..2 {
        make_partners(gateway.operator(), 3).await;
        let head = checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
        cosigned_from(&gateway, head.size, &witness).await;
    }
    gateway.stop();
    let (data, witness_key) = (gateway.data().display().to_string(), witness.key.to_string());
    let verify = ["verify", "--data", &data, "--checkpoint-key", &key, "--witness-key"];
    let words = run(0, &[&verify[..], &[&witness_key]].concat());
    assert!(words.contains("cosigned by witness.example/w1 at 20"), "{words}");
    let other = Cosigner::from_seed("other.example".parse().expect("a name"), &[9; 32]).expect("a key");
    let words = run(2, &[&verify[..], &[&other.verifier_key().to_string()]].concat());
    assert!(words.contains("other.example has not cosigned the checkpoint"), "{words}");
    let words = run(2, &[&verify[..], &[&key]].concat());
    assert!(words.contains("it is the key of a log, which belongs in --checkpoint-key"), "{words}");
}

/// Waits for a checkpoint of at least so many events that the witness has cosigned.
async fn cosigned_from(gateway: &Gateway, events: u64, witness: &Witness) -> SignedCheckpoint {
    let (began, known) = (Instant::now(), [witness.key.clone()]);
    loop {
        let reply = gateway.operator().get("/v1/log/checkpoint").await.must(200);
        let signed = SignedCheckpoint::parse(&reply.body).expect("a checkpoint");
        let cosigned = signed.cosignatures(&known).expect("right ones").len();
        if cosigned == 1 && signed.unverified().head().size >= events {
            return signed;
        }
        assert!(began.elapsed() < COSIGNED_MAX, "not cosigned: {signed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A witness cosigns the checkpoint that leads to the new key, and those after it once its operator has added that key.
/// Holds: log.published-rotation
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_accepts_a_rotation_with_the_keys_that_it_was_given_alone() {
    let [folder, of_witness] = std::array::from_fn(|_| tempfile::tempdir().expect("a folder"));
    let mut gateway = Gateway::start_in(folder.path(), &[PUBLISHED]);
    let old = key(gateway.operator()).await;
    gateway.stop();
    let witness = Witness::of_log(of_witness.path(), &old);
    let address = format!("{} {}", witness.key, witness.url());
    let mut gateway = Gateway::start_in(folder.path(), &[PUBLISHED, ("LEDGERWAY_WITNESSES", &address)]);
    let head = checkpoint_of(gateway.operator(), &old, gateway.head().await).await;
    cosigned_from(&gateway, head.size, &witness).await;
    let rotated = gateway.operator().post("/v1/admin/log/key/rotate", &serde_json::json!({})).await.must(200);
    let both = cosigned_from(&gateway, rotated.position(), &witness).await;
    assert_eq!(both.note().signatures().len(), 3, "{both}");
    let new = key(gateway.operator()).await;
    make_partners(gateway.operator(), 1).await;
    let later = checkpoint_of(gateway.operator(), &new, gateway.head().await).await;
    // It is published, and the witness gives no cosignature for it.
    let began = Instant::now();
    let said = loop {
        let said = gateway.stderr();
        assert!(began.elapsed() < COSIGNED_MAX, "it says nothing of it: {said}");
        if said.contains("does not trust the key of this log") {
            break said;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(said.contains("witness.example/w1"), "{said}");
    gateway.stop();
    drop(witness);
    let witness = Witness::of_log(of_witness.path(), &format!("{old}\n{new}\n"));
    let address = format!("{} {}", witness.key, witness.url());
    let mut gateway = Gateway::start_in(folder.path(), &[PUBLISHED, ("LEDGERWAY_WITNESSES", &address)]);
    let cosigned = cosigned_from(&gateway, later.size, &witness).await;
    assert_eq!(cosigned.note().signatures().len(), 2, "{cosigned}");
    gateway.stop();
}

/// The last second of the year 9999.
const YEAR_9999: u64 = 253_402_300_799;

/// Whoever has the key of a witness could make a checkpoint that passes for fresh for ever.
/// Holds: log.published-cosigned-ahead
#[tokio::test(flavor = "multi_thread")]
async fn a_cosignature_of_the_year_9999_is_broken() {
    let mut gateway = Gateway::start_with(&[PUBLISHED]);
    make_partners(gateway.operator(), 3).await;
    let key = key(gateway.operator()).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    gateway.stop();
    let file = gateway.data().join("objects/tlog/checkpoint");
    let honest = SignedCheckpoint::parse(&fs::read(&file).expect("published")).expect("a checkpoint");
    let witness = Cosigner::from_seed("witness.example".parse().expect("a name"), &[9; 32]).expect("a key");
    let (data, of_witness) = (gateway.data().display().to_string(), witness.verifier_key().to_string());
    let verify = ["verify", "--data", &data, "--checkpoint-key", &key];
    let now = u64::try_from(SystemClock::new().now().timestamp()).expect("after 1970");
    let hour = 3600;
    for (time, code) in [(now, 0), (now + 23 * hour, 0), (now + 25 * hour, 1), (YEAR_9999, 1), (u64::MAX, 1)] {
        let mut signed = honest.clone();
        signed.cosign(&witness, time).expect("there is room");
        fs::write(&file, signed.to_string()).expect("cosigned");
        let words = run(code, &[&verify[..], &["--witness-key", &of_witness]].concat());
        assert_eq!(words.contains("tlog/checkpoint"), code == 1, "{words}");
        // Of a witness that nobody names, nothing counts.
        run(0, &verify);
    }
}
