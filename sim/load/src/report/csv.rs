//! A row for each stretch of a run, for spreadsheets (RFC 4180).

use std::fmt::Write;

use crate::{
    result::LoadResult,
    tally::{Count, Metric},
};

/// Percentiles of each metric.
const PARTS: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

/// One row for each stretch: times in seconds, durations in milliseconds. A cell is empty where nothing was measured.
pub fn csv(result: &LoadResult) -> String {
    let mut text = String::from("from_s,to_s,phase,users,tabs");
    for count in Count::ALL {
        write!(text, ",{}", count.word()).ok();
    }
    for metric in Metric::ALL {
        for (name, _) in PARTS {
            write!(text, ",{}_{name}_ms", metric.word()).ok();
        }
    }
    text.push_str("\r\n");
    for interval in &result.intervals {
        let phase = result
            .phases
            .get(interval.phase)
            .map_or("", |phase| phase.name.as_str());
        let (from, to) = (interval.from_s, interval.to_s);
        write!(
            text,
            "{from:.3},{to:.3},{},{},{}",
            quoted(phase),
            interval.users,
            interval.tabs
        )
        .ok();
        let tally = interval.tally();
        for count in Count::ALL {
            write!(text, ",{}", tally.get(count)).ok();
        }
        for metric in Metric::ALL {
            for (_, part) in PARTS {
                text.push(',');
                if let Some(histogram) = tally.metric(metric) {
                    write!(text, "{:.3}", histogram.quantile(part).as_secs_f64() * 1e3).ok();
                }
            }
        }
        text.push_str("\r\n");
    }
    text
}

/// A name as a cell. One that a spreadsheet would take for a formula is led by a quote, as its makers recommend.
fn quoted(name: &str) -> String {
    let lead = if name.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    format!("\"{lead}{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples;

    #[test]
    fn every_row_has_every_column() {
        let text = csv(&samples::result(3));

        let columns: Vec<_> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(columns.len(), 1 + 6);
        assert!(columns.iter().all(|count| *count == columns[0]), "{columns:?}");
        assert!(text.starts_with("from_s,to_s,phase,users,tabs,users,sign_ins"));
    }

    #[test]
    fn names_are_cells_and_no_formulas() {
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
    }
}
