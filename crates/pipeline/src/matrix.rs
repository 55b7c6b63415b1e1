//! `matrix`: the combinations of values that a stage is written once for.

use serde_json::Value;
use wick_core::id::{MAX_LABEL_LENGTH, check_name, is_label_character};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::node::{Data, Entry, Node};
use crate::span::Span;
use crate::suggest;

/// How many instances a stage may have.
pub const MAX_INSTANCES: usize = 1000;

/// How many axes a matrix may have.
pub const MAX_AXES: usize = 16;

/// How many combinations are looked at for those that `exclude` leaves.
const MAX_COMBINATIONS: usize = 20_000;

/// The values of one instance, by axis.
pub(crate) type Values = Vec<(String, Value)>;

/// An axis: its name and its values.
struct Axis {
    name: String,
    span: Span,
    values: Vec<Value>,
}

/// The combinations that the `matrix` in `entry`, whose references are resolved, stands for: first
/// those of the axes, the last axis fastest, then those that it includes. `None` if it is wrong.
pub(crate) fn read(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Vec<Values>> {
    let errors_before = diagnostics.errors();
    let entries = match &entry.value.data {
        Data::Map(entries) => entries,
        Data::Unknown | Data::Open(_) => return None,
        _ => {
            diagnostics.push(
                fields::wrong_type(&entry.value, "`matrix` must be a mapping")
                    .help("write `matrix: {NAME: [VALUE, VALUE]}`"),
            );
            return None;
        }
    };
    let is_axis = |entry: &&Entry| !matches!(entry.key.as_str(), "include" | "exclude");
    let axes: Vec<Option<Axis>> =
        entries.iter().filter(is_axis).map(|entry| axis(entry, diagnostics)).collect();
    if axes.is_empty() || axes.len() > MAX_AXES {
        diagnostics.push(fields::out_of_range(
            entry.key_span,
            format!("the matrix has {} axes", axes.len()),
            format!("give it from 1 to {MAX_AXES}: `matrix: {{NAME: [VALUE, VALUE]}}`"),
        ));
    }
    let axes = axes.into_iter().collect::<Option<Vec<Axis>>>();
    let axes = axes.filter(|_| diagnostics.errors() == errors_before)?;
    let mut instances = combinations(&axes, entry, diagnostics)?;
    if let Some(exclude) = fields::find(entries, "exclude") {
        for (values, span) in rows(exclude, &axes, diagnostics) {
            let count = instances.len();
            instances.retain(|instance| !values.iter().all(|value| instance.contains(value)));
            if instances.len() == count {
                diagnostics.push(
                    Diagnostic::error("bad-matrix", span, "this excludes nothing")
                        .label("no instance that is left has these values")
                        .help("remove it, or write values of the axes"),
                );
            }
        }
    }
    if let Some(include) = fields::find(entries, "include") {
        for (values, span) in rows(include, &axes, diagnostics) {
            let lacking: Vec<&str> = axes
                .iter()
                .map(|axis| axis.name.as_str())
                .filter(|name| values.iter().all(|(given, _)| given != name))
                .collect();
            if !lacking.is_empty() {
                diagnostics.push(
                    Diagnostic::error(
                        "bad-matrix",
                        span,
                        format!("an included instance lacks {}", suggest::list(&lacking)),
                    )
                    .help("give it a value for every axis"),
                );
                continue;
            }
            // In the axes' order, however it is written.
            let values: Values = axes
                .iter()
                .filter_map(|axis| values.iter().find(|(name, _)| *name == axis.name).cloned())
                .collect();
            if instances.contains(&values) {
                diagnostics.push(
                    Diagnostic::error("bad-matrix", span, "the matrix has this instance already")
                        .help("remove it here"),
                );
                continue;
            }
            instances.push(values);
        }
    }
    if instances.len() > MAX_INSTANCES {
        diagnostics.push(too_many(entry, instances.len()));
    } else if instances.is_empty() && diagnostics.errors() == errors_before {
        diagnostics.push(
            Diagnostic::error("bad-matrix", entry.key_span, "the matrix leaves no instance")
                .help("exclude less"),
        );
    }
    (diagnostics.errors() == errors_before).then_some(instances)
}

fn too_many(entry: &Entry, count: usize) -> Diagnostic {
    Diagnostic::error("too-large", entry.key_span, format!("the matrix has {count} instances"))
        .help(format!("a stage has at most {MAX_INSTANCES}: shorten or exclude"))
}

fn axis(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Axis> {
    if let Err(error) = check_name(&entry.key) {
        diagnostics.push(
            Diagnostic::error(
                "bad-name",
                entry.key_span,
                format!("`{}` cannot name an axis", entry.key),
            )
            .label(error.to_string()),
        );
        return None;
    }
    let items = match &entry.value.data {
        Data::List(items) if !items.is_empty() => items,
        Data::Unknown | Data::Open(_) => return None,
        Data::List(_) => {
            diagnostics.push(
                Diagnostic::error(
                    "bad-matrix",
                    entry.value.span,
                    format!("axis `{}` has no values", entry.key),
                )
                .help("give it at least one"),
            );
            return None;
        }
        other => {
            let help = match other {
                Data::Number(_) | Data::Text(_) | Data::Bool(_) => entry
                    .value
                    .to_json()
                    .map(|value| format!("write `{}: [{}]`", entry.key, plain(&value))),
                _ => None,
            };
            diagnostics.push(
                fields::wrong_type(&entry.value, &format!("axis `{}` must be a list", entry.key))
                    .maybe_help(help),
            );
            return None;
        }
    };
    if items.len() > MAX_INSTANCES {
        diagnostics.push(too_many(entry, items.len()));
        return None;
    }
    let mut values: Vec<Value> = Vec::with_capacity(items.len());
    let mut sound = true;
    for item in items {
        match scalar(item, diagnostics) {
            Some(value) if values.contains(&value) => {
                sound = false;
                diagnostics.push(
                    Diagnostic::error(
                        "bad-matrix",
                        item.span,
                        format!("axis `{}` has {} twice", entry.key, item.describe()),
                    )
                    .help("remove one of them"),
                );
            }
            Some(value) => values.push(value),
            None => sound = false,
        }
    }
    sound.then(|| Axis { name: entry.key.clone(), span: entry.key_span, values })
}

/// A value that can tell instances apart.
fn scalar(node: &Node, diagnostics: &mut Diagnostics) -> Option<Value> {
    match &node.data {
        Data::Text(_) | Data::Number(_) | Data::Bool(_) => node.to_json(),
        Data::Unknown | Data::Open(_) => None,
        _ => {
            diagnostics.push(
                fields::wrong_type(
                    node,
                    "a value of a matrix must be a text, a number, true or false",
                )
                .help("give it a name, and choose by the name in a script or with `when`"),
            );
            None
        }
    }
}

fn combinations(
    axes: &[Axis],
    entry: &Entry,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Values>> {
    let count = axes.iter().try_fold(1usize, |count, axis| count.checked_mul(axis.values.len()));
    match count {
        Some(count) if count <= MAX_COMBINATIONS => {}
        _ => {
            diagnostics.push(too_many(entry, count.unwrap_or(usize::MAX)));
            return None;
        }
    }
    let mut all: Vec<Values> = vec![Vec::with_capacity(axes.len())];
    for axis in axes {
        all = all
            .iter()
            .flat_map(|values| {
                axis.values.iter().map(|value| {
                    let mut values = values.clone();
                    values.push((axis.name.clone(), value.clone()));
                    values
                })
            })
            .collect();
    }
    Some(all)
}

/// The combinations in `include` or `exclude`, each with its place; wrong ones are left out.
fn rows(entry: &Entry, axes: &[Axis], diagnostics: &mut Diagnostics) -> Vec<(Values, Span)> {
    let items = match &entry.value.data {
        Data::List(items) => items.as_slice(),
        Data::Null | Data::Unknown | Data::Open(_) => &[],
        _ => {
            diagnostics.push(
                fields::wrong_type(&entry.value, &format!("`{}` must be a list", entry.key))
                    .help(format!("write `{}: [{{AXIS: VALUE}}]`", entry.key)),
            );
            &[]
        }
    };
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        let known: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
        let errors_before = diagnostics.errors();
        let what = format!("an item of `{}`", entry.key);
        let Some(entries) = fields::entries(item, &what, &known, &[], diagnostics) else {
            continue;
        };
        let mut values = Values::with_capacity(entries.len());
        for value in entries {
            if let Some(read) = scalar(&value.value, diagnostics) {
                values.push((value.key.clone(), read));
            }
        }
        if values.is_empty() && diagnostics.errors() == errors_before {
            diagnostics.push(
                Diagnostic::error("bad-matrix", item.span, format!("{what} says nothing"))
                    .related(axes[0].span, "the axes stand here")
                    .help("name values of axes: `{AXIS: VALUE}`"),
            );
        }
        if diagnostics.errors() == errors_before {
            rows.push((values, item.span));
        }
    }
    rows
}

/// A label for each of `instances`: what stands in the brackets of their names. Labels say the
/// values where they can be told apart so; otherwise all of them say the places of the values.
pub(crate) fn labels(instances: &[Values]) -> Vec<String> {
    let by_value: Vec<String> = instances
        .iter()
        .map(|values| label(values.iter().map(|(axis, value)| (axis, text(value)))))
        .collect();
    if fit(&by_value) {
        return by_value;
    }
    let mut seen: Vec<(&str, Vec<&Value>)> = Vec::new();
    for (axis, value) in instances.iter().flatten() {
        match seen.iter_mut().find(|(name, _)| name == axis) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => seen.push((axis, vec![value])),
        }
    }
    let place = |axis: &String, value: &Value| {
        let values = seen.iter().find(|(name, _)| name == axis).map(|(_, values)| values);
        values.and_then(|values| values.iter().position(|other| *other == value)).unwrap_or(0)
    };
    let by_place: Vec<String> = instances
        .iter()
        .map(|values| {
            label(values.iter().map(|(axis, value)| (axis, place(axis, value).to_string())))
        })
        .collect();
    if fit(&by_place) {
        return by_place;
    }
    // The names of the axes alone are too long.
    (0..instances.len()).map(|place| place.to_string()).collect()
}

/// Labels for the items of a list: its scalars where they can be told apart, else their places.
pub(crate) fn item_labels(variable: &str, items: &[Value]) -> Vec<String> {
    let scalar = |item: &Value| !(item.is_array() || item.is_object());
    if items.iter().all(scalar) {
        let by_value: Vec<String> =
            items.iter().map(|item| label([(variable, text(item))])).collect();
        if fit(&by_value) {
            return by_value;
        }
    }
    let by_place: Vec<String> =
        (0..items.len()).map(|place| label([(variable, place.to_string())])).collect();
    if fit(&by_place) {
        return by_place;
    }
    (0..items.len()).map(|place| place.to_string()).collect()
}

fn label<A: AsRef<str>>(values: impl IntoIterator<Item = (A, String)>) -> String {
    let parts: Vec<String> =
        values.into_iter().map(|(axis, value)| format!("{}={value}", axis.as_ref())).collect();
    parts.join(",")
}

/// Whether all labels differ and none is too long.
fn fit(labels: &[String]) -> bool {
    let mut seen = std::collections::HashSet::new();
    labels.iter().all(|label| label.len() <= MAX_LABEL_LENGTH && seen.insert(label.as_str()))
}

/// `value` as it stands in a label.
fn text(value: &Value) -> String {
    // `,` and `=` divide a label.
    let fits = |c: char| is_label_character(c) && !matches!(c, ',' | '=');
    plain(value).chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(rows: &[&[(&str, Value)]]) -> Vec<Values> {
        let row = |row: &&[(&str, Value)]| {
            row.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn labels_say_values_where_those_differ() {
        #[track_caller]
        fn check(rows: &[&[(&str, Value)]], expect: &[&str]) {
            assert_eq!(labels(&values(rows)), expect);
        }
        check(&[&[("lr", json!(0.1)), ("w", json!(16))]], &["lr=0.1,w=16"]);
        check(&[&[("f", json!("a/b c"))], &[("f", json!(true))]], &["f=a_b_c", "f=true"]);
        check(&[&[("f", json!("a=b,c"))]], &["f=a_b_c"]);
        check(&[&[("f", json!("a/b"))], &[("f", json!("a b"))]], &["f=0", "f=1"]);
        check(&[&[("f", json!("1"))], &[("f", json!(1))]], &["f=0", "f=1"]);
        let long = "x".repeat(70);
        check(&[&[("f", json!(long)), ("g", json!(1))]], &["f=0,g=0"]);
        check(&[&[(&long, json!(1))], &[(&long, json!(2))]], &["0", "1"]);
    }

    #[test]
    fn items_are_labelled_by_value_or_place() {
        assert_eq!(item_labels("fold", &[json!(1), json!("b")]), ["fold=1", "fold=b"]);
        assert_eq!(item_labels("fold", &[json!(1), json!(1)]), ["fold=0", "fold=1"]);
        assert_eq!(item_labels("fold", &[json!({"a": 1}), json!(1)]), ["fold=0", "fold=1"]);
        assert!(item_labels("fold", &[]).is_empty());
    }
}
