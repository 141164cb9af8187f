//! Nothing is left of people who were erased among many others. They are added, renamed and erased in no order, so that SQLite
//! would move their rows from page to page, and leave copies.

use std::collections::HashSet;

use events::content::{ContentKeyOwner, content_key_name};
use events::event::StreamKind;
use events::event::admin::Scope;
use events::ids::{TenantId, UserId};
use events::log::{ClientAddress, LEDGER_FILE, PersonalData, SealedSecret, SideRow};
use events::time::Period;
use tempfile::TempDir;
use testing::random::SplitMix64;

use crate::facts::{append, budget, clock, id, opened};
use crate::log_steps::open;

const PEOPLE: u64 = 20_000;
const AT_ONCE: usize = 500;
/// Every text begins with it and with the number of whom it is of.
const MARK: &str = "canary-";
const DIGITS: usize = 6;

struct Crowd {
    random: SplitMix64,
    erased: HashSet<u64>,
}

impl Crowd {
    const fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    /// Everybody, in no order.
    fn shuffled(&mut self) -> Vec<u64> {
        let mut numbers: Vec<u64> = (0..PEOPLE).collect();
        for last in (1..PEOPLE).rev() {
            numbers.swap(last as usize, self.below(last + 1) as usize);
        }
        numbers
    }

    /// A few texts do not fit in a page.
    fn text(&mut self, number: u64) -> String {
        let longest = if number.is_multiple_of(50) { 9_000 } else { 90 };
        let rest = "x".repeat(self.below(longest) as usize);
        format!("{MARK}{number:0DIGITS$}{rest}")
    }

    fn text_or_none(&mut self, number: u64) -> Option<String> {
        (self.below(3) > 0).then(|| self.text(number))
    }

    /// Puts all rows that may be known of somebody. They replace all former ones.
    fn put(&mut self, number: u64) -> [SideRow; 3] {
        self.erased.remove(&number);
        let (subject, request_id): (UserId, _) = (id(number.into()), id(number.into()));
        let (name, email) = (self.text(number), self.text_or_none(number));
        let (ip, user_agent) = (self.text(number), self.text_or_none(number));
        let content_key = SealedSecret {
            subject: content_key_name(ContentKeyOwner::User(subject), id(1)),
            key_scope: id::<TenantId>(1).to_string(),
            generation: 1,
            sealed: self.text(number).into_bytes(),
        };
        [
            SideRow::PersonalData(PersonalData { subject, name, email, salt: vec![1; 16] }),
            SideRow::ClientAddress(ClientAddress { request_id, ip, user_agent }),
            SideRow::SealedSecret(content_key),
        ]
    }

    fn erase(&mut self, number: u64) -> [SideRow; 3] {
        self.erased.insert(number);
        let subject = id(number.into());
        let addresses = vec![id(number.into())];
        [
            SideRow::ErasePersonalData(subject),
            SideRow::DropContentKeys(subject),
            SideRow::EraseClientAddresses(addresses),
        ]
    }

    /// Adds some people, and then renames or erases some of them or of those before.
    fn rows(&mut self, numbers: &[u64], before: usize) -> Vec<SideRow> {
        let added = numbers[before..].iter().take(AT_ONCE);
        let mut rows: Vec<SideRow> = added.clone().flat_map(|number| self.put(*number)).collect();
        let known = before + added.len();
        for _ in 0..AT_ONCE / 2 {
            let number = numbers[self.below(known as u64) as usize];
            rows.extend(if self.below(2) == 0 { self.put(number) } else { self.erase(number) });
        }
        rows
    }
}

/// Whose texts are in these bytes.
fn found_in(bytes: &[u8]) -> HashSet<u64> {
    let marked = bytes.windows(MARK.len() + DIGITS).filter(|window| window.starts_with(MARK.as_bytes()));
    let number =
        |window: &[u8]| String::from_utf8_lossy(&window[MARK.len()..]).parse().expect("all of a text, or nothing");
    marked.map(number).collect()
}

/// Holds: admin.erase
#[tokio::test]
async fn nothing_is_left_of_people_who_were_erased_among_many_others() {
    let folder = TempDir::new().expect("a folder");
    let log = open(folder.path(), &clock());
    let mut crowd = Crowd { random: SplitMix64::new(17), erased: HashSet::new() };
    let numbers = crowd.shuffled();
    for before in (0..numbers.len()).step_by(AT_ONCE) {
        let event = opened(budget(1, Scope::Tenant(id(1)), 1, Period::Total));
        let mut change = append(StreamKind::Budget, id(1), 0, event);
        (change.events, change.side) = (Vec::new(), crowd.rows(&numbers, before));
        log.append(change).await.expect("it is written");
    }
    let people: Vec<UserId> = numbers.iter().map(|number| id((*number).into())).collect();
    let known = log.reader().expect("a reader").personal_data(&people).expect("it reads");
    log.close();
    let found = found_in(&std::fs::read(folder.path().join(LEDGER_FILE)).expect("the ledger"));
    let left = found.intersection(&crowd.erased).count();
    assert!(crowd.erased.len() > numbers.len() / 10, "{}", crowd.erased.len());
    assert_eq!((left, found.len(), known.len()), (0, numbers.len() - crowd.erased.len(), found.len()));
}
