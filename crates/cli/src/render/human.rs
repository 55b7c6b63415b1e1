//! Numbers, sizes and times for people.

use std::time::Duration;

use serde_json::Value;
use wick_core::{Exit, FailureCause, Timestamp};

/// The time now: the one place where the command line looks at the clock.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// `text` as one word of a shell's line, for commands that people are to copy.
pub fn shell_word(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@%+=,".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `85 ms`, `4.2 s`, `1 min 52 s`, `3 h 04 min`, `2 d 3 h`.
pub fn micros(micros: i64) -> String {
    let micros = micros.max(0);
    let seconds = micros as f64 / 1e6;
    let whole = (micros + 500_000) / 1_000_000;
    if micros < 999_500 {
        format!("{} ms", (micros + 500) / 1000)
    } else if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if whole < 60 {
        format!("{whole} s")
    } else if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else if whole < 86_400 {
        format!("{} h {:02} min", whole / 3600, whole / 60 % 60)
    } else {
        format!("{} d {} h", whole / 86_400, whole / 3600 % 24)
    }
}

/// How long ago a moment was: `just now`, `5 min ago`; a date when it is more than a week.
pub fn ago(moment: Timestamp, now: Timestamp) -> String {
    let seconds = now.micros_since(moment) / 1_000_000;
    match seconds {
        ..5 => "just now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..604_800 => format!("{} d ago", seconds / 86_400),
        _ => moment.to_string()[..10].to_owned(),
    }
}

/// `512 B`, `4.2 kB`, `11.4 MB`: decimal, as disks are sold.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A whole number with its thousands apart: `54,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A measured number with four significant digits: `0.9812`, `31.42`, `1.200e-5`; whole numbers
/// as they are.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e15 {
        let text = count(size as u64);
        return if value < 0.0 { format!("-{text}") } else { text };
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let before_point = size.log10().floor() as i32 + 1;
    let decimals = (4 - before_point).clamp(0, 7) as usize;
    format!("{value:.decimals$}")
}

/// A JSON value on one line; text without its quotes.
pub fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// At most `limit` characters of a text, the last an ellipsis where something is cut.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `1 stage`, `2 stages`.
pub fn plural(number: usize, word: &str) -> String {
    let number_text = count(number as u64);
    if number == 1 { format!("{number_text} {word}") } else { format!("{number_text} {word}s") }
}

/// `1 run stays`, `2 runs stay`.
pub fn stay(number: usize, word: &str) -> String {
    format!("{} {}", plural(number, word), if number == 1 { "stays" } else { "stay" })
}

/// A float as JSON keeps it: NaN and infinities as text, as everywhere in Candlewick.
pub fn json_number(value: f64) -> Value {
    if value.is_finite() {
        Value::from(value)
    } else if value.is_nan() {
        Value::from("NaN")
    } else {
        Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" })
    }
}

/// How a process ended, in words.
pub fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(126) => "exit code 126: the program could not be executed".to_owned(),
        Exit::Code(127) => "exit code 127: the program was not found".to_owned(),
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("killed by signal {signal} ({})", signal_name(signal)),
    }
}

/// Signals by their Linux numbers.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP, its terminal closed",
        2 => "SIGINT, Ctrl-C",
        3 => "SIGQUIT",
        4 => "SIGILL, an illegal instruction",
        6 => "SIGABRT, it aborted itself",
        7 => "SIGBUS, a mapped file shrank or the disk failed",
        8 => "SIGFPE, an arithmetic error",
        9 => "SIGKILL, killed by force, perhaps for lack of memory",
        11 => "SIGSEGV, an invalid memory access",
        13 => "SIGPIPE, its output was closed",
        15 => "SIGTERM, asked to end",
        24 => "SIGXCPU, out of processor time",
        25 => "SIGXFSZ, a file grew too large",
        _ => "unknown",
    }
}

/// What sort of failure it was, in words.
pub const fn cause(cause: FailureCause) -> &'static str {
    match cause {
        FailureCause::Exit => "the program failed",
        FailureCause::Signal => "a signal killed it",
        FailureCause::OutOfMemory => "out of memory",
        FailureCause::Timeout => "out of time",
        FailureCause::Gate => "a gate was not met",
        FailureCause::Data => "the data is not as expected",
        FailureCause::Config => "the configuration cannot work",
        FailureCause::Io => "the machine refused",
        FailureCause::Output => "an output is missing or wrong",
        FailureCause::Spawn => "the program could not be started",
        FailureCause::Internal => "a defect of wick",
    }
}

/// Text that others wrote, without what a terminal would obey; it may have several lines.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_others_wrote() {
        assert_eq!(harmless("two\nlines\u{1b}[31m\r\u{9b}"), "two\nlines [31m  ");
    }

    #[test]
    fn words_of_a_command_survive_the_shell() {
        assert_eq!(shell_word("/a/b-c.yaml"), "/a/b-c.yaml");
        assert_eq!(shell_word("my project"), "'my project'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn durations_are_short() {
        #[track_caller]
        fn check(given: i64, expect: &str) {
            assert_eq!(micros(given), expect);
        }
        check(-4, "0 ms");
        check(84_600, "85 ms");
        check(999_499, "999 ms");
        check(999_600, "1.0 s");
        check(4_230_000, "4.2 s");
        check(59_400_000, "59 s");
        check(59_600_000, "1 min 00 s");
        check(112_000_000, "1 min 52 s");
        check(11_040_000_000, "3 h 04 min");
        check(183_600_000_000, "2 d 3 h");
    }

    #[test]
    fn sizes_are_decimal() {
        #[track_caller]
        fn check(given: u64, expect: &str) {
            assert_eq!(bytes(given), expect);
        }
        check(0, "0 B");
        check(999, "999 B");
        check(1000, "1.0 kB");
        check(11_400_000, "11 MB");
        check(999_600, "1.0 MB");
        check(2_500_000_000, "2.5 GB");
    }

    #[test]
    fn numbers_have_four_digits() {
        #[track_caller]
        fn check(given: f64, expect: &str) {
            assert_eq!(number(given), expect);
        }
        check(0.0, "0");
        check(0.981_234, "0.9812");
        check(0.012_341, "0.01234");
        check(31.4159, "31.42");
        check(54_000.0, "54,000");
        check(-12.5, "-12.50");
        check(0.000_012, "1.200e-5");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-∞");
    }

    #[test]
    fn the_past_is_told_by_its_distance() {
        let now = Timestamp(1_000_000_000_000_000);
        let before = |seconds: i64| Timestamp(now.0 - seconds * 1_000_000);
        assert_eq!(ago(before(2), now), "just now");
        assert_eq!(ago(before(59), now), "59 s ago");
        assert_eq!(ago(before(300), now), "5 min ago");
        assert_eq!(ago(before(7200), now), "2 h ago");
        assert_eq!(ago(before(2_000_000), now), before(2_000_000).to_string()[..10]);
    }
}
