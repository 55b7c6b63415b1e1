//! Curves in a terminal: a sparkline of eight levels, and a plot of braille dots.

/// One character a value, from the lowest to the highest. A series longer than `width` is
/// averaged down to it; what is not finite leaves a gap.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = shrink(values, width);
    let Some((low, high)) = range(&values) else {
        return String::new();
    };
    values
        .iter()
        .map(|&value| {
            if !value.is_finite() {
                return ' ';
            }
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            LEVELS[((share * 7.0).round() as usize).min(7)]
        })
        .collect()
}

/// The series averaged down to at most `width` values.
fn shrink(values: &[f64], width: usize) -> Vec<f64> {
    if values.len() <= width || width == 0 {
        return values.to_vec();
    }
    (0..width)
        .map(|place| {
            let from = place * values.len() / width;
            let to = ((place + 1) * values.len() / width).max(from + 1);
            let part: Vec<f64> =
                values[from..to].iter().copied().filter(|value| value.is_finite()).collect();
            if part.is_empty() { f64::NAN } else { part.iter().sum::<f64>() / part.len() as f64 }
        })
        .collect()
}

fn range(values: &[f64]) -> Option<(f64, f64)> {
    values.iter().filter(|value| value.is_finite()).fold(None, |range, &value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// What a plot shows of the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    /// The frame around all of these; `None` if no point is finite.
    fn around<'a>(points: impl Iterator<Item = &'a (f64, f64)> + Clone) -> Option<Self> {
        let finite = || points.clone().filter(|(x, y)| x.is_finite() && y.is_finite());
        let xs: Vec<f64> = finite().map(|point| point.0).collect();
        let ys: Vec<f64> = finite().map(|point| point.1).collect();
        Some(Self { x: range(&xs)?, y: range(&ys)? })
    }

    /// The labels of the y axis, highest first.
    fn labels(&self) -> [String; 2] {
        [super::human::number(self.y.1), super::human::number(self.y.0)]
    }
}

/// A plot of points `(x, y)`, sorted by x, drawn in braille: two dots across and four down in
/// each character. Gives `height` lines for the curve and one for the x axis; none if no point
/// is finite.
pub fn plot(points: &[(f64, f64)], width: usize, height: usize) -> Vec<String> {
    let Some(frame) = Frame::around(points.iter()) else { return Vec::new() };
    let labels = frame.labels();
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(margin + 3).max(8);
    let mut lines: Vec<String> = curve(points, frame, columns, height)
        .into_iter()
        .enumerate()
        .map(|(row, curve)| {
            let label = label_of_row(&labels, row, height);
            format!("{label:>margin$} ┤{}", curve.trim_end_matches('\u{2800}'))
        })
        .collect();
    lines.push(format!("{:margin$}  {}", "", x_axis(frame, columns)));
    lines
}

/// Plots beside each other, each with a title, all on the same scale, so that they can be
/// compared; as many in a row as are still readable. A curve without a finite point leaves its
/// place empty.
pub fn side_by_side(
    curves: &[(String, Vec<(f64, f64)>)],
    width: usize,
    height: usize,
) -> Vec<String> {
    /// The columns that a curve needs at the least, and those between two.
    const LEAST: usize = 18;
    const GAP: usize = 3;
    let all = curves.iter().flat_map(|(_, points)| points);
    let Some(frame) = Frame::around(all) else { return Vec::new() };
    let labels = frame.labels();
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let room = width.saturating_sub(margin + 2);
    let in_a_row = ((room + GAP) / (LEAST + GAP)).clamp(1, curves.len().max(1));
    let columns = ((room + GAP) / in_a_row).saturating_sub(GAP).max(8);
    let mut lines = Vec::new();
    for row_of_plots in curves.chunks(in_a_row) {
        let gap = " ".repeat(GAP);
        let titles: Vec<String> = row_of_plots
            .iter()
            .map(|(title, _)| {
                let title: String = title.chars().take(columns).collect();
                format!("{title:columns$}")
            })
            .collect();
        lines.push(format!("{:margin$}  {}", "", titles.join(&gap)).trim_end().to_owned());
        let drawn: Vec<Vec<String>> =
            row_of_plots.iter().map(|(_, points)| curve(points, frame, columns, height)).collect();
        for row in 0..height {
            let parts: Vec<&str> = drawn.iter().map(|lines| lines[row].as_str()).collect();
            let label = label_of_row(&labels, row, height);
            let line = format!("{label:>margin$} ┤{}", parts.join(&gap));
            lines.push(line.trim_end_matches(['\u{2800}', ' ']).to_owned());
        }
        let axes = vec![x_axis(frame, columns); row_of_plots.len()];
        lines.push(format!("{:margin$}  {}", "", axes.join(&gap)));
    }
    lines
}

fn label_of_row(labels: &[String; 2], row: usize, height: usize) -> &str {
    match row {
        0 => &labels[0],
        row if row + 1 == height => &labels[1],
        _ => "",
    }
}

