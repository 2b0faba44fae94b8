//! What hostile tabs and services do, as tables: a request, what must come of it, and the test that has it.
//! `docs/abuse.md` shows the same rows.

use std::fmt;

/// What must come of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// The connection ends with a close frame of this code.
    Close(u16),
    /// An `error` of this code; the tab goes on.
    Error(&'static str),
    /// It is taken as any other.
    Ack,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close(code) => write!(f, "close {code}"),
            Self::Error(code) => write!(f, "`{code}`, tab stays"),
            Self::Ack => f.write_str("taken, tab stays"),
        }
    }
}

/// A request, how to make it, and what must come of it.
pub(crate) type Row<T> = (&'static str, fn() -> T, Expected);

/// What is no row of a table in the tests: request, expected, test.
const OTHERS: &[[&str; 3]] = &[
    [
        "text in fragments of 1 KiB without an end",
        "close 1009 before 66 KiB were sent",
        "endless_fragments_are_ended_at_the_bound",
    ],
    [
        "16 MiB of pings of 125 bytes, no answer read, then a command",
        "at most 1 MiB of answers kept; served, or close 4008",
        "who_pings_on_and_takes_no_answer_piles_nothing_up",
    ],
    [
        "8 MiB of pings of 125 bytes, no answer read, then nothing",
        "close 4008 after the write limit",
        "who_takes_no_answer_to_pings_is_ended_after_the_write_limit",
    ],
    [
        "5,000 pings of 125 bytes, the answers read",
        "answered, tab stays",
        "who_pings_on_and_takes_the_answers_is_served",
    ],
    [
        "200 commands at once",
        "at most 30 answered, then close 4029",
        "a_flood_of_commands_is_ended",
    ],
    [
        "one `subscribe` more than allowed",
        "`too_many`, tab stays",
        "subscriptions_are_capped_by_user",
    ],
    [
        "one followed project more than allowed",
        "`too_many`, tab stays",
        "subscriptions_are_capped_by_user",
    ],
    [
        "any of the topics above",
        "no request to any service but sign-in's own",
        "each_command_meets_its_answer",
    ],
    [
        "302 from the backend",
        "not followed; tabs are told nothing",
        "no_redirect_of_a_service_is_followed",
    ],
    [
        "302 from GitLab",
        "not followed; `upstream_unavailable`",
        "no_redirect_of_a_service_is_followed",
    ],
    [
        "302 from Keycloak (discovery)",
        "not followed; `auth_unavailable`, close 4503",
        "no_redirect_of_the_identity_provider_is_followed",
    ],
    [
        "302 from Keycloak (keys)",
        "not followed; `auth_unavailable`, close 4503",
        "no_redirect_of_the_identity_provider_is_followed",
    ],
    [
        "tokens of made-up keys, while Keycloak's keys cannot be had",
        "one call for all, close 4503; tokens of known keys do not wait",
        "tokens_of_known_keys_do_not_wait_while_unknown_ones_are_looked_for",
    ],
    [
        "an ID token, a refresh token or a logout token instead of an access token",
        "`auth_expired`, close 4001",
        "only_access_tokens_are_taken_as_such",
    ],
    [
        "a revoked access token, again and again",
        "one introspection, `auth_expired`, close 4001 each time",
        "a_revoked_token_is_never_let_in_and_asked_about_once",
    ],
    [
        "event id of GitLab's that no header can carry",
        "the topic goes on",
        "an_event_id_that_no_header_can_carry_silences_no_topic",
    ],
    [
        "an event of GitLab's over `event_bytes`",
        "left out and not asked for again; the next one comes",
        "an_event_that_is_too_long_is_left_out_and_not_asked_for_again",
    ],
    [
        "events for a tab that reads nothing, beside others",
        "close 4008; at most 512 kB held for it; the others hear all",
        "a_tab_that_takes_nothing_is_closed_and_the_others_never_notice",
    ],
    [
        "handshakes of every wrong form",
        "400, 403, 426, 431",
        "each_handshake_meets_its_answer",
    ],
    [
        "50 silent, half-sent and dripping handshakes",
        "none left after 8 s",
        "nobody_holds_a_connection_with_half_a_handshake",
    ],
    [
        "50 requests with half a body",
        "408, and another peer is served",
        "nobody_holds_a_connection_with_half_a_body",
    ],
    [
        "a body over `header_bytes`, or one that does not come",
        "413, 408",
        "a_body_over_its_bounds_is_refused",
    ],
    [
        "50 peers that ask for what is long and read no answer",
        "none left after 8 s",
        "nobody_holds_a_connection_with_answers_that_are_not_read",
    ],
    [
        "requests without end over one connection",
        "it ends; a tab stays",
        "nobody_keeps_a_connection_for_ever_with_requests_and_a_tab_does",
    ],
];

#[test]
fn the_page_shows_each_row() {
    let page = include_str!("../../../docs/abuse.md");
    let row = |request: &str, expected: &str, test: &str| format!("| {request} | {expected} | `{test}` |");
    let frames = crate::abuse_frames::FRAMES
        .iter()
        .map(|(request, _, expected)| row(request, &expected.to_string(), "each_frame_meets_its_close_code"));
    let commands = crate::abuse_commands::COMMANDS
        .iter()
        .map(|(request, _, expected)| row(request, &expected.to_string(), "each_command_meets_its_answer"));
    let others = OTHERS
        .iter()
        .map(|[request, expected, test]| row(request, expected, test));
    let wanted: Vec<String> = frames.chain(commands).chain(others).collect();

    let shown: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with("` |"))
        .collect();

    let sources = [
        include_str!("abuse_commands.rs"),
        include_str!("abuse_floods.rs"),
        include_str!("abuse_frames.rs"),
        include_str!("abuse_upstream.rs"),
        include_str!("handshake.rs"),
        include_str!("../../src/auth/tests.rs"),
        include_str!("../../src/upstream/adapter_tests.rs"),
        include_str!("../../../sim/tests/it/instances/slow.rs"),
    ];
    for [_, _, test] in OTHERS {
        let declared = format!("fn {test}()");
        assert!(sources.iter().any(|source| source.contains(&declared)), "{test}");
    }
    assert_eq!(
        shown,
        wanted,
        "docs/abuse.md should have these rows:\n{}",
        wanted.join("\n")
    );
}
