//! One page that opens from disk: nothing is loaded from anywhere, and no script runs.

use std::fmt::Write;

use super::{
    plot::{Line, Plot},
    times,
};
use crate::{
    histogram::Histogram,
    result::LoadResult,
    tally::{Count, Metric, Tally},
    threshold::{Outcome, polls_per_turn, shown},
};

const STYLE: &str = include_str!("style.css");
/// Lines of one plot at most: there are as many colours.
const LINES: usize = 6;

/// The page.
pub fn html(result: &LoadResult) -> String {
    let total = result.total();
    let mut page = String::new();
    let verdict = result.verdict.word();
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{} {verdict}</title><style>{STYLE}</style></head><body class=\"{verdict}\">",
        escape(&result.profile)
    )
    .ok();
    head(&mut page, result);
    tiles(&mut page, result, &total);
    thresholds(&mut page, result);
    durations(&mut page, &total);
    times::times(&mut page, result);
    phases(&mut page, result);
    wrong(&mut page, &total);
    generator(&mut page, result);
    page.push_str("</body></html>\n");
    page
}

/// Text as it stands in HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn head(page: &mut String, result: &LoadResult) {
    let shard = result.shard.map_or_else(String::new, |shard| {
        format!(" · shard {} of {}", shard.index, shard.of)
    });
    write!(
        page,
        "<h1>{} <b>{}</b></h1><p class=\"soft\">{}</p><p class=\"soft\">{} · {} · seed {}{shard}</p>",
        escape(&result.profile),
        result.verdict.word(),
        escape(&result.target),
        escape(&result.started),
        shown(result.length()),
        result.seed
    )
    .ok();
    for text in result.invalid.iter().chain(&result.notes) {
        write!(page, "<p class=\"say\">{}</p>", escape(text)).ok();
    }
}

fn tiles(page: &mut String, result: &LoadResult, total: &Tally) {
    let count = |count: Count| {
        (
            count.word().replace('_', " "),
            total.get(count).to_string(),
            false,
        )
    };
    let wrong = |count: Count| {
        (
            count.word().replace('_', " "),
            total.get(count).to_string(),
            total.get(count) > 0,
        )
    };
    let mut tiles = vec![
        count(Count::Users),
        ("tabs at once".to_owned(), result.most_tabs().to_string(), false),
        count(Count::Received),
        count(Count::Changes),
        count(Count::Notified),
        wrong(Count::Missed),
        wrong(Count::Doubled),
        wrong(Count::OutOfOrder),
        wrong(Count::CrossUser),
        (
            "errors".to_owned(),
            total.errors().to_string(),
            total.errors() > 0,
        ),
    ];
    if let Some(polls) = polls_per_turn(total).filter(|_| total.get(Count::Polls) > 0) {
        tiles.push(("polls per user and turn".to_owned(), format!("{polls:.3}"), false));
    }
    page.push_str("<div class=\"tiles\">");
    for (name, value, is_bad) in tiles {
        let class = if is_bad { "tile bad" } else { "tile" };
        write!(
            page,
            "<div class=\"{class}\"><b>{value}</b><span>{name}</span></div>"
        )
        .ok();
    }
    page.push_str("</div>");
}

fn thresholds(page: &mut String, result: &LoadResult) {
    if result.thresholds.is_empty() {
        return;
    }
    page.push_str("<h2>Thresholds</h2><table><tr><th>threshold</th><th>seen</th><th></th></tr>");
    for judged in &result.thresholds {
        let class = match judged.outcome {
            Outcome::Held => "held",
            Outcome::Missed => "missed",
            Outcome::NotMeasured => "soft",
        };
        let reason = judged
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(": {}", escape(reason)));
        write!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{}{reason}</td></tr>",
            escape(&judged.threshold),
            escape(&judged.seen),
            judged.outcome.words()
        )
        .ok();
    }
    page.push_str("</table>");
}

const PARTS: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

