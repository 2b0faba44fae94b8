//! Thresholds as test cases, for pipelines.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::result::{LoadResult, Verdict};

/// A test case for each threshold; an invalid or interrupted run has one more, which says why.
///
/// # Errors
///
/// Never: a text can be written to.
pub fn junit(result: &LoadResult) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(format!("load {}", result.profile));
    for judged in &result.thresholds {
        let status = if judged.held {
            TestCaseStatus::success()
        } else {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(format!("{} was missed: seen {}", judged.threshold, judged.seen));
            status
        };
        suite.add_test_case(TestCase::new(judged.threshold.clone(), status));
    }
    let trouble = match result.verdict {
        Verdict::Passed | Verdict::Failed => None,
        Verdict::Invalid => Some(result.invalid.join("; ")),
        Verdict::Interrupted => Some("a person ended the run".to_owned()),
    };
    if let Some(trouble) = trouble {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(trouble);
        suite.add_test_case(TestCase::new(
            format!("the run is {}", result.verdict.word()),
            status,
        ));
    }
    suite.set_time(result.length());
    let mut report = Report::new("polytab load");
    report.add_test_suite(suite);
    report.to_string()
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
            failed.contains("tests=\"2\"") && failed.contains("failures=\"1\""),
            "{failed}"
        );
        assert!(
            failed.contains("fanout.p99 &lt; 1ms was missed: seen"),
            "{failed}"
        );
        assert!(
            invalid.contains("errors=\"1\"") && invalid.contains("too &lt;late&gt;"),
            "{invalid}"
        );
    }
}
