//! The run as a panel on a terminal, drawn anew with each stretch, below what was said before.

use std::{
    collections::VecDeque,
    fmt::Write,
    io::{self, Stderr},
    time::Duration,
};

use polytab_load::{
    intent::Intent,
    plan::{Happening, Plan},
    run::Progress,
    tally::{Count, Metric, Tally},
    threshold::{Outcome, Threshold, shown},
};
use ratatui::{
    Frame, Terminal, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    symbols,
    text::{Line, Span},
    widgets::{LineGauge, Paragraph, Sparkline, Widget},
};

/// Stretches that the curves show at most.
const HISTORY: usize = 200;
/// What is told of "now" is of so many stretches, as some things are rare.
const RECENT: usize = 10;
/// Thresholds that are shown at most; those that were missed come first.
const THRESHOLDS: usize = 8;
/// Columns of a table: the name, and each number.
const NAME: u16 = 14;
const NUMBER: u16 = 10;

/// The panel and the terminal that it is on.
pub(super) struct Panel {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    seen: Seen,
}

impl Panel {
    pub(super) fn new(plan: &Plan, about: String) -> io::Result<Self> {
        let seen = Seen::new(plan, about);
        let options = TerminalOptions {
            viewport: Viewport::Inline(seen.height()),
        };
        let terminal = Terminal::with_options(CrosstermBackend::new(io::stderr()), options)?;
        let mut panel = Self { terminal, seen };
        panel.draw();
        Ok(panel)
    }

    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        self.seen.add(progress);
        self.draw();
    }

    /// Puts a line above the panel, where it stays.
    pub(super) fn tell(&mut self, text: &str) {
        let width = usize::from(self.terminal.size().map_or(80, |size| size.width)).max(1);
        let lines: Vec<Line<'_>> = text
            .lines()
            .flat_map(|line| {
                let letters: Vec<char> = line.chars().collect();
                letters
                    .chunks(width)
                    .map(|part| Line::from(part.iter().collect::<String>()))
                    .collect::<Vec<_>>()
            })
            .collect();
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        // A terminal that has gone away shows nothing; the run goes on.
        self.terminal
            .insert_before(height, |buffer| Paragraph::new(lines).render(buffer.area, buffer))
            .ok();
        self.draw();
    }

    fn draw(&mut self) {
        let seen = &self.seen;
        self.terminal.draw(|frame| seen.draw(frame)).ok();
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        // The summary takes the place of the panel.
        let origin = self.terminal.get_frame().area().as_position();
        self.terminal.clear().ok();
        self.terminal.set_cursor_position(origin).ok();
    }
}

/// What a panel shows.
struct Seen {
    about: String,
    phases: Vec<String>,
    length: f64,
    rows: Vec<Row>,
    thresholds: Vec<Threshold>,
    intent: Intent,
    lag: Duration,
    at: f64,
    phase: usize,
    cpu: f64,
    recent: VecDeque<Tally>,
    total: Tally,
}

/// A row of numbers with its curve.
struct Row {
    what: What,
    curve: VecDeque<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Users,
    Tabs,
    /// Of each second.
    Rate(Count),
    Metric(Metric),
}

impl Row {
    fn new(what: What) -> Self {
        Self {
            what,
            curve: VecDeque::new(),
        }
    }

    fn name(&self) -> String {
        match self.what {
            What::Users => "users".to_owned(),
            What::Tabs => "tabs".to_owned(),
            What::Rate(count) => format!("{}/s", count.word()),
            What::Metric(metric) => metric.word().replace('_', " "),
        }
    }

    fn add(&mut self, progress: &Progress<'_>) {
        let interval = progress.interval;
        let value = match self.what {
            What::Users => interval.users,
            What::Tabs => interval.tabs,
            What::Rate(count) => per_second(progress.tally.get(count), interval.to_s - interval.from_s),
            What::Metric(metric) => progress.tally.metric(metric).map_or(0, |histogram| {
                u64::try_from(histogram.quantile(0.99).as_micros()).unwrap_or(u64::MAX)
            }),
        };
        if self.curve.len() == HISTORY {
            self.curve.pop_front();
        }
        self.curve.push_back(value);
    }

    fn last(&self) -> u64 {
        self.curve.back().copied().unwrap_or(0)
    }

    fn most(&self) -> u64 {
        self.curve.iter().copied().max().unwrap_or(0)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a second are far below 2⁵³, and not below nothing"
)]
fn per_second(count: u64, seconds: f64) -> u64 {
    (count as f64 / seconds.max(1e-3)).round() as u64
}

