//! From checked drafts to the plan: places in the file become places in the plan, and what only
//! stood for sub-pipelines is taken away.

use std::collections::HashSet;

use serde_json::Value;
use wick_core::{Digest, KindName, StageName};
use wick_pipeline::subpipeline::Role;
use wick_pipeline::{Condition, Pipeline, Sources, files};

use crate::check::{Draft, Request};
use crate::config_path;
use crate::link::{From, Link};
use crate::plan::{
    Best, Foreach, InputSource, Instance, Join, Plan, PlanFile, PlannedInput, PlannedOutput,
    PlannedStage, StageIndex,
};
use crate::subpipeline::{Around, Inliner};

/// What a stage needs, by place in the plan.
struct Needs {
    inputs: Vec<PlannedInput>,
    after: Vec<StageIndex>,
    join: Join,
    condition: Option<Condition>,
    foreach: Option<Foreach>,
}

/// The plan, once nothing is wrong. `order` tells the places of the drafts, sorted by need.
pub(crate) fn plan(
    request: &Request<'_>,
    sources: &Sources,
    pipeline: Pipeline,
    drafts: Vec<Draft<'_>>,
    order: &[usize],
) -> Option<Plan> {
    let runs = |place: &&usize| drafts[**place].stage.role == Role::Stage;
    let order: Vec<usize> = order.iter().filter(runs).copied().collect();
    let mut index_of = vec![StageIndex(0); drafts.len()];
    for (index, place) in order.iter().enumerate() {
        index_of[*place] = StageIndex(index as u32);
    }
    let inliner = Inliner::new(&drafts);
    let needs: Vec<Needs> =
        order.iter().map(|place| needs(*place, &drafts, &inliner, &index_of)).collect();
    let mut drafts: Vec<Option<Draft<'_>>> = drafts.into_iter().map(Some).collect();
    let mut stages = Vec::with_capacity(order.len());
    for (place, needs) in order.iter().zip(needs) {
        stages.push(stage(drafts[*place].take()?, sources, needs)?);
    }
    let params = pipeline.params;
    Some(Plan {
        pipeline: pipeline.name.value,
        experiment: pipeline.experiment,
        description: pipeline.description,
        file: request.file.to_owned(),
        base: files::folder(request.file).to_owned(),
        files: plan_files(sources),
        overridden: params
            .iter()
            .filter(|param| param.overridden)
            .map(|param| param.name.clone())
            .collect(),
        params: params
            .into_iter()
            .map(|param| (param.name, param.value.unwrap_or(Value::Null)))
            .collect(),
        timeout: pipeline.timeout,
        secrets: pipeline.secrets.into_iter().map(|secret| secret.value).collect(),
        hooks: pipeline.hooks,
        schedule: pipeline.schedule.map(|schedule| schedule.value),
        stages,
    })
}

/// The files in `sources`, each once.
fn plan_files(sources: &Sources) -> Vec<PlanFile> {
    let mut told = HashSet::new();
    sources
        .iter()
        .filter(|file| told.insert(file.path()))
        .map(|file| PlanFile { path: file.path().to_owned(), digest: Digest::of(file.bytes()) })
        .collect()
}

fn needs(
    place: usize,
    drafts: &[Draft<'_>],
    inliner: &Inliner<'_, '_>,
    index_of: &[StageIndex],
) -> Needs {
    let draft = &drafts[place];
    let indices = |places: &[usize]| places.iter().map(|place| index_of[*place]).collect();
    let input = |link: &Link| {
        let Link { from, output, .. } = inliner.source(link);
        let source = match from {
            From::One(from) => InputSource::Output { from: index_of[from], output },
            From::Gather(from) => InputSource::Gather { from: indices(&from), output },
            From::Select { from, metric, of, mode } => InputSource::Select {
                from: indices(&from),
                output,
                best: Best { metric, of: indices(&of), mode },
            },
        };
        PlannedInput { port: link.port.clone(), source, port_type: link.port_type }
    };
    let foreach =
        draft.stage.foreach.as_ref().zip(draft.list.as_ref()).map(|(list, (from, output))| {
            let (from, output) = inliner.follow(*from, output);
            Foreach { variable: list.variable.value.clone(), from: index_of[from], output }
        });
    let Around { after, needs_any, condition } = inliner.around(place);
    let any = needs_any || draft.stage.needs_any.is_some();
    Needs {
        inputs: draft.links.iter().map(input).collect(),
        after: indices(&after),
        join: if any { Join::Any } else { Join::All },
        condition,
        foreach,
    }
}

/// `None` only where something was wrong, and was reported.
fn stage(draft: Draft<'_>, sources: &Sources, needs: Needs) -> Option<PlannedStage> {
    let Draft { stage, kind, config, ports, checked, .. } = draft;
    let (kind, checked) = (kind?, checked?);
    let instance = match stage.instance {
        None => None,
        Some(instance) => Some(Instance {
            template: StageName::new(&instance.template).ok()?,
            label: instance.label,
            values: instance.values,
        }),
    };
    Some(PlannedStage {
        name: StageName::new(&stage.name.value).ok()?,
        instance,
        foreach: needs.foreach,
        base: files::folder(sources.get(stage.name.span.file).path()).to_owned(),
        description: stage.description,
        kind: KindName::new(kind.name()).ok()?,
        revision: kind.revision(),
        config: config?,
        inputs: needs.inputs,
        outputs: ports?
            .outputs
            .into_iter()
            .map(|output| PlannedOutput { port: output.name, port_type: output.port_type })
            .collect(),
        after: needs.after,
        join: needs.join,
        condition: needs.condition,
        retry: stage.retry,
        timeout: stage.timeout,
        resources: stage.resources,
        cache: stage.cache,
        sources: checked.sources,
        source_fields: checked.source_fields.iter().map(|path| config_path(path)).collect(),
        ordered_fields: checked.ordered_fields.iter().map(|path| config_path(path)).collect(),
        neutral_fields: checked.neutral_fields.iter().map(|path| config_path(path)).collect(),
        environment: checked.environment,
        metrics: checked.metrics,
    })
}
