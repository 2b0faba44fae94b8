//! Times, counts and reasons as the judge words them.

/// A scenario time for people: `+1m03.250s`.
pub(crate) fn clock_text(at_ms: u64) -> String {
    let (minutes, rest) = (at_ms / 60_000, at_ms % 60_000);
    let seconds = format!("{}.{:03}s", rest / 1000, rest % 1000);
    if minutes == 0 {
        format!("+{seconds}")
    } else {
        format!("+{minutes}m{seconds:0>7}")
    }
}

pub(super) fn messages_text(count: usize) -> String {
    match count {
        0 => "nothing".to_owned(),
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

pub(super) fn were(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

pub(super) fn told(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    }
}
