//! Close codes: what each says, and whether the tab should come back.

use std::time::Duration;

/// What a tab should do after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Stay away: coming back would meet the same end.
    Never,
    /// Come back only after the person signed in again.
    AfterSignIn,
    /// Come back, waiting longer after each failure, beginning with this delay.
    BackOff(Duration),
    /// Come back after the delay that the reason names (`retry_ms=<n>`).
    AsTold,
}

/// The first delay of a tab that comes back by itself (PROTOCOL B7: 10 s, growing by half each time).
const FIRST_DELAY: Duration = Duration::from_secs(10);

/// Why a tab's WebSocket ended (PROTOCOL A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// The tab left.
    Left,
    /// The instance goes away and gives no hint.
    GoingAway,
    /// The tab broke the WebSocket protocol.
    Protocol,
    /// A binary message where only text is spoken.
    Binary,
    /// Text that is not UTF-8.
    BadText,
    /// A message or frame over the limit.
    TooLarge,
    /// The instance drains; the reason carries `retry_ms=<n>`.
    Draining,
    /// No valid login session at connect.
    NotSignedIn,
    /// The login session ended while connected.
    SignedOut,
    /// The user has too many tabs.
    TooManyTabs,
    /// The tab reads too slowly: its outbox was full or a write timed out.
    TooSlow,
    /// The tab sent too many commands.
    TooManyCommands,
    /// The identity provider cannot be reached.
    IdentityUnavailable,
}

impl CloseCode {
    /// Every code, in rising order.
    pub const ALL: &[Self] = &[
        Self::Left,
        Self::GoingAway,
        Self::Protocol,
        Self::Binary,
        Self::BadText,
        Self::TooLarge,
        Self::Draining,
        Self::NotSignedIn,
        Self::SignedOut,
        Self::TooManyTabs,
        Self::TooSlow,
        Self::TooManyCommands,
        Self::IdentityUnavailable,
    ];

    /// The table: number, meaning, what the tab should do.
    const fn row(self) -> (u16, &'static str, Return) {
        match self {
            Self::Left => (1000, "tab left", Return::Never),
            Self::GoingAway => (1001, "instance going away", Return::BackOff(FIRST_DELAY)),
            Self::Protocol => (1002, "protocol error", Return::Never),
            Self::Binary => (1003, "binary messages are not accepted", Return::Never),
            Self::BadText => (1007, "text is not UTF-8", Return::Never),
            Self::TooLarge => (1009, "message too large", Return::Never),
            Self::Draining => (1012, "instance draining", Return::AsTold),
            Self::NotSignedIn => (4000, "no valid login session", Return::AfterSignIn),
            Self::SignedOut => (4001, "login session ended", Return::AfterSignIn),
            Self::TooManyTabs => (4003, "too many tabs for this user", Return::Never),
            Self::TooSlow => (4008, "too slow", Return::BackOff(FIRST_DELAY)),
            Self::TooManyCommands => (4029, "too many commands", Return::BackOff(FIRST_DELAY)),
            Self::IdentityUnavailable => (
                4503,
                "identity provider unavailable",
                Return::BackOff(FIRST_DELAY),
            ),
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self.row().0
    }

    /// What it says, for people.
    pub const fn meaning(self) -> &'static str {
        self.row().1
    }

    /// What the tab should do next.
    pub const fn then(self) -> Return {
        self.row().2
    }

    /// The code with this number, if the table has one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_page_has_a_row_for_each_code() {
        let page = include_str!("../../../docs/protocol.md");

        for code in CloseCode::ALL {
            let row = format!("\n| {} | {} | ", code.number(), code.meaning());
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn numbers_rise_and_lead_back_to_their_code() {
        let numbers: Vec<_> = CloseCode::ALL.iter().map(|code| code.number()).collect();

        assert!(numbers.is_sorted());
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), Some(*code));
        }
    }
}
