//! Amounts as metrics: kept in nano-dollars and written as decimals, so that no float comes near them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use events::money::NanoUsd;

/// One family: its name and what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    Held,
    Settled,
    Cost,
    Adjusted,
}

impl Amount {
    const ALL: [Self; 4] = [Self::Held, Self::Settled, Self::Cost, Self::Adjusted];

    const fn family(self) -> (&'static str, &'static str) {
        match self {
            Self::Held => ("ledgerway_held_usd_total", "Money that was held for admitted requests, by model"),
            Self::Settled => ("ledgerway_settled_usd_total", "Money that holds were charged when they ended, by model"),
            Self::Cost => ("ledgerway_cost_usd_total", "What requests cost, by model and by the provider that served"),
            Self::Adjusted => {
                ("ledgerway_adjusted_usd_total", "Later corrections of charges, by direction: up or down")
            }
        }
    }
}

type Labels = Vec<(&'static str, String)>;

/// One amount that grows. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sum(Arc<AtomicI64>);

impl Sum {
    pub fn add(&self, money: NanoUsd) {
        let before = NanoUsd::new(self.0.load(Relaxed));
        // Beyond what money can count a counter starts again, as counters may. One task alone adds.
        self.0.store(before.checked_add(money).unwrap_or(money).nanos(), Relaxed);
    }
}

/// All amounts. Written by the task that counts, read by whoever asks for metrics.
#[derive(Default)]
pub struct Money {
    amounts: Mutex<BTreeMap<Amount, BTreeMap<Labels, Sum>>>,
}

impl Money {
    /// The amount of these labels, from zero where it is new.
    pub fn sum(&self, amount: Amount, labels: &[(&'static str, &str)]) -> Sum {
        let mut amounts = self.amounts.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        amounts.entry(amount).or_default().entry(labels).or_default().clone()
    }

    /// In the text format, nine digits behind the point.
    pub fn write(&self, out: &mut String) {
        let amounts = self.amounts.lock().unwrap_or_else(PoisonError::into_inner);
        for amount in Amount::ALL {
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

/// A label's value as the text format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_to_the_last_nano_dollar_whatever_the_model_is_called() {
        let money = Money::default();
        // More than a float can tell from its neighbours.
        for nanos in [9_007_199_254_740_993, 2] {
            money.sum(Amount::Cost, &[("model", "a\"b\\c\nd")]).add(NanoUsd::new(nanos));
        }
        let mut out = String::new();
        money.write(&mut out);
        let (name, help) = Amount::Cost.family();
        let wanted = format!(
            "# HELP {name} {help}\n# TYPE {name} counter\n{name}{{model=\"a\\\"b\\\\c\\nd\"}} 9007199.254740995\n"
        );
        assert!(out.contains(&wanted), "{out}");
    }
}
