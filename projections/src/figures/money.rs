//! Amounts of money as metrics. They are counted in nano-dollars and written as decimals, so no float is involved.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use events::money::NanoUsd;

/// A family of amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoneyFamily {
    Held,
    Settled,
    Cost,
    Adjusted,
}

impl MoneyFamily {
    const ALL: [Self; 4] = [Self::Held, Self::Settled, Self::Cost, Self::Adjusted];

    const fn family(self) -> (&'static str, &'static str) {
        match self {
            Self::Held => ("ledgerway_held_usd_total", "Money held for admitted requests, by model"),
            Self::Settled => ("ledgerway_settled_usd_total", "Money charged when holds ended, by model"),
            Self::Cost => {
                ("ledgerway_cost_usd_total", "Cost of requests, by model and by the provider that served them")
            }
            Self::Adjusted => ("ledgerway_adjusted_usd_total", "Late corrections of charges, by direction: up or down"),
        }
    }
}

type Labels = Vec<(&'static str, String)>;

/// A counter of money. Cheap to clone.
#[derive(Clone, Default)]
pub struct MoneyCounter(Arc<AtomicI64>);

impl MoneyCounter {
    pub fn add(&self, money: NanoUsd) {
        let before = NanoUsd::new(self.0.load(Relaxed));
        // On overflow the counter starts again, as counters may. Only one task adds.
        self.0.store(before.checked_add(money).unwrap_or(money).nanos(), Relaxed);
    }
}

/// A label of a series.
#[derive(Clone, Copy)]
pub struct Label<'a> {
    pub name: &'static str,
    pub value: &'a str,
}

/// All counters of money. The counting task writes them, requests for metrics read them.
#[derive(Default)]
pub struct MoneyCounters {
    amounts: Mutex<BTreeMap<MoneyFamily, BTreeMap<Labels, MoneyCounter>>>,
}

impl MoneyCounters {
    /// The counter with these labels; a new one starts at zero.
    pub fn counter(&self, family: MoneyFamily, labels: &[Label<'_>]) -> MoneyCounter {
        let mut amounts = self.amounts.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = labels.iter().map(|label| (label.name, label.value.to_owned())).collect();
        amounts.entry(family).or_default().entry(labels).or_default().clone()
    }

    /// Writes the counters in the text format, with nine decimals.
    pub fn write(&self, out: &mut String) {
        let amounts = self.amounts.lock().unwrap_or_else(PoisonError::into_inner);
        for amount in MoneyFamily::ALL {
            let (name, help) = amount.family();
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} counter\n");
            for (labels, sum) in amounts.get(&amount).into_iter().flatten() {
                let labels: Vec<String> =
                    labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
                let sum = NanoUsd::new(sum.0.load(Relaxed));
                let _ = writeln!(out, "{name}{{{}}} {sum}", labels.join(","));
            }
        }
    }
}

/// A label's value, escaped for the text format.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_to_the_last_nano_dollar_whatever_the_model_is_called() {
        let money = MoneyCounters::default();
        // Odd and above 2^53: no float has this value.
        for nanos in [9_007_199_254_740_993, 2] {
            money.counter(MoneyFamily::Cost, &[Label { name: "model", value: "a\"b\\c\nd" }]).add(NanoUsd::new(nanos));
        }
        let mut out = String::new();
        money.write(&mut out);
        let (name, help) = MoneyFamily::Cost.family();
        let wanted = format!(
            "# HELP {name} {help}\n# TYPE {name} counter\n{name}{{model=\"a\\\"b\\\\c\\nd\"}} 9007199.254740995\n"
        );
        assert!(out.contains(&wanted), "{out}");
    }
}