impl Seen {
    fn new(plan: &Plan, about: String) -> Self {
        let changes = plan.phases.iter().any(|phase| {
            let mut events = phase.events.iter();
            events.any(|event| event.happening == Happening::Change)
        });
        let mut rows = vec![
            What::Users,
            What::Tabs,
            What::Rate(Count::Opened),
            What::Rate(Count::Received),
            What::Metric(Metric::Connect),
        ];
        if !plan.page.requests.is_empty() {
            rows.push(What::Metric(Metric::Reply));
        }
        if changes {
            rows.extend([Metric::Fanout, Metric::Skew].map(What::Metric));
        }
        let length: Duration = plan.phases.iter().map(|phase| phase.length).sum();
        Self {
            about,
            phases: plan.phases.iter().map(|phase| phase.name.clone()).collect(),
            length: length.as_secs_f64(),
            rows: rows.into_iter().map(Row::new).collect(),
            thresholds: plan.thresholds.clone(),
            intent: Intent::from(plan),
            lag: plan.limits.lag,
            at: 0.0,
            phase: 0,
            cpu: 0.0,
            recent: VecDeque::new(),
            total: Tally::default(),
        }
    }

    fn add(&mut self, progress: &Progress<'_>) {
        self.at = progress.interval.to_s;
        self.phase = progress.interval.phase;
        self.cpu = progress.cpu;
        self.total.clone_from(progress.total);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(progress.tally.clone());
        self.rows.iter_mut().for_each(|row| row.add(progress));
    }

    fn threshold_lines(&self) -> u16 {
        u16::try_from(self.thresholds.len().min(THRESHOLDS)).unwrap_or(0)
    }

    fn height(&self) -> u16 {
        // What the run is, its progress, the head of the table, counts, the generator, and three gaps.
        let rows = u16::try_from(self.rows.len()).unwrap_or(0);
        8 + rows + self.threshold_lines()
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let rows = u16::try_from(self.rows.len()).unwrap_or(0);
        let [about, progress, _, table, _, counts, thresholds, _, generator] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(rows + 1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(self.threshold_lines()),
            Constraint::Length(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Line::from(self.about.as_str()).bold(), about);
        self.draw_progress(frame, progress);
        self.draw_table(frame, table);
        frame.render_widget(self.counts(), counts);
        frame.render_widget(Paragraph::new(self.judged()), thresholds);
        frame.render_widget(self.generator(), generator);
    }

    fn draw_progress(&self, frame: &mut Frame<'_>, area: Rect) {
        let phase = self.phases.get(self.phase).map_or("", String::as_str);
        let label = format!(
            "{} of {}  {phase} ({} of {})",
            shown(Duration::from_secs_f64(self.at)),
            shown(Duration::from_secs_f64(self.length)),
            self.phase + 1,
            self.phases.len()
        );
        let gauge = LineGauge::default()
            .ratio((self.at / self.length.max(1e-9)).clamp(0.0, 1.0))
            .label(label)
            .filled_symbol(symbols::line::THICK_HORIZONTAL)
            .unfilled_symbol(symbols::line::HORIZONTAL)
            .filled_style(Style::new().fg(Color::Cyan))
            .unfilled_style(Style::new().add_modifier(Modifier::DIM));
        frame.render_widget(gauge, area);
    }

    fn draw_table(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines = Layout::vertical(vec![Constraint::Length(1); self.rows.len() + 1]).split(area);
        let head = ["now", "now p99", "all p50", "all p99", "max"].map(str::to_owned);
        frame.render_widget(table_line("", &head).dim(), lines[0]);
        let recent = self.recent.iter().fold(Tally::default(), |mut sum, tally| {
            sum.add(tally);
            sum
        });
        for (row, line) in self.rows.iter().zip(lines.iter().skip(1)) {
            let numbers = match row.what {
                What::Metric(metric) => {
                    let quantile = |tally: &Tally, part: f64| {
                        let histogram = tally.metric(metric);
                        histogram.map_or_else(|| "–".to_owned(), |histogram| shown(histogram.quantile(part)))
                    };
                    [
                        quantile(&recent, 0.5),
                        quantile(&recent, 0.99),
                        quantile(&self.total, 0.5),
                        quantile(&self.total, 0.99),
                        quantile(&self.total, 1.0),
                    ]
                }
                _ => [
                    row.last().to_string(),
                    String::new(),
                    String::new(),
                    String::new(),
                    row.most().to_string(),
                ],
            };
            let width = NAME + 5 * NUMBER + 2;
            let [left, right] =
                Layout::horizontal([Constraint::Length(width), Constraint::Fill(1)]).areas(*line);
            frame.render_widget(table_line(&row.name(), &numbers), left);
            let shown = row.curve.len().saturating_sub(usize::from(right.width));
            let curve: Vec<u64> = row.curve.iter().skip(shown).copied().collect();
            frame.render_widget(
                Sparkline::default()
                    .data(&curve)
                    .style(Style::new().fg(Color::Cyan)),
                right,
            );
        }
    }

    fn counts(&self) -> Line<'static> {
        let due = self.total.get(Count::Due);
        let mut spans = vec![Span::raw(format!("notifications due {due}"))];
        let wrong = [Count::Missed, Count::Doubled, Count::OutOfOrder, Count::CrossUser];
        let wrong = wrong.map(|count| (count.word().replace('_', " "), self.total.get(count)));
        for (word, times) in wrong
            .into_iter()
            .chain([("errors".to_owned(), self.total.errors())])
        {
            let span = Span::raw(format!("  {word} {times}"));
            spans.push(if times > 0 { span.red().bold() } else { span });
        }
        Line::from(spans)
    }

