//! The four ways in which GitLab writes a time, on purpose or not (MOCKS G3).

use jiff::{Timestamp, tz};

/// `2013-12-03T17:23:34Z`: issues and merge requests.
pub(super) fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2016-08-12 15:23:28 UTC`: pipelines, their builds, changes.
pub(super) fn words(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `2021-02-23T02:41:37.886Z`: jobs, and the REST API.
pub(crate) fn millis(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// `2012-01-03T23:36:29+02:00`: commits, in the zone of their author.
pub(super) fn zoned(time: Timestamp) -> String {
    let zone = tz::offset(2).to_time_zone();
    time.to_zoned_datetime(zone)
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_is_written_in_four_ways() {
        let time = "2026-01-01T23:30:05.007Z".parse().unwrap();

        assert_eq!(iso(time), "2026-01-01T23:30:05Z");
        assert_eq!(words(time), "2026-01-01 23:30:05 UTC");
        assert_eq!(millis(time), "2026-01-01T23:30:05.007Z");
        assert_eq!(zoned(time), "2026-01-02T01:30:05+02:00");
    }
}
