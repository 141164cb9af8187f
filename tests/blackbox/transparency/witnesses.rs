//! A gateway whose checkpoints a witness cosigns, both as the binary.

use std::time::{Duration, Instant};

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
        let began = Instant::now();
        loop {
            let reply = gateway.operator().get("/v1/log/checkpoint").await.must(200);
            let signed = SignedCheckpoint::parse(&reply.body).expect("a checkpoint");
            let known = [witness.key.clone()];
            let cosigned = signed.cosignatures(&known).expect("right ones").len();
            if cosigned == 1 && signed.unverified().head().size >= head.size {
                break;
            }
            assert!(began.elapsed() < COSIGNED_MAX, "not cosigned: {signed}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
