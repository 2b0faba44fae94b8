//! Thresholds as test cases, for pipelines.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{
    result::LoadResult,
    threshold::{Judged, Outcome},
    verdict::Verdict,
};

/// A test case for each threshold, and one for the run itself, which is an error if it is invalid or interrupted.
///
/// # Errors
///
/// Never: a text can be written to.
pub fn junit(result: &LoadResult) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(format!("load {}", result.profile));
    for judged in &result.thresholds {
        suite.add_test_case(TestCase::new(judged.threshold.clone(), status(judged)));
    }
    let trouble = match result.verdict {
        Verdict::Passed | Verdict::Failed => None,
        Verdict::Invalid => Some(format!("invalid: {}", result.invalid.join("; "))),
        Verdict::Interrupted => Some("interrupted: a person ended the run".to_owned()),
    };
    let status = trouble.map_or_else(TestCaseStatus::success, |trouble| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(trouble);
        status
    });
    suite.add_test_case(TestCase::new("the run is valid", status));
    suite.set_time(result.length());
    let mut report = Report::new("polytab load");
    report.add_test_suite(suite);
    report.to_string()
}

/// What was not measured is skipped: the case of the run says what follows from it.
fn status(judged: &Judged) -> TestCaseStatus {
    let (mut status, message) = match judged.outcome {
        Outcome::Held => return TestCaseStatus::success(),
        Outcome::Missed => (
            TestCaseStatus::non_success(NonSuccessKind::Failure),
            format!("{} was missed: seen {}", judged.threshold, judged.seen),
        ),
        Outcome::NotMeasured => (
            TestCaseStatus::skipped(),
            format!(
                "not measured: {}",
                judged.reason.as_deref().unwrap_or("nothing was seen")
            ),
        ),
    };
    status.set_message(message);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples;

    #[test]
    fn missed_thresholds_and_invalid_runs_are_no_successes() {
        let mut result = samples::result(1);
        let failed = junit(&result).unwrap();
        result.verdict = Verdict::Invalid;
        result.invalid = vec!["too <late>".to_owned()];
        let invalid = junit(&result).unwrap();

        assert!(
            failed.contains("tests=\"3\"") && failed.contains("failures=\"1\""),
            "{failed}"
        );
        assert!(
            failed.contains("fanout.p99 &lt; 1ms was missed: seen"),
            "{failed}"
        );
        assert!(
            invalid.contains("errors=\"1\"") && invalid.contains("invalid: too &lt;late&gt;"),
            "{invalid}"
        );
    }
}
