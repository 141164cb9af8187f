//! Why a target was not called, or not once more, when it was its turn.

use crate::named;

named! {
    /// Why a target of the order was not called, or not once more, when it was its turn. The words are recorded, and so can never change.
    pub enum PassedOverFor {
        /// Its breaker was open when it was its turn, or when a hedge was due; it may have been called later, if nothing could be sent to another one.
        BreakerOpen = "breaker_open",
        /// Its provider gets no further calls now.
        RetryBudget = "retry_budget",
        /// The target had as many calls under way as it may; it may have been waited for, and called later.
        NoRoom = "no_room",
        /// The target, or its provider, has come under maintenance since the request was planned.
        Maintenance = "maintenance",
        /// The terms required of the target, or stated of it, have changed since the request was planned.
        TermsNotMet = "terms_not_met",
    }
}

impl PassedOverFor {
    /// Why, for people who know the gateway from outside alone.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::BreakerOpen => "it had failed too often by then, so that its breaker was open",
            Self::RetryBudget => "too many calls to its provider had followed failed ones in the last seconds",
            Self::NoRoom => "it had as many calls under way as it may",
            Self::Maintenance => "it was under maintenance by then",
            Self::TermsNotMet => "it no longer met the terms that were required by then",
        }
    }
}
