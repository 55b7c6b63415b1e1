//! What the features of a stage are, as far as the configuration and the columns tell.

use wick_stage::{Column, ColumnType, Issues, PathSegment};

use super::{Feature, FeatureForm, FeatureSpec, FeatureType, Features};

/// What the network reads. `columns` are those of the data, if they are known; `None` is
/// returned if they are not and the features depend on them, or if there are new `issues`.
pub fn resolve(
    features: Option<&Features>,
    target: &str,
    columns: Option<&[Column]>,
    issues: &mut Issues,
) -> Option<Vec<Feature>> {
    let Some(features) = features else {
        return by_default(target, columns?, issues);
    };
    let mut complete = true;
    let mut resolved = Vec::new();
    let path = |place: PathSegment| vec![PathSegment::from("features"), place];
    let mut one = |name: &str, spec: Option<&FeatureSpec>, place: PathSegment| {
        if name == target {
            issues.with(
                path(place),
                format!("`{name}` is the target: the network would be shown the answer"),
                "leave it out of `features`",
            );
            complete = false;
            return;
        }
        match resolve_one(name, spec, columns) {
            Ok(Some(feature)) => resolved.push(feature),
            Ok(None) => complete = false,
            Err((message, help)) => {
                issues.with(path(place), message, help);
                complete = false;
            }
        }
    };
    match features {
        Features::Names(names) => {
            for (index, name) in names.iter().enumerate() {
                one(name, None, index.into());
            }
        }
        Features::Typed(specs) => {
            for (name, spec) in specs {
                one(name, Some(spec), name.as_str().into());
            }
        }
    }
    if !complete {
        return None;
    }
    if resolved.is_empty() {
        issues.with(
            ["features"],
            "there are no features",
            "name the columns that the network reads, or leave `features` out for all numbers",
        );
        return None;
    }
    let images = resolved.iter().filter(|f| matches!(f.form, FeatureForm::Image { .. })).count();
    if images > 0 && resolved.len() > 1 {
        issues.with(
            ["features"],
            "an image and other features cannot go through one list of layers",
            "keep the image alone",
        );
        return None;
    }
    Some(resolved)
}

fn by_default(target: &str, columns: &[Column], issues: &mut Issues) -> Option<Vec<Feature>> {
    let numbers: Vec<Feature> = columns
        .iter()
        .filter(|column| column.name != target)
        .filter_map(|column| {
            let form = match column.column_type {
                ColumnType::Vector { width } => FeatureForm::Vector { width },
                ref other if other.is_numeric() => FeatureForm::Number,
                _ => return None,
            };
            Some(Feature { column: column.name.clone(), form, scale: 1.0 })
        })
        .collect();
    if !numbers.is_empty() {
        return Some(numbers);
    }
    let mut images = columns.iter().filter(|column| {
        column.name != target && matches!(column.column_type, ColumnType::Bytes { .. })
    });
    if let (Some(image), None) = (images.next(), images.next()) {
        let spec = FeatureSpec { feature_type: FeatureType::Image, shape: None, scale: None };
        match resolve_one(&image.name, Some(&spec), Some(columns)) {
            Ok(feature) => return feature.map(|feature| vec![feature]),
            Err((message, help)) => {
                issues.with(["features"], message, help);
                return None;
            }
        }
    }
    issues.input(
        "train",
        "the data has no column of numbers beside the target",
        "encode text and categories with a `preprocess` stage before, or name `features`",
    );
    None
}

/// `Ok(None)` if it cannot be known yet; otherwise what is wrong, and the mend.
fn resolve_one(
    name: &str,
    spec: Option<&FeatureSpec>,
    columns: Option<&[Column]>,
) -> Result<Option<Feature>, (String, String)> {
    let column = match columns {
        None => None,
        Some(columns) => Some(
            columns
                .iter()
                .find(|column| column.name == name)
                .ok_or_else(|| missing_column(name, columns))?,
        ),
    };
    let held = column.map(|column| &column.column_type);
    let wanted = match (spec.map(|spec| spec.feature_type), held) {
        (Some(wanted), _) => wanted,
        (None, None) => return Ok(None),
        (None, Some(ColumnType::Vector { .. })) => FeatureType::Vector,
        (None, Some(ColumnType::Bytes { .. })) => FeatureType::Image,
        (None, Some(_)) => FeatureType::Number,
    };
    let shape = spec.and_then(|spec| spec.shape.as_deref());
    if shape.is_some() && wanted != FeatureType::Image {
        return Err((
            format!("a {} has no `shape`", wanted.as_str()),
            "leave `shape` out, or write `type: image`".to_owned(),
        ));
    }
    let scale = spec.and_then(|spec| spec.scale);
    if scale.is_some_and(|scale| !scale.is_normal()) {
        return Err((
            "values cannot be divided by this `scale`".to_owned(),
            "write a number other than 0, for example 255".to_owned(),
        ));
    }
    let feature = |form, usual: f64| {
        Ok(Some(Feature { column: name.to_owned(), form, scale: scale.unwrap_or(usual) }))
    };
    match (wanted, held) {
        (FeatureType::Number, None) => feature(FeatureForm::Number, 1.0),
        (FeatureType::Number, Some(held)) if held.is_numeric() => feature(FeatureForm::Number, 1.0),
        (FeatureType::Number, Some(ColumnType::Vector { .. })) => {
            Err((format!("`{name}` holds lists of numbers"), "write `type: vector`".to_owned()))
        }
        (FeatureType::Number, Some(ColumnType::Bytes { .. })) => {
            Err((format!("`{name}` holds images"), "write `type: image`".to_owned()))
        }
        (FeatureType::Number, Some(held)) => Err((
            format!("`{name}` is {held}, and a network reads numbers"),
            format!("encode `{name}` with a `preprocess` stage before, or leave it out"),
        )),
        (FeatureType::Vector, Some(ColumnType::Vector { width })) => {
            feature(FeatureForm::Vector { width: *width }, 1.0)
        }
        (FeatureType::Vector, None) => Ok(None),
        (FeatureType::Image, None) => match shape {
            Some(shape) => feature(image_form(shape)?, 255.0),
            None => Ok(None),
        },
        (FeatureType::Image, Some(ColumnType::Bytes { shape: held })) => {
            let form = image_form(shape.unwrap_or(held))?;
            let elements = |shape: &[usize]| shape.iter().product::<usize>();
            match shape {
                Some(shape) if elements(shape) != elements(held) => Err((
                    format!("`{name}` holds images of {held:?}, not {shape:?}"),
                    format!("write `shape: {held:?}`, or leave `shape` out"),
                )),
                _ => feature(form, 255.0),
            }
        }
        (FeatureType::Vector | FeatureType::Image, Some(held)) => Err((
            format!("`{name}` is {held}, not {}", wanted.as_str()),
            if held.is_numeric() {
                "write `number`".to_owned()
            } else {
                "leave it out, or say what it is".to_owned()
            },
        )),
    }
}

