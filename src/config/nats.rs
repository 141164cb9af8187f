//! NATS: where the log is relayed to.

use cli::settings::WrongConfig;
use cli::settings::setting::{NATS_MAX_GIB, NATS_REPLICAS, NATS_URL};
use nats_relay::{NatsAddress, REPLICAS_MAX, StreamLimits};

use super::{Given, whole};

const GIB: u64 = 1 << 30;
const GIB_MAX: u64 = 1 << 20;

pub struct NatsSettings {
    pub address: NatsAddress,
    pub limits: StreamLimits,
}

/// `None` if the log is not relayed.
pub(super) fn nats(&Given { args, flags, variable, .. }: &Given<'_>) -> Result<Option<NatsSettings>, WrongConfig> {
    let limits = StreamLimits {
        replicas: flags.check(NATS_REPLICAS, whole(&args.nats_replicas, "servers", 1..=REPLICAS_MAX))?,
        bytes_max: flags.check(NATS_MAX_GIB, bytes_max(&args.nats_max_gib))?,
    };
    let address = NATS_URL.address("a NATS server", "so that the log is not relayed", variable, str::parse)?;
    Ok(address.map(|address| NatsSettings { address, limits }))
}

/// Reads GiB, of which 0 are no limit; returns bytes.
fn bytes_max(text: &str) -> Result<Option<u64>, String> {
    let gib = whole(text, "GiB", 0..=GIB_MAX)?;
    Ok((gib > 0).then(|| gib.saturating_mul(GIB)))
}

#[cfg(test)]
mod tests {
    use cli::arguments::ServeArgs;
    use cli::settings::Flags;

    use super::super::tests::args;
    use super::*;

    fn read(args: &ServeArgs, url: Option<&str>) -> Result<Option<NatsSettings>, WrongConfig> {
        let variable = |asked: &str| url.filter(|_| asked == "LEDGERWAY_NATS_URL").map(str::to_owned);
        nats(&Given { args, flags: &Flags::default(), database: None, variable: &variable })
    }

    #[test]
    fn the_log_is_relayed_if_there_is_an_address() {
        assert!(read(&args(), None).expect("fine").is_none());
        let args = ServeArgs { nats_replicas: "3".to_owned(), nats_max_gib: "2".to_owned(), ..args() };
        let settings = read(&args, Some(" nats://u:s3cret@bus:4222 ")).expect("fine").expect("settings");
        assert_eq!(settings.address.to_string(), "nats://bus:4222");
        assert_eq!(settings.limits, StreamLimits { replicas: 3, bytes_max: Some(2 << 30) });
    }

    #[test]
    fn a_wrong_address_is_named_and_not_repeated() {
        for wrong in ["", " ", "bus:4222", "nats://u:s3cret@bus/x"] {
            let refused = read(&args(), Some(wrong)).err().expect("refused").to_string();
            assert!(refused.starts_with("LEDGERWAY_NATS_URL is ") && !refused.contains("s3cret"), "{refused}");
            assert!(
                refused.ends_with(", for example LEDGERWAY_NATS_URL=nats://ledgerway:PASSWORD@nats.internal:4222"),
                "{refused}"
            );
        }
        for (replicas, gib) in [("0", "0"), ("6", "0"), ("1", "-1"), ("1", "1048577")] {
            let args = ServeArgs { nats_replicas: replicas.to_owned(), nats_max_gib: gib.to_owned(), ..args() };
            assert!(read(&args, None).is_err(), "{replicas} {gib}");
        }
    }
}
