//! The setting for the access log.

use events::named;

named! {
    /// Where entries of the access log go.
    pub enum AccessLogOutput {
        Off = "off",
        /// Lines on stderr.
        Lines = "lines",
        /// A view, for queries.
        View = "view",
        Both = "both",
    }
}

impl AccessLogOutput {
    pub const fn has_lines(self) -> bool {
        matches!(self, Self::Lines | Self::Both)
    }

    pub const fn has_view(self) -> bool {
        matches!(self, Self::View | Self::Both)
    }
}