fn image_form(shape: &[usize]) -> Result<FeatureForm, (String, String)> {
    let (height, width, channels) = match *shape {
        [height, width] => (height, width, 1),
        [height, width, channels] => (height, width, channels),
        _ => {
            return Err((
                format!("{shape:?} is not the shape of an image"),
                "write rows, columns and channels, for example `shape: [28, 28, 1]`".to_owned(),
            ));
        }
    };
    if height == 0 || width == 0 || channels == 0 {
        return Err((
            format!("an image of {shape:?} is empty"),
            "write rows, columns and channels, for example `shape: [28, 28, 1]`".to_owned(),
        ));
    }
    Ok(FeatureForm::Image { height, width, channels })
}

/// That no column is called `name`, and what may have been meant.
pub fn missing_column(name: &str, columns: &[Column]) -> (String, String) {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    missing_name(name, &names)
}

/// That no column is called `name` among those called, or beginning, as `names` say.
pub fn missing_name(name: &str, names: &[&str]) -> (String, String) {
    let help = wick_data::column_help(name, names);
    (format!("the data has no column `{name}`"), help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::sample_shape;
    use crate::spec::SampleShape;

    fn columns() -> Vec<Column> {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
        vec![
            column("age", ColumnType::Float),
            column("sex", ColumnType::Text),
            column("alone", ColumnType::Boolean),
            column("picture", ColumnType::Bytes { shape: vec![8, 8, 3] }),
            column("embedding", ColumnType::Vector { width: 4 }),
            column("survived", ColumnType::Integer),
        ]
    }

    fn resolved(json: Option<&str>, known: bool) -> (Option<Vec<Feature>>, Vec<String>) {
        let features = json.map(|json| serde_json::from_str::<Features>(json).expect(json));
        let columns = columns();
        let mut issues = Issues::new();
        let resolved =
            resolve(features.as_ref(), "survived", known.then_some(&columns[..]), &mut issues);
        let issues = issues
            .into_vec()
            .into_iter()
            .map(|issue| format!("{}: {}", issue.message, issue.help.unwrap_or_default()))
            .collect();
        (resolved, issues)
    }

    #[test]
    fn numbers_are_the_default() {
        let (features, issues) = resolved(None, true);
        assert!(issues.is_empty());
        let features = features.expect("they are known");
        let names: Vec<_> = features.iter().map(|feature| feature.column.as_str()).collect();
        assert_eq!(names, ["age", "alone", "embedding"]);
        assert_eq!(sample_shape(&features), SampleShape::Flat { width: 6 });
        assert_eq!(resolved(None, false), (None, vec![]));
    }

    #[test]
    fn an_image_has_its_shape_and_scale() {
        let (features, _) = resolved(Some(r#"["picture"]"#), true);
        let features = features.expect("they are known");
        assert_eq!(
            sample_shape(&features),
            SampleShape::Image { height: 8, width: 8, channels: 3 }
        );
        assert_eq!(features[0].scale, 255.0);
        let spec = r#"{"picture": {"type": "image", "shape": [8, 8, 3], "scale": 1}}"#;
        let (features, _) = resolved(Some(spec), false);
        assert_eq!(features.expect("the shape is declared")[0].scale, 1.0);
    }

    #[test]
    fn mistakes_come_with_the_mend() {
        #[track_caller]
        fn check(json: &str, expect: &str) {
            let (features, issues) = resolved(Some(json), true);
            assert_eq!(features, None);
            assert!(issues.len() == 1 && issues[0].contains(expect), "{issues:?}");
        }
        check(r#"["agee"]"#, "no column `agee`: did you mean `age`?");
        check(r#"["sex"]"#, "`sex` is text, and a network reads numbers: encode `sex`");
        check(r#"["survived"]"#, "the network would be shown the answer");
        check(r#"["picture", "age"]"#, "an image and other features");
        check(r#"{"age": "image"}"#, "`age` is float, not image: write `number`");
        check(r#"{"age": {"type": "number", "shape": [1, 2]}}"#, "a number has no `shape`");
        check(r#"{"age": {"type": "number", "scale": 0}}"#, "divided by this `scale`");
        check(
            r#"{"picture": {"type": "image", "shape": [28, 28, 1]}}"#,
            "holds images of [8, 8, 3], not [28, 28, 1]",
        );
    }
}