fn durations(page: &mut String, total: &Tally) {
    page.push_str("<h2>Durations</h2><div class=\"scroll\"><table><tr><th></th><th class=\"n\">count</th>");
    for (name, _) in PARTS {
        write!(page, "<th class=\"n\">{name}</th>").ok();
    }
    page.push_str("</tr>");
    for metric in Metric::ALL {
        let Some(histogram) = total.metric(metric) else {
            continue;
        };
        write!(
            page,
            "<tr><td>{}<br><span class=\"soft\">{}</span></td><td class=\"n\">{}</td>",
            metric.word(),
            metric.meaning(),
            histogram.count()
        )
        .ok();
        for (_, part) in PARTS {
            write!(page, "<td class=\"n\">{}</td>", shown(histogram.quantile(part))).ok();
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
    let lines = Metric::ALL
        .iter()
        .filter_map(|metric| Some((metric.word(), total.metric(*metric)?)));
    let lines: Vec<_> = lines
        .map(|(name, histogram)| percentiles(name, histogram))
        .take(LINES)
        .collect();
    if lines.is_empty() {
        return;
    }
    let names = ["0", "90 %", "99 %", "99.9 %", "99.99 %"];
    let plot = Plot {
        title: "Percentiles",
        unit: "time",
        ticks: (0_u8..).map(f64::from).zip(names.map(str::to_owned)).collect(),
        bands: Vec::new(),
        lines,
        is_logarithmic: true,
    };
    page.push_str(&plot.svg());
}

/// A distribution along its nines: one unit for each factor of ten of what is left above.
fn percentiles(name: &str, histogram: &Histogram) -> Line {
    #[expect(clippy::cast_precision_loss, reason = "no run counts up to 2⁵³")]
    let most = (histogram.count() as f64).max(1.0).log10().min(4.0);
    let point = |step: u32| {
        let nines = f64::from(step) / 20.0;
        let duration = histogram.quantile(1.0 - 10_f64.powf(-nines));
        (nines <= most + 0.05).then_some((nines, Some(duration.as_secs_f64() * 1e3)))
    };
    Line {
        name: name.to_owned(),
        points: (0..=80).filter_map(point).collect(),
    }
}

fn phases(page: &mut String, result: &LoadResult) {
    if result.phases.len() < 2 {
        return;
    }
    page.push_str(
        "<h2>Phases</h2><div class=\"scroll\"><table><tr><th>phase</th><th class=\"n\">from</th><th class=\"n\">length</th><th \
         class=\"n\">users</th><th class=\"n\">tabs</th><th class=\"n\">connect p99</th><th class=\"n\">reply p99</th><th \
         class=\"n\">fanout p99</th><th class=\"n\">missed</th><th class=\"n\">doubled</th><th class=\"n\">errors</th></tr>",
    );
    let seconds = |seconds: f64| shown(std::time::Duration::from_secs_f64(seconds.max(0.0)));
    for (nth, phase) in result.phases.iter().enumerate() {
        let tally = result.of_phase(nth);
        let of_phase = result.intervals.iter().filter(|interval| interval.phase == nth);
        let tabs = of_phase.map(|interval| interval.tabs).max().unwrap_or(0);
        write!(
            page,
            "<tr><td>{}. {}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{tabs}</td>",
            nth + 1,
            escape(&phase.name),
            seconds(phase.from_s),
            seconds(phase.to_s - phase.from_s),
            phase.users
        )
        .ok();
        for metric in [Metric::Connect, Metric::Reply, Metric::Fanout] {
            let p99 = tally
                .metric(metric)
                .map_or("–".to_owned(), |histogram| shown(histogram.quantile(0.99)));
            write!(page, "<td class=\"n\">{p99}</td>").ok();
        }
        for count in [
            tally.get(Count::Missed),
            tally.get(Count::Doubled),
            tally.errors(),
        ] {
            write!(page, "<td class=\"n\">{count}</td>").ok();
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

fn wrong(page: &mut String, total: &Tally) {
    if !total.closes.is_empty() {
        page.push_str("<h2>Tabs that the target closed</h2><table><tr><th>close code</th><th class=\"n\">tabs</th></tr>");
        for (code, times) in &total.closes {
            write!(page, "<tr><td>{code}</td><td class=\"n\">{times}</td></tr>").ok();
        }
        page.push_str("</table>");
    }
    if !total.reasons.is_empty() {
        page.push_str("<h2>Errors</h2><table><tr><th>reason</th><th class=\"n\">times</th></tr>");
        for (reason, times) in &total.reasons {
            write!(
                page,
                "<tr><td>{}</td><td class=\"n\">{times}</td></tr>",
                escape(reason)
            )
            .ok();
        }
        page.push_str("</table>");
    }
}

fn generator(page: &mut String, result: &LoadResult) {
    page.push_str(
        "<h2>The generator</h2><div class=\"scroll\"><table><tr><th>machine</th><th class=\"n\">cores</th><th \
         class=\"n\">workers</th><th class=\"n\">busiest worker</th><th class=\"n\">processor time</th><th \
         class=\"n\">memory</th><th class=\"n\">descriptors</th><th>version</th></tr>",
    );
    for generator in &result.generators {
        #[expect(clippy::cast_precision_loss, reason = "a byte more or less does not show")]
        let mebibytes = generator.resident_bytes as f64 / 1_048_576.0;
        write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.0} %</td><td class=\"n\">{}</td><td \
             class=\"n\">{mebibytes:.1} MiB</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escape(&generator.machine),
            generator.cores,
            generator.workers,
            generator.cpu_max * 100.0,
            shown(std::time::Duration::from_secs_f64(generator.cpu_s.max(0.0))),
            generator.descriptors,
            escape(&generator.polytab)
        )
        .ok();
    }
    page.push_str("</table></div>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples;

    #[test]
    fn nothing_is_loaded_and_nothing_escapes() {
        let mut result = samples::result(2);
        result.profile = "<script>alert(1)</script>".to_owned();
        result.phases[0].name = "a & b".to_owned();

        let page = html(&result);

        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
        assert!(page.contains("&lt;script&gt;") && page.contains("a &amp; b"));
    }

    #[test]
    fn a_run_of_nothing_has_a_page() {
        let mut result = samples::result(0);
        result.intervals.clear();

        let page = html(&result);

        assert!(page.contains("ended before anything was counted"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn every_threshold_and_metric_is_shown() {
        let result = samples::result(60);

        let page = html(&result);

        for judged in &result.thresholds {
            assert!(page.contains(&escape(&judged.threshold)));
        }
        assert_eq!(page.matches(". phase ").count(), 60);
        assert!(page.contains("from a change to its notification, each tab"));
        assert!(!page.contains("NaN"));
    }
}