    fn judged(&self) -> Vec<Line<'static>> {
        let mut judged: Vec<_> = self
            .thresholds
            .iter()
            .map(|threshold| {
                (
                    threshold.may_still_hold(&self.total),
                    threshold.judge(&self.total, &self.intent),
                )
            })
            .collect();
        judged.sort_by_key(|(may_still_hold, _)| *may_still_hold);
        let hidden = judged.len().saturating_sub(THRESHOLDS);
        if hidden > 0 {
            judged.truncate(THRESHOLDS - 1);
        }
        let mut lines: Vec<_> = judged
            .iter()
            .map(|(may_still_hold, judged)| {
                let mark = match (judged.outcome, may_still_hold) {
                    (Outcome::Held, _) => "✓ ".green(),
                    (Outcome::NotMeasured, _) | (Outcome::Missed, true) => "· ".dim(),
                    (Outcome::Missed, false) => "✗ ".red().bold(),
                };
                Line::from(vec![
                    mark,
                    Span::raw(format!("{}  ", judged.threshold)),
                    format!("seen {}", judged.seen).dim(),
                ])
            })
            .collect();
        if hidden > 0 {
            lines.push(Line::from(format!("  and {} more", hidden + 1)).dim());
        }
        lines
    }

    fn generator(&self) -> Line<'static> {
        let lag = self.total.metric(Metric::Lag);
        let lag = lag.map(|histogram| histogram.quantile(0.99));
        let text = format!(
            "generator: {:.0} % of a core at most, p99 of its own lag {}",
            self.cpu * 100.0,
            lag.map_or_else(|| "–".to_owned(), shown)
        );
        let line = Line::from(text);
        if lag.is_some_and(|lag| lag > self.lag) {
            line.yellow().bold()
        } else {
            line.dim()
        }
    }
}

fn table_line(name: &str, numbers: &[String]) -> Line<'static> {
    let mut text = format!("{name:<width$}", width = usize::from(NAME));
    for number in numbers {
        write!(text, "{number:>width$}", width = usize::from(NUMBER)).ok();
    }
    Line::from(text)
}

#[cfg(test)]
mod tests {
    use polytab_load::result::{Interval, Packed};
    use ratatui::{backend::TestBackend, buffer::Buffer};

    use super::*;

    fn seen() -> Seen {
        let rows = [
            What::Users,
            What::Tabs,
            What::Rate(Count::Received),
            What::Metric(Metric::Fanout),
        ];
        let thresholds = [
            "missed == 0",
            "opened >= 100",
            "fanout.p99 < 5s",
            "reply.p99 < 1s",
        ];
        Seen {
            about: "steady: up to 50 users for 2 min on the reference server, seed 1".to_owned(),
            phases: vec!["arrive".to_owned(), "steady".to_owned()],
            length: 120.0,
            rows: rows.into_iter().map(Row::new).collect(),
            thresholds: thresholds.iter().map(|text| text.parse().unwrap()).collect(),
            intent: Intent::default(),
            lag: Duration::from_millis(10),
            at: 0.0,
            phase: 0,
            cpu: 0.0,
            recent: VecDeque::new(),
            total: Tally::default(),
        }
    }

    fn go_on(seen: &mut Seen, stretches: u32) {
        let mut total = seen.total.clone();
        for nth in 1..=stretches {
            let mut tally = Tally::default();
            tally.add_count(Count::Received, u64::from(nth) * 3);
            tally.add_count(Count::Opened, 1);
            tally.add_count(Count::Due, 1);
            tally.add_count(Count::Notified, u64::from(nth > 1));
            tally.add_count(Count::Missed, u64::from(nth == 1));
            tally.record(Metric::Fanout, Duration::from_millis(u64::from(nth) * 100));
            tally.record(Metric::Lag, Duration::from_micros(300));
            total.add(&tally);
            let interval = Interval {
                from_s: f64::from(nth) - 1.0,
                to_s: f64::from(nth),
                phase: usize::from(nth > 10),
                users: nth.into(),
                tabs: u64::from(nth) * 2,
                seen: Packed::default(),
            };
            seen.add(&Progress {
                interval: &interval,
                tally: &tally,
                total: &total,
                cpu: 0.25,
            });
        }
    }

    fn drawn(seen: &Seen, width: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, seen.height())).unwrap();
        terminal.draw(|frame| seen.draw(frame)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &Buffer) -> String {
        let width = usize::from(buffer.area.width);
        let cells: Vec<_> = buffer
            .content()
            .iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        let lines = cells
            .chunks(width)
            .map(|line| line.concat().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_run_is_told_at_a_glance() {
        let mut seen = seen();
        go_on(&mut seen, 30);

        insta::assert_snapshot!(text(&drawn(&seen, 100)));
    }

    #[test]
    fn any_terminal_is_drawn_on() {
        let mut seen = seen();
        let empty = text(&drawn(&seen, 100));
        assert!(empty.contains("· opened >= 100"), "{empty}");
        go_on(&mut seen, 300);

        for width in [1, 10, 60, 79, 400] {
            drawn(&seen, width);
        }
    }
}
