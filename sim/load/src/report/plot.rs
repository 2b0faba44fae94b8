//! Line plots as SVG, drawn once and complete without a script.

use std::fmt::Write;

use super::html::escape;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 34.0;
/// Names above the plot that stand closer than this are left out.
const NAME_GAP: f64 = 56.0;
/// Height of a name.
const NAME_HEIGHT: f64 = 14.0;

/// One line. Points without a value break it.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// What the vertical axis counts.
    pub(super) unit: &'a str,
    /// Names along the horizontal axis, at their places.
    pub(super) ticks: Vec<(f64, String)>,
    /// Stretches with names, as phases are.
    pub(super) bands: Vec<(f64, f64, String)>,
    pub(super) lines: Vec<Line>,
    /// Each factor of ten as high as the next.
    pub(super) is_logarithmic: bool,
}

impl Plot<'_> {
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        let (from, to) = self.range();
        let (least, most) = self.values();
        let x = |value: f64| LEFT + (value - from) / (to - from).max(1e-9) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| {
            let part = if self.is_logarithmic {
                (value.max(least).ln() - least.ln()) / (most.ln() - least.ln()).max(1e-9)
            } else {
                value / most.max(1e-9)
            };
            HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
        };
        write!(
            svg,
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(self.title),
            escape(self.title)
        )
        .ok();
        self.bands(&mut svg, &x);
        for value in self.grid(least, most) {
            let at = y(value);
            write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"axis\" \
                 x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                escape(&self.value(value))
            )
            .ok();
        }
        for (nth, (at, name)) in self.ticks.iter().enumerate() {
            // The last one ends where the plot does, beside which the names of lines stand.
            let anchor = if nth + 1 == self.ticks.len() {
                "end"
            } else {
                "middle"
            };
            write!(
                svg,
                "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                x(*at),
                HEIGHT - BOTTOM + 18.0,
                escape(name)
            )
            .ok();
        }
        self.lines(&mut svg, &x, &y);
        svg.push_str("</svg></figure>");
        svg
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let all = self.lines.iter().flat_map(|line| &line.points);
        all.filter_map(|(at, value)| Some((*at, (*value)?)))
    }

    fn range(&self) -> (f64, f64) {
        let bands = self.bands.iter().flat_map(|(from, to, _)| [*from, *to]);
        let all = self
            .points()
            .map(|(at, _)| at)
            .chain(bands)
            .chain(self.ticks.iter().map(|(at, _)| *at));
        let (from, to) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), at| {
            (from.min(at), to.max(at))
        });
        if from < to { (from, to) } else { (0.0, 1.0) }
    }

    /// Bounds of the vertical axis.
    fn values(&self) -> (f64, f64) {
        let most = self.points().map(|(_, value)| value).fold(0.0, f64::max);
        if !self.is_logarithmic {
            return (0.0, nice(most));
        }
        let positive = self.points().map(|(_, value)| value).filter(|value| *value > 0.0);
        let least = positive.fold(f64::INFINITY, f64::min);
        if !least.is_finite() {
            return (1.0, 10.0);
        }
        let power = |value: f64| 10_f64.powf(value);
        let (low, high) = (power(least.log10().floor()), power(most.log10().ceil()));
        (low, if high > low { high } else { low * 10.0 })
    }

    fn grid(&self, least: f64, most: f64) -> Vec<f64> {
        if self.is_logarithmic {
            let powers = std::iter::successors(Some(least), |value| Some(value * 10.0));
            return powers.take_while(|value| *value <= most * 1.001).collect();
        }
        (0..=4).map(|part| most * f64::from(part) / 4.0).collect()
    }

    fn value(&self, value: f64) -> String {
        if self.unit == "time" {
            crate::threshold::shown(std::time::Duration::from_secs_f64(value / 1e3))
        } else if value >= 1e6 {
            format!("{:.1} M", value / 1e6)
        } else if value >= 1e4 {
            format!("{:.0} k", value / 1e3)
        } else if value.fract() < 1e-6 {
            format!("{value:.0}")
        } else {
            format!("{value:.1}")
        }
    }

    fn bands(&self, svg: &mut String, x: &dyn Fn(f64) -> f64) {
        let mut last = f64::NEG_INFINITY;
        for (nth, (from, to, name)) in self.bands.iter().enumerate() {
            let (left, right) = (x(*from), x(*to));
            let class = if nth % 2 == 0 { "band" } else { "band odd" };
            write!(
                svg,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                (right - left).max(0.0),
                HEIGHT - TOP - BOTTOM,
                escape(name)
            )
            .ok();
            // About seven units for a letter.
            let room = (1..200_u16).find(|letters| f64::from(*letters) * 7.0 >= (right - left).max(NAME_GAP));
            let room = usize::from(room.unwrap_or(200));
            if left >= last + NAME_GAP {
                last = left.max(right - NAME_GAP);
                // A name that does not fit is told by its number, by which the table of phases finds it.
                let short = if name.chars().count() > room {
                    format!("{}.", nth + 1)
                } else {
                    name.clone()
                };
                write!(
                    svg,
                    "<text class=\"phase\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    left + 2.0,
                    TOP - 7.0,
                    escape(&short)
                )
                .ok();
            }
        }
    }

    fn lines(&self, svg: &mut String, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) {
        let mut ends: Vec<(f64, usize)> = Vec::new();
        for (nth, line) in self.lines.iter().enumerate() {
            let mut path = String::new();
            let mut is_open = false;
            let mut end = None;
            for (at, value) in &line.points {
                let Some(value) = value else {
                    is_open = false;
                    continue;
                };
                let letter = if is_open { 'L' } else { 'M' };
                is_open = true;
                // A point that stands alone is drawn as a dot, by the round ends of its line.
                write!(path, "{letter}{:.1} {:.1}", x(*at), y(*value)).ok();
                if letter == 'M' {
                    path.push_str("h0");
                }
                end = Some(y(*value));
            }
            write!(
                svg,
                "<path class=\"line c{nth}\" d=\"{path}\"><title>{}</title></path>",
                escape(&line.name)
            )
            .ok();
            ends.extend(end.map(|end| (end, nth)));
        }
        // Names beside the ends of their lines, pushed apart where they would meet, and kept beside the plot.
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut last = f64::NEG_INFINITY;
        for (at, _) in &mut ends {
            *at = at.max(last + NAME_HEIGHT);
            last = *at;
        }
        let mut lowest = HEIGHT - BOTTOM + NAME_HEIGHT;
        for (at, nth) in ends.into_iter().rev() {
            let at = at.min(lowest - NAME_HEIGHT);
            lowest = at;
            write!(
                svg,
                "<text class=\"name t{nth}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT + 8.0,
                at + 4.0,
                escape(&self.lines[nth].name)
            )
            .ok();
        }
    }
}

/// The next number that is easy to divide.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let step = steps
        .into_iter()
        .find(|step| step * power >= value)
        .unwrap_or(10.0);
    // A count has no fractions.
    if power < 1.0 {
        (step * power).max(1e-9)
    } else {
        step * power
    }
}
