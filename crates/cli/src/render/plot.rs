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

/// A plot of points `(x, y)`, sorted by x, drawn in braille: two dots across and four down in
/// each character. Gives `height` lines for the curve and one for the x axis; none if no point
/// is finite.
pub fn plot(points: &[(f64, f64)], width: usize, height: usize) -> Vec<String> {
    let points: Vec<(f64, f64)> =
        points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let xs: Vec<f64> = points.iter().map(|point| point.0).collect();
    let ys: Vec<f64> = points.iter().map(|point| point.1).collect();
    let (Some((left, right)), Some((low, high))) = (range(&xs), range(&ys)) else {
        return Vec::new();
    };
    let labels = [super::human::number(high), super::human::number(low)];
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(margin + 3).max(8);
    let (dots_across, dots_down) = (columns * 2, height * 4);
    let scale = |value: f64, from: f64, to: f64, dots: usize| {
        let share = if to > from { (value - from) / (to - from) } else { 0.5 };
        (share * (dots - 1) as f64).round() as usize
    };
    let mut dots = vec![vec![false; dots_across]; dots_down];
    let place = |(x, y): (f64, f64)| {
        (scale(x, left, right, dots_across), dots_down - 1 - scale(y, low, high, dots_down))
    };
    for pair in points.windows(2) {
        draw_line(&mut dots, place(pair[0]), place(pair[1]));
    }
    if let [only] = points.as_slice() {
        let (column, row) = place(*only);
        dots[row][column] = true;
    }
    let mut lines: Vec<String> = (0..height)
        .map(|row| {
            let label = match row {
                0 => labels[0].as_str(),
                row if row + 1 == height => labels[1].as_str(),
                _ => "",
            };
            let curve: String =
                (0..columns).map(|column| braille(&dots, column * 2, row * 4)).collect();
            format!("{label:>margin$} ┤{}", curve.trim_end_matches('\u{2800}'))
        })
        .collect();
    let (from, to) = (super::human::number(left), super::human::number(right));
    let gap = columns.saturating_sub(from.chars().count() + to.chars().count());
    lines.push(format!("{:margin$}  {from}{}{to}", "", " ".repeat(gap)));
    lines
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
}
