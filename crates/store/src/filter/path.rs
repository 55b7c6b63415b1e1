//! From a path of names to the field that it means.

use std::ops::Range;

use super::error::FilterError;
use super::expr::{Field, MetricName};
use super::lexer::Segment;
use super::suggest::nearest;
use super::words::{
    ARTIFACT_FIELDS, ARTIFACT_URI, ATTRIBUTES, DATASET_FIELDS, ENTITIES, Entity, STAGE_FIELDS, find,
};

/// The field that `segments`, of which there is one at least, mean.
pub(super) fn field(segments: &[Segment]) -> Result<Field, FilterError> {
    let (first, rest) = (&segments[0], &segments[1..]);
    let entity = if first.quoted { None } else { find(&ENTITIES, &first.text) };
    match (entity, rest) {
        (_, []) => attribute(&first.text, first.span.clone()),
        (Some(Entity::Metric), _) => Ok(Field::Metric(MetricName::new(joined(rest)))),
        (Some(Entity::Param), _) => Ok(Field::Param(joined(rest))),
        (Some(Entity::Tag), _) => Ok(Field::Tag(joined(rest))),
        (Some(Entity::Attribute), _) => attribute(&joined(rest), span(rest)),
        (Some(Entity::Git), _) => attribute(&joined(segments), span(segments)),
        (Some(Entity::Stage), [stage, field]) => {
            let field = known(&STAGE_FIELDS, field, "a stage")?;
            Ok(Field::Stage { stage: stage_name(stage)?, field })
        }
        (Some(Entity::Artifact), [stage, field]) => {
            let field = known(&ARTIFACT_FIELDS, field, "an artifact")?;
            Ok(Field::Artifact { stage: stage_name(stage)?, port: None, field })
        }
        (Some(Entity::Artifact), [stage, port, field]) => {
            let (port, field) = (port.text.clone(), known(&ARTIFACT_FIELDS, field, "an artifact")?);
            Ok(Field::Artifact { stage: stage_name(stage)?, port: Some(port), field })
        }
        (Some(Entity::Dataset), [field]) => {
            Ok(Field::Dataset(known(&DATASET_FIELDS, field, "a dataset")?))
        }
        (Some(Entity::Stage), _) => {
            Err(FilterError::new(span(segments), "this does not name what is asked of a stage")
                .help("write `stage.NAME.status`, or `duration`, `attempts`, `kind`"))
        }
        (Some(Entity::Artifact), _) => Err(FilterError::new(
            span(segments),
            "this does not name what is asked of an artifact",
        )
        .help("write `artifact.STAGE.digest` or `artifact.STAGE.PORT.digest`; or `bytes`, `type`")),
        (Some(Entity::Dataset), _) => {
            Err(FilterError::new(span(segments), "this does not name what is asked of a dataset")
                .help("write `dataset.name`, `dataset.digest` or `dataset.context`"))
        }
        (None, _) => {
            let names = ENTITIES.iter().map(|(name, _)| *name);
            let help = match nearest(&first.text, names) {
                Some(name) => format!("did you mean `{name}.{}`?", joined(rest)),
                None => "a path begins with metrics, params, tags, stage, artifact or git".into(),
            };
            let message = format!("there is nothing called `{}`", first.text);
            Err(FilterError::new(first.span.clone(), message).help(help))
        }
    }
}

/// Several names as the key that they make together.
fn joined(segments: &[Segment]) -> String {
    segments.iter().map(|segment| segment.text.as_str()).collect::<Vec<_>>().join(".")
}

pub(super) fn span(segments: &[Segment]) -> Range<usize> {
    let end = segments.last().map_or(0, |segment| segment.span.end);
    segments.first().map_or(0, |segment| segment.span.start)..end
}

fn attribute(name: &str, span: Range<usize>) -> Result<Field, FilterError> {
    if let Some(field) = find(&ATTRIBUTES, name) {
        return Ok(Field::Run(field));
    }
    if name.eq_ignore_ascii_case("artifact_uri") {
        return Ok(Field::Tag(ARTIFACT_URI.to_owned()));
    }
    let error = FilterError::new(span, format!("a run has no attribute `{name}`"));
    if find(&ENTITIES, name).is_some() {
        return Err(FilterError { message: "a key is missing here".to_owned(), ..error }
            .help(format!("a key follows a dot: {name}.KEY")));
    }
    let known = ATTRIBUTES.iter().map(|(name, _)| *name);
    Err(match nearest(name, known) {
        Some(nearest) => error.help(format!("did you mean `{nearest}`?")),
        None => error.help(format!(
            "a metric is called `metrics.{name}`, a param `params.{name}`, a tag `tags.{name}`"
        )),
    })
}

fn known<T: Copy>(
    table: &[(&'static str, T)],
    segment: &Segment,
    whose: &str,
) -> Result<T, FilterError> {
    find(table, &segment.text).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        let help = match nearest(&segment.text, names.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("there are {}", names.join(", ")),
        };
        let message = format!("{whose} has no `{}`", segment.text);
        FilterError::new(segment.span.clone(), message).help(help)
    })
}

fn stage_name(segment: &Segment) -> Result<String, FilterError> {
    match wick_core::id::check_stage_name(&segment.text) {
        Ok(()) => Ok(segment.text.clone()),
        Err(error) => Err(FilterError::new(
            segment.span.clone(),
            format!("`{}` names no stage: {error}", segment.text),
        )),
    }
}