/// The ends of the x axis, `columns` wide.
fn x_axis(frame: Frame, columns: usize) -> String {
    let (from, to) = (super::human::number(frame.x.0), super::human::number(frame.x.1));
    let gap = columns.saturating_sub(from.chars().count() + to.chars().count());
    format!("{from}{}{to}", " ".repeat(gap))
}

/// The lines of a curve, each `columns` characters.
fn curve(points: &[(f64, f64)], frame: Frame, columns: usize, height: usize) -> Vec<String> {
    let (dots_across, dots_down) = (columns * 2, height * 4);
    let scale = |value: f64, (from, to): (f64, f64), dots: usize| {
        let share = if to > from { (value - from) / (to - from) } else { 0.5 };
        (share * (dots - 1) as f64).round() as usize
    };
    let mut dots = vec![vec![false; dots_across]; dots_down];
    let place = |(x, y): (f64, f64)| {
        (scale(x, frame.x, dots_across), dots_down - 1 - scale(y, frame.y, dots_down))
    };
    let points: Vec<(f64, f64)> =
        points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    for pair in points.windows(2) {
        draw_line(&mut dots, place(pair[0]), place(pair[1]));
    }
    if let [only] = points.as_slice() {
        let (column, row) = place(*only);
        dots[row][column] = true;
    }
    (0..height)
        .map(|row| (0..columns).map(|column| braille(&dots, column * 2, row * 4)).collect())
        .collect()
}

/// The dots of a line between two places, by Bresenham's algorithm.
fn draw_line(dots: &mut [Vec<bool>], from: (usize, usize), to: (usize, usize)) {
    let (mut x, mut y) = (from.0 as i64, from.1 as i64);
    let (end_x, end_y) = (to.0 as i64, to.1 as i64);
    let (across, down) = ((end_x - x).abs(), -(end_y - y).abs());
    let (step_x, step_y) = ((end_x - x).signum(), (end_y - y).signum());
    let mut error = across + down;
    loop {
        dots[y as usize][x as usize] = true;
        if (x, y) == (end_x, end_y) {
            return;
        }
        let doubled = 2 * error;
        if doubled >= down {
            error += down;
            x += step_x;
        }
        if doubled <= across {
            error += across;
            y += step_y;
        }
    }
}

/// The braille character of the 2 × 4 dots whose upper left is at (`column`, `row`).
fn braille(dots: &[Vec<bool>], column: usize, row: usize) -> char {
    const BITS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
    let mut bits = 0;
    for (down, row_bits) in BITS.iter().enumerate() {
        for (across, bit) in row_bits.iter().enumerate() {
            if dots[row + down][column + across] {
                bits |= bit;
            }
        }
    }
    char::from_u32(0x2800 + bits).unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_goes_from_lowest_to_highest() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 20), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[3.0], 20), "▅");
        assert_eq!(sparkline(&[1.0, f64::NAN, 2.0], 20), "▁ █");
        assert_eq!(sparkline(&[], 20), "");
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(sparkline(&long, 8), "▁▂▃▄▅▆▇█");
    }

    #[test]
    fn a_plot_has_its_labels_at_the_ends() {
        let points: Vec<_> = (0..10).map(|x| (f64::from(x), f64::from(x * x))).collect();
        let lines = plot(&points, 40, 6);
        assert_eq!(lines.len(), 7);
        assert!(lines[0].starts_with("81 ┤"), "{lines:?}");
        assert!(lines[5].starts_with(" 0 ┤"), "{lines:?}");
        assert!(lines[6].trim_start().starts_with('0') && lines[6].ends_with('9'), "{lines:?}");
        assert!(plot(&[(0.0, f64::NAN)], 40, 6).is_empty());
        assert_eq!(plot(&[(0.0, 1.0)], 40, 4).len(), 5);
    }

    #[test]
    fn plots_beside_each_other_share_a_scale_and_keep_to_the_width() {
        let curve = |name: &str, factor: f64| {
            let points = (0..10).map(|x| (f64::from(x), f64::from(x) * factor)).collect();
            (name.to_owned(), points)
        };
        let lines = side_by_side(&[curve("A", 1.0), curve("B", 2.0)], 60, 4);
        assert_eq!(lines.len(), 6, "{lines:?}");
        assert!(lines[0].contains('A') && lines[0].ends_with('B'), "{lines:?}");
        assert!(lines[1].starts_with("18 ┤"), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:?}");
        // Five do not fit beside each other.
        let five: Vec<_> = ["A", "B", "C", "D", "E"].map(|name| curve(name, 1.0)).into();
        let lines = side_by_side(&five, 60, 4);
        assert_eq!(lines.len(), 18, "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:?}");
        assert!(side_by_side(&[("A".to_owned(), vec![(0.0, f64::NAN)])], 60, 4).is_empty());
    }
}
