//! Prometheus' text format: of a result, for a push gateway or a textfile collector, and of a run that is scraped.

use std::fmt::Write;

use crate::{
    result::LoadResult,
    tally::{Count, Metric, Tally},
    verdict::Verdict,
};

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

/// A result that is there: its verdict, and all that was counted.
pub fn prometheus(result: &LoadResult) -> String {
    let phases: Vec<_> = (0..result.phases.len())
        .map(|phase| (result.phases[phase].name.clone(), result.of_phase(phase)))
        .collect();
    let passed = u64::from(result.verdict == Verdict::Passed);
    let mut text = String::new();
    gauge(
        &mut text,
        "passed",
        "Whether all thresholds held and the run is valid",
        (&result.profile, passed),
    );
    text + &counted(&result.profile, &phases)
}

/// A run that goes on: how many users and tabs there are, and all that was counted until now.
pub fn prometheus_now(profile: &str, (users, tabs): (u64, u64), phases: &[(String, Tally)]) -> String {
    let mut text = String::new();
    gauge(&mut text, "users", "Users who are there now", (profile, users));
    gauge(&mut text, "tabs", "Tabs that are open now", (profile, tabs));
    text + &counted(profile, phases)
}

fn gauge(text: &mut String, name: &str, meaning: &str, (profile, value): (&str, u64)) {
    let profile = label(profile);
    writeln!(
        text,
        "# HELP polytab_load_{name} {meaning}.\n# TYPE polytab_load_{name} gauge\n\
         polytab_load_{name}{{profile=\"{profile}\"}} {value}"
    )
    .ok();
}

/// Counts as counters and durations as summaries, in seconds, each with its phase.
fn counted(profile: &str, phases: &[(String, Tally)]) -> String {
    let mut text = String::new();
    let profile = label(profile);
    for count in Count::ALL {
        let name = format!("polytab_load_{}_total", count.word());
        writeln!(text, "# TYPE {name} counter").ok();
        for (phase, tally) in phases {
            let (phase, value) = (label(phase), tally.get(count));
            writeln!(text, "{name}{{profile=\"{profile}\",phase=\"{phase}\"}} {value}").ok();
        }
    }
    for metric in Metric::ALL {
        let name = format!("polytab_load_{}_seconds", metric.word());
        writeln!(
            text,
            "# HELP {name} {}.\n# TYPE {name} summary",
            sentence(metric.meaning())
        )
        .ok();
        for (phase, tally) in phases {
            let Some(histogram) = tally.metric(metric) else {
                continue;
            };
            let labels = format!("profile=\"{profile}\",phase=\"{}\"", label(phase));
            for part in QUANTILES {
                let value = histogram.quantile(part).as_secs_f64();
                writeln!(text, "{name}{{{labels},quantile=\"{part}\"}} {value}").ok();
            }
            #[expect(clippy::cast_precision_loss, reason = "no run counts up to 2⁵³")]
            let sum = histogram.mean().as_secs_f64() * histogram.count() as f64;
            writeln!(text, "{name}_sum{{{labels}}} {sum}").ok();
            writeln!(text, "{name}_count{{{labels}}} {}", histogram.count()).ok();
        }
    }
    text
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// A label's value.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples;

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let mut result = samples::result(2);
        result.phases[0].name = "a \"b\"\n".to_owned();

        let text = prometheus(&result);

        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(
                series.starts_with("polytab_load_") && series.ends_with('}'),
                "{line}"
            );
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(
            text.contains("phase=\"a \\\"b\\\"\\n\",quantile=\"0.99\"} "),
            "{text}"
        );
    }
}
