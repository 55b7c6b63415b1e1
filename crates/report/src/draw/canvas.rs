//! The SVG under every drawing: elements, escaped text, and the style sheet.

use std::fmt::Write;

/// The size of ordinary text, in user units.
pub(crate) const FONT: f64 = 12.0;
/// The size of titles.
pub(crate) const TITLE_FONT: f64 = 15.0;
/// Space around everything.
pub(crate) const MARGIN: f64 = 16.0;

/// Okabe and Ito's palette for colour-blind readers, adapted to each ground:
/// (on light, on dark).
const SERIES: [(&str, &str); 8] = [
    ("#0062a8", "#5ab0f0"),
    ("#c44f00", "#f0904a"),
    ("#007a58", "#33bd92"),
    ("#a8488a", "#d98cbf"),
    ("#8a6d00", "#d9b93a"),
    ("#3a7ca5", "#86c6e8"),
    ("#5b5b5b", "#b5b5b5"),
    ("#b3261e", "#f2857d"),
];

/// How many series colours there are; a further series begins again.
pub(crate) const SERIES_COLOURS: usize = SERIES.len();

/// Where a text stands relative to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// An SVG in the making.
pub(crate) struct Canvas {
    body: String,
    width: f64,
    height: f64,
}

impl Canvas {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { body: String::new(), width, height }
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let (x1, y1, x2, y2) = (short(from.0), short(from.1), short(to.0), short(to.1));
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#
        ));
    }

    /// A rectangle; `inside` is put into it, `<title>` for one, and must be escaped.
    pub(crate) fn rectangle(
        &mut self,
        class: &str,
        place: (f64, f64),
        size: (f64, f64),
        opacity: f64,
        inside: &str,
    ) {
        let (x, y, w, h) = (short(place.0), short(place.1), short(size.0), short(size.1));
        let opacity = if opacity < 1.0 {
            format!(r#" fill-opacity="{}""#, short(opacity))
        } else {
            String::new()
        };
        self.push(format_args!(
            r#"<rect class="{class}" x="{x}" y="{y}" width="{w}" height="{h}"{opacity}>{inside}</rect>"#
        ));
    }

    pub(crate) fn circle(&mut self, class: &str, centre: (f64, f64), radius: f64) {
        let (x, y, r) = (short(centre.0), short(centre.1), short(radius));
        self.push(format_args!(r#"<circle class="{class}" cx="{x}" cy="{y}" r="{r}"/>"#));
    }

    pub(crate) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut data = String::with_capacity(points.len() * 12);
        for (place, (x, y)) in points.iter().enumerate() {
            data.push(if place == 0 { 'M' } else { 'L' });
            data.push_str(&short(*x));
            data.push(' ');
            data.push_str(&short(*y));
        }
        self.push(format_args!(r#"<path class="{class}" d="{data}"/>"#));
    }

    /// A smooth line through points, level where it passes each.
    pub(crate) fn flow(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut data = String::with_capacity(points.len() * 24);
        let mut last = None;
        for (x, y) in points {
            match last {
                None => data.push_str(&format!("M{} {}", short(*x), short(*y))),
                Some((from, level)) => {
                    let middle = short(f64::midpoint(from, *x));
                    let (level, x, y) = (short(level), short(*x), short(*y));
                    data.push_str(&format!("C{middle} {level} {middle} {y} {x} {y}"));
                }
            }
            last = Some((*x, *y));
        }
        self.push(format_args!(r#"<path class="{class}" d="{data}"/>"#));
    }

    pub(crate) fn text(&mut self, class: &str, place: (f64, f64), anchor: Anchor, text: &str) {
        let (x, y) = (short(place.0), short(place.1));
        let anchor = anchor_attribute(anchor);
        let text = escape(text);
        self.push(format_args!(r#"<text class="{class}" x="{x}" y="{y}"{anchor}>{text}</text>"#));
    }

    /// Text turned by `degrees` around its place.
    pub(crate) fn turned_text(
        &mut self,
        class: &str,
        place: (f64, f64),
        degrees: i32,
        anchor: Anchor,
        text: &str,
    ) {
        let (x, y) = (short(place.0), short(place.1));
        let anchor = anchor_attribute(anchor);
        let text = escape(text);
        self.push(format_args!(
            r#"<text class="{class}" transform="translate({x} {y}) rotate({degrees})"{anchor}>{text}</text>"#
        ));
    }

    /// A raster image, shown with its pixels as squares.
    pub(crate) fn image(&mut self, place: (f64, f64), size: (f64, f64), data_uri: &str) {
        let (x, y, w, h) = (short(place.0), short(place.1), short(size.0), short(size.1));
        self.push(format_args!(
            r#"<image class="pixels" x="{x}" y="{y}" width="{w}" height="{h}" preserveAspectRatio="none" href="{data_uri}"/>"#
        ));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    /// The finished file. `title` is what a screen reader says.
    pub(crate) fn finish(self, title: &str) -> String {
        let Self { body, width, height } = self;
        let (w, h) = (short(width.ceil()), short(height.ceil()));
        let title = escape(title);
        let style = style_sheet();
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{title}">
<title>{title}</title>
<style>{style}</style>
<rect class="ground" width="{w}" height="{h}"/>
{body}</svg>
"#
        )
    }
}

fn anchor_attribute(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Start => "",
        Anchor::Middle => r#" text-anchor="middle""#,
        Anchor::End => r#" text-anchor="end""#,
    }
}

fn style_sheet() -> String {
    let mut light = String::from(
        "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1d2330}\
         .title{font-size:15px;font-weight:600}.quiet{fill:#5c6577}.inverse{fill:#ffffff}\
         .small{font-size:10px}.ground{fill:#ffffff}.grid{stroke:#e3e6ec}.axis{stroke:#8b93a3}\
         .guide{stroke:#8b93a3;stroke-dasharray:5 4;fill:none}.heat{fill:#1f5fbf}\
         .positive{fill:#0062a8}.negative{fill:#b3261e}.error{stroke:#1d2330;stroke-width:1.2}\
         .frame{fill:none;stroke:#c3c9d4}.curve{fill:none;stroke-width:2;stroke-linejoin:round}\
         .dashed{stroke-dasharray:6 4}.pixels{image-rendering:pixelated}",
    );
    let mut dark = String::from(
        "text{fill:#e4e7ee}.quiet{fill:#9aa3b5}.inverse{fill:#ffffff}.ground{fill:#15181f}\
         .grid{stroke:#2a2f3a}.axis{stroke:#6b7385}.guide{stroke:#6b7385}.heat{fill:#3f86ea}\
         .positive{fill:#5ab0f0}.negative{fill:#f2857d}.error{stroke:#e4e7ee}\
         .frame{stroke:#3a4150}",
    );
    for (place, (on_light, on_dark)) in SERIES.iter().enumerate() {
        for (sheet, colour) in [(&mut light, on_light), (&mut dark, on_dark)] {
            // Writing to a String cannot fail.
            let _ = write!(sheet, ".s{place}{{stroke:{colour}}}.f{place}{{fill:{colour}}}");
        }
    }
    format!("{light}@media (prefers-color-scheme:dark){{{dark}}}")
}

/// A coordinate with at most two decimals.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text made safe inside an element or an attribute; characters that XML forbids are dropped.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => safe.push(c),
        }
    }
    safe
}

/// About how wide a text is. Fonts differ; an average is enough to keep labels apart.
pub(crate) fn text_width(text: &str, font: f64) -> f64 {
    text.chars().count() as f64 * font * 0.56
}

/// At most `limit` characters of a text, the last an ellipsis where something is cut.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(
            escape("<script>&\"'\u{0}\n</script>"),
            "&lt;script&gt;&amp;&quot;&#39; &lt;/script&gt;"
        );
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(short(1.0), "1");
        assert_eq!(short(0.126), "0.13");
        assert_eq!(short(-0.001), "0");
        assert_eq!(short(f64::NAN), "0");
    }
}
