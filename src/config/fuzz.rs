//! Fuzz target of the configuration. See `docs/fuzzing.md`.

use std::path::Path;

use cli::settings::{Flags, ServeMode};
use fuzzing::{Dice, fuzz};

use super::tests::args;
use super::{Config, DRAIN_SECONDS_MAX, DefaultLimits, HOLD_TTL_SECONDS_MAX, ListenAddress};

const SECRETS: [&str; 3] = ["LEDGERWAY_ADMIN_KEY", "LEDGERWAY_NODE_KEY", "LEDGERWAY_NODE_KEY_PREVIOUS"];

fn value(dice: &mut Dice<'_>) -> String {
    match dice.below(6) {
        0 => dice.number(),
        1 => dice.text(80),
        2 => dice.text_of("0123456789abcdefABCDEFxyz", 80),
        3 => dice.text_of("0123456789.:[]", 24),
        4 => dice
            .pick(&[
                "true",
                "false",
                "1",
                "0",
                "",
                "all",
                "[::1]:0",
                "localhost:80",
                " 1",
                "+5",
                "*",
                "http://a",
                "acme,beta",
                "ten_00000000000000000000000000000001",
            ])
            .unwrap_or_default()
            .into(),
        _ => "0123456789abcdef".repeat(4),
    }
}

#[test]
fn a_configuration_is_used_as_it_says_or_refused_by_name() {
    fuzz!(20_000, |dice| {
        let mut args = args();
        if dice.one_in(2) {
            args.listen = value(dice);
        }
        let fields = [
            &mut args.dev,
            &mut args.providers_from_env,
            &mut args.analytics,
            &mut args.bedrock,
            &mut args.mode,
            &mut args.serves_tenants,
            &mut args.hold_ttl_seconds,
            &mut args.hold_share,
            &mut args.drain_timeout_seconds,
            &mut args.drain_delay_seconds,
            &mut args.witnesses,
            &mut args.cors_origins,
            &mut args.trusted_proxies,
            &mut args.rate_limit_requests,
            &mut args.admin_rate_limit_requests,
            &mut args.body_memory_mib,
            &mut args.answer_memory_mib,
        ];
        for field in fields {
            if dice.one_in(4) {
                *field = value(dice);
            }
        }
        if dice.one_in(4) {
            args.metrics_listen = Some(value(dice));
        }
        if dice.one_in(4) {
            args.grpc_listen = Some(value(dice));
        }
        if dice.one_in(4) {
            args.data.dir = value(dice).into();
        }
        let names: Vec<&str> = SECRETS.into_iter().collect();
        let set: Vec<(&str, String)> =
            (0..dice.below(3)).map(|_| (dice.pick(&names).unwrap_or_default(), value(dice))).collect();
        let variable = |asked: &str| set.iter().find(|(name, _)| *name == asked).map(|(_, value)| value.clone());
        match Config::read(&args, &Flags::default(), variable) {
            Ok(config) => {
                assert_eq!(Some(config.listen), ListenAddress::parse(&args.listen));
                let metrics = args.metrics_listen.as_deref().map(ListenAddress::parse);
                assert_eq!(config.metrics_listen.map(Some), metrics);
                let grpc = args.grpc_listen.as_deref().map(ListenAddress::parse);
                assert_eq!(config.grpc_listen.map(Some), grpc);
                assert_eq!(config.data, Path::new(&args.data.dir));
                assert!((1..=HOLD_TTL_SECONDS_MAX).contains(&config.hold_ttl.as_secs()));
                assert_eq!(Ok(config.hold_share), args.hold_share.parse());
                assert!(config.drain_timeout.as_secs() <= DRAIN_SECONDS_MAX);
                assert!(config.drain_delay.as_secs() <= DRAIN_SECONDS_MAX);
                assert_eq!(Ok(config.bodies.process / (1024 * 1024)), args.body_memory_mib.parse());
                assert_eq!(Ok(config.answers.process / (1024 * 1024)), args.answer_memory_mib.parse());
                assert_eq!(config.cors.is_none(), args.cors_origins.trim().is_empty());
                let DefaultLimits { requests_per_hour, admin_requests_per_hour } = config.default_limits;
                assert_eq!(requests_per_hour, args.rate_limit_requests.parse().ok());
                assert_eq!(admin_requests_per_hour, args.admin_rate_limit_requests.parse().ok());
                assert_eq!(config.dev, matches!(&*args.dev, "true" | "1" | "yes" | "on"));
                assert_eq!(Some(config.mode), ServeMode::parse(&args.mode));
                let read = [&config.admin_key, &config.node_key, &config.previous_node_key];
                for (secret, read) in SECRETS.into_iter().zip(read) {
                    assert_eq!(variable(secret).as_deref(), read.as_ref().map(|read| read.reveal()), "{secret}");
                }
                let is_off = matches!(&*args.providers_from_env, "false" | "0" | "no" | "off");
                assert_eq!(config.providers.is_none(), is_off);
                let is_off = matches!(&*args.analytics, "false" | "0" | "no" | "off");
                assert_eq!(config.analytics, !is_off && config.views && config.database.is_some());
                assert!(config.admin_key.is_none_or(|key| key.reveal().len() >= 32));
            }
            Err(refused) => {
                let sentence = refused.to_string();
                assert!(["LEDGERWAY_", "AWS_"].iter().any(|prefix| refused.name.starts_with(prefix)));
                assert!(sentence.starts_with(&refused.name));
                assert!(!sentence.chars().any(char::is_control) && sentence.len() < 1024, "{sentence:?}");
                let given = variable(&refused.name).filter(|_| SECRETS.contains(&refused.name.as_str()));
                // A secret of a letter or two is in every sentence.
                let given = given.filter(|secret| secret.len() > 9);
                assert!(given.is_none_or(|secret| !sentence.contains(&secret)), "{sentence}");
            }
        }
    });
}
