//! "Did you mean": the nearest of a closed set of names.

/// The longest list of names that is shown in full.
const MAX_LISTED: usize = 12;

/// The name in `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let length = lower.chars().count();
    known
        .into_iter()
        .filter_map(|candidate| {
            let candidate_lower = candidate.to_lowercase();
            let candidate_length = candidate_lower.chars().count();
            let longest = length.max(candidate_length);
            // A third of the letters may differ; of two or three letters, one.
            let allowed = (longest / 3).max(1);
            if length.abs_diff(candidate_length) <= allowed {
                let distance = strsim::damerau_levenshtein(&lower, &candidate_lower);
                if distance <= allowed && distance < longest {
                    return Some((distance, candidate));
                }
            }
            begins_alike(&lower, &candidate_lower).then_some((allowed + 1, candidate))
        })
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// Whether one is the start of the other, or the same but for `_` and `-`: `maxpool2d` for
/// `max_pool2d`, `learn` for `learning_rate`.
fn begins_alike(a: &str, b: &str) -> bool {
    if a.chars().next() != b.chars().next() {
        return false;
    }
    let reduced = |text: &str| text.replace(['-', '_', ' '], "");
    let (a, b) = (reduced(a), reduced(b));
    a == b || (a.len() >= 4 && b.starts_with(&a)) || (b.len() >= 4 && a.starts_with(&b))
}

/// "did you mean `x`?" for `name` among `known`; where none is near, the list of what is known
/// if it is short.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(nearest) = nearest(name, known.iter().copied()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    match known.as_slice() {
        [] => None,
        [only] => Some(format!("there is only `{only}`")),
        all if all.len() <= MAX_LISTED => Some(format!("there are {}", list(all))),
        _ => None,
    }
}

/// `a`, `b` and `c`, each in backticks.
pub fn list<T: AsRef<str>>(names: &[T]) -> String {
    join(names, "and")
}

/// `a`, `b` or `c`, each in backticks.
pub fn alternatives<T: AsRef<str>>(names: &[T]) -> String {
    join(names, "or")
}

fn join<T: AsRef<str>>(names: &[T], word: &str) -> String {
    let mut text = String::new();
    for (place, name) in names.iter().enumerate() {
        if place > 0 {
            text.push_str(if place + 1 == names.len() { " " } else { ", " });
            if place + 1 == names.len() {
                text.push_str(word);
                text.push(' ');
            }
        }
        text.push('`');
        text.push_str(name.as_ref());
        text.push('`');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        #[track_caller]
        fn check(name: &str, known: &[&str], expect: Option<&str>) {
            assert_eq!(nearest(name, known.iter().copied()), expect, "{name}");
        }
        let keys = ["batch_size", "learning_rate", "epochs", "max_pool2d"];
        check("epoch", &keys, Some("epochs"));
        check("Epochs", &keys, Some("epochs"));
        check("batchsize", &keys, Some("batch_size"));
        check("learning-rate", &keys, Some("learning_rate"));
        check("learn", &keys, Some("learning_rate"));
        check("maxpool2d", &keys, Some("max_pool2d"));
        check("colour", &keys, None);
        check("lr", &keys, None);
        check("x", &["y"], None);
        check("ab", &["abc"], Some("abc"));
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b"]), "`a` and `b`");
        assert_eq!(alternatives(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
