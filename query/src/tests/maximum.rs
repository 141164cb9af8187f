//! Answers at the end of what numbers can say.

use ::events::money::{NanoUsd, NanoUsdSum};
use ::events::usage::TokenClasses;

use super::world::{OURS, World, operator, text};

/// Holds: query.usage-exact-sums
#[tokio::test]
async fn sums_beyond_64_bits_are_whole_numbers_and_money_beyond_an_amount_keeps_its_nine_digits() {
    const TIMES: u32 = 17;
    let world = World::new().await;
    let most = u64::MAX;
    let all = TokenClasses::NAMES.into_iter().map(|name| (name.to_owned(), most.into())).collect();
    let tokens: TokenClasses = serde_json::from_value(serde_json::Value::Object(all)).expect("classes");
    let mut position = 0;
    for number in 0..TIMES {
        let used = (tokens.clone(), NanoUsd::MAX);
        position = world.infers_using(OURS, 1000 + u128::from(number), &[("team", "red")], used).await;
    }
    let counted = u128::from(TIMES) * u128::from(most);
    let cost = NanoUsdSum::new(i128::from(TIMES) * i128::from(i64::MAX));
    for by in ["", "tenant,day", "metadata.team", "hour,key,metadata.none"] {
        let path = format!("/v1/usage?min_position={position}&group_by={by}");
        let answer = text(world.send(&operator(), &path, &[]).await).await;
        for class in TokenClasses::NAMES {
            assert!(answer.contains(&format!("\"{class}\":{counted},")), "{by}: {class} in {answer}");
        }
        assert!(answer.contains(&format!("\"cost_usd\":\"{cost}\"")), "{by}: {answer}");
    }
    world.close().await;
}

/// Holds: query.usage
#[tokio::test]
async fn what_few_providers_bill_has_columns_in_every_format() {
    let world = World::new().await;
    let tokens = TokenClasses {
        input_uncached_tokens: 1,
        input_audio_tokens: 20,
        input_cache_read_image_tokens: 300,
        searches: 4,
        ..TokenClasses::default()
    };
    let position = world.infers_using(OURS, 1000, &[], (tokens, NanoUsd::new(400))).await;
    let usage = world.get(&operator(), &format!("/v1/usage?min_position={position}")).await.expect("an answer");
    let row = &usage["items"][0];
    let counted = ["input_audio_tokens", "input_cache_read_image_tokens", "searches", "output_audio_tokens"];
    assert_eq!(counted.map(|name| row[name].as_u64()), [Some(20), Some(300), Some(4), Some(0)], "{row}");
    for (path, other) in [("/v1/usage", "0"), ("/v1/inferences", "")] {
        let path = format!("{path}?format=csv&min_position={position}");
        let table = text(world.send(&operator(), &path, &[]).await).await;
        let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let (names, cells) = (lines.next().expect("names"), lines.next().expect("a row"));
        let cell = |name: &str| cells[names.iter().position(|known| *known == name).expect(name)];
        assert_eq!(counted.map(cell), ["20", "300", "4", other], "{table}");
    }
    world.close().await;
}
