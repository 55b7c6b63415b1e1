//! What stands for the edges of sub-pipelines while a plan is made: see
//! [`wick_pipeline::subpipeline`]. And the kind `pipeline`, for those who look it up.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use wick_core::{PortName, PortType};
use wick_pipeline::condition::Reference;
use wick_pipeline::subpipeline::{Declared, INPUTS, PIPELINE_KIND, Role};
use wick_pipeline::{Condition, Diagnostic, Diagnostics, Spanned, Stage};
use wick_stage::{
    Checked, Context, Documentation, Example, InputPort, Issues, Kind, Known, OutputPort, Ports,
    StageError, StageResult, Typed, TypedKind,
};

use crate::check::Draft;
use crate::link::{From, Link};

/// The ports of a stage that does not run, as far as they are known before its edges are joined.
pub(crate) fn ports(stage: &Stage) -> Option<Ports> {
    let mut ports = Ports::new();
    match &stage.role {
        Role::Stage => return None,
        Role::Inputs(declared) => {
            for Declared { name, port_type } in declared {
                // Of a wrong type nothing more is said.
                let (name, port_type) = (PortName::new(&name.value).ok()?, (*port_type)?);
                let types = vec![port_type];
                ports.inputs.push(InputPort { name: name.clone(), types, required: true });
                ports.outputs.push(OutputPort { name, port_type, primary: false });
            }
        }
        Role::Outputs => {
            for edge in &stage.inputs {
                let name = PortName::new(&edge.port.value).ok()?;
                let types = PortType::ALL.to_vec();
                ports.inputs.push(InputPort { name, types, required: false });
            }
        }
    }
    Some(ports)
}

/// Once the edges that end in a sub-pipeline's [`Role::Outputs`] are joined: what it makes.
pub(crate) fn know_outputs(draft: &mut Draft<'_>) {
    if draft.stage.role != Role::Outputs {
        return;
    }
    // Where an edge could not be joined, its type is unknown, and so are the ports.
    if draft.links.len() < draft.stage.inputs.len() || !draft.stage.sound {
        draft.ports = None;
        return;
    }
    if let Some(ports) = &mut draft.ports {
        ports.outputs.extend(draft.links.iter().map(|link| OutputPort {
            name: link.port.clone(),
            port_type: link.port_type,
            primary: false,
        }));
    }
}

/// What messages call a stage: one that stands for what a sub-pipeline reads is that to people.
pub(crate) fn called(stage: &Stage) -> &str {
    let name = stage.name.value.as_str();
    match &stage.role {
        Role::Inputs(_) => owner(name),
        Role::Stage | Role::Outputs => name,
    }
}

/// The sub-pipeline whose inputs are called `name`.
fn owner(name: &str) -> &str {
    name.strip_suffix(INPUTS).and_then(|name| name.strip_suffix('/')).unwrap_or_default()
}

/// The sub-pipelines that a stage is a part of, innermost first.
pub(crate) fn owners(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices('/').map(|(at, _)| &name[..at])
}

/// Reports that an edge reads `output` of `named`, an input which its pipeline is not given.
pub(crate) fn unknown_input(
    named: &Spanned<String>,
    output: Option<&Spanned<String>>,
    declared: &[Declared],
    diagnostics: &mut Diagnostics,
) {
    let known: Vec<&str> = declared.iter().map(|input| input.name.value.as_str()).collect();
    let (span, message, help) = match output {
        Some(name) => {
            let help = if known.is_empty() {
                Some(format!("declare it at the top of the file: `inputs: {{{}: …}}`", name.value))
            } else {
                diagnostics.suggest(&name.value, known)
            };
            (name.span, format!("the pipeline has no input `{}`", name.value), help)
        }
        None if known.is_empty() => {
            let help = "declare them at the top of the file: `inputs: {NAME: TYPE}`";
            (named.span, "the pipeline has no inputs".to_owned(), Some(help.to_owned()))
        }
        None => {
            let choices: Vec<String> =
                known.iter().map(|name| format!("{INPUTS}.{name}")).collect();
            let choices = wick_pipeline::suggest::alternatives(&choices);
            let message = "the pipeline has more than one input".to_owned();
            (named.span, message, Some(format!("name the one you mean: {choices}")))
        }
    };
    diagnostics.push(Diagnostic::error("unknown-input", span, message).maybe_help(help));
}

/// Takes the stages that do not run out of a plan.
pub(crate) struct Inliner<'d, 'a> {
    drafts: &'d [Draft<'a>],
    places: HashMap<&'d str, usize>,
    /// The stages of each sub-pipeline.
    members: HashMap<&'d str, Vec<usize>>,
    /// The stages of each sub-pipeline that no other of its stages needs.
    ends: HashMap<&'d str, Vec<usize>>,
}

impl<'d, 'a> Inliner<'d, 'a> {
    pub(crate) fn new(drafts: &'d [Draft<'a>]) -> Self {
        let places: HashMap<&str, usize> = drafts
            .iter()
            .enumerate()
            .map(|(place, draft)| (draft.stage.name.value.as_str(), place))
            .collect();
        let mut inliner = Self { drafts, places, members: HashMap::new(), ends: HashMap::new() };
        for (place, draft) in inliner.running() {
            for owner in owners(&draft.stage.name.value) {
                inliner.members.entry(owner).or_default().push(place);
            }
        }
        let mut needed: HashMap<&str, HashSet<usize>> = HashMap::new();
        for (place, draft) in inliner.running() {
            let needs = inliner.own_needs(place);
            for owner in owners(&draft.stage.name.value) {
                needed.entry(owner).or_default().extend(&needs);
            }
        }
        for (place, draft) in inliner.running() {
            for owner in owners(&draft.stage.name.value) {
                if !needed[owner].contains(&place) {
                    inliner.ends.entry(owner).or_default().push(place);
                }
            }
        }
        inliner
    }

    fn running(&self) -> impl Iterator<Item = (usize, &'d Draft<'a>)> + use<'d, 'a> {
        self.drafts.iter().enumerate().filter(|(_, draft)| draft.stage.role == Role::Stage)
    }

    /// `link` as it is without the stages that do not run.
    pub(crate) fn source(&self, link: &Link) -> Link {
        let mut link = link.clone();
        while let From::One(maker) = link.from
            && let Some(inner) = self.handed_on(maker, &link.output)
        {
            link = inner.clone();
        }
        // All instances of a sub-pipeline hand on the same output.
        if let From::Gather(from) | From::Select { from, .. } = &mut link.from {
            let mut output = link.output.clone();
            for place in from {
                (*place, output) = self.follow(*place, &link.output);
            }
            link.output = output;
        }
        link
    }

    /// The edge that the stage at `place` hands on as `output`, if it does not run itself.
    fn handed_on(&self, place: usize, output: &PortName) -> Option<&'d Link> {
        let maker = &self.drafts[place];
        match maker.stage.role {
            Role::Stage => None,
            Role::Inputs(_) | Role::Outputs => {
                maker.links.iter().find(|inner| inner.port == *output)
            }
        }
    }

    /// The stage that runs, and its output, where that at `place` may only hand it on.
    pub(crate) fn follow(&self, place: usize, output: &PortName) -> (usize, PortName) {
        follow(self.drafts, place, output)
    }

    /// The stages that one which comes after the stage at `place` comes after.
    fn ends_of(&self, place: usize) -> Vec<usize> {
        match self.ends.get(self.drafts[place].stage.name.value.as_str()) {
            Some(ends) => ends.clone(),
            None => vec![place],
        }
    }

    /// What the stage at `place` says itself that it needs.
    fn own_needs(&self, place: usize) -> Vec<usize> {
        let draft = &self.drafts[place];
        let links = draft
            .links
            .iter()
            .flat_map(|link| self.source(link).from.needs().collect::<Vec<usize>>());
        let list = draft.list.iter().map(|(from, output)| self.follow(*from, output).0);
        let after = draft.after.iter().flat_map(|place| self.meant_by(*place));
        links.chain(list).chain(after).collect()
    }

    /// The stage at `place`, or all of that sub-pipeline.
    fn meant_by(&self, place: usize) -> Vec<usize> {
        match self.members.get(self.drafts[place].stage.name.value.as_str()) {
            Some(members) => members.clone(),
            None => vec![place],
        }
    }

    /// What the sub-pipelines around the stage at `place` say for it.
    pub(crate) fn around(&self, place: usize) -> Around {
        let draft = &self.drafts[place];
        let mut around = Around { condition: draft.condition.clone(), ..Around::default() };
        let mut named = draft.after.clone();
        let mut needs = self.own_needs(place);
        let mut is_first = true;
        for owner in owners(&draft.stage.name.value) {
            let is_inside = |need: &usize| {
                owners(&self.drafts[*need].stage.name.value).any(|other| other == owner)
            };
            let Some(inputs) = self.places.get(format!("{owner}/{INPUTS}").as_str()) else { break };
            let inputs = &self.drafts[*inputs];
            // The condition of a sub-pipeline is asked for each of its stages.
            if let Some(outer) = &inputs.condition {
                named.extend(outer.references().into_iter().filter_map(|reference| {
                    let (Reference::Metric { stage, .. } | Reference::Output { stage, .. }) =
                        reference;
                    self.places.get(stage.as_str())
                }));
                around.condition = Some(match around.condition.take() {
                    Some(inner) => outer.clone().and(inner),
                    None => outer.clone(),
                });
            }
            // What it comes after goes before the first of them.
            is_first &= !needs.iter().any(is_inside);
            if is_first {
                around.needs_any |= inputs.stage.needs_any.is_some();
                for place in &inputs.after {
                    named.push(*place);
                    needs.extend(self.meant_by(*place));
                }
            }
        }
        let mut seen = HashSet::new();
        let all = named.into_iter().flat_map(|place| self.ends_of(place));
        around.after = all.filter(|place| seen.insert(*place)).collect();
        around
    }
}

/// What the sub-pipelines around a stage say for it, with what it says itself.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// The stages that it comes after, by place.
    pub after: Vec<usize>,
    /// Whether one of them is enough, as a sub-pipeline says whose first stage it is.
    pub needs_any: bool,
    /// It runs only if this holds.
    pub condition: Option<Condition>,
}

/// The stage that runs, and its output, where that at `place` may only hand it on.
pub(crate) fn follow(drafts: &[Draft<'_>], place: usize, output: &PortName) -> (usize, PortName) {
    let (mut place, mut output) = (place, output.clone());
    loop {
        let maker = &drafts[place];
        let inner = match maker.stage.role {
            Role::Stage => None,
            Role::Inputs(_) | Role::Outputs => {
                maker.links.iter().find(|inner| inner.port == output)
            }
        };
        match inner.map(|inner| (&inner.from, &inner.output)) {
            Some((From::One(from), of)) => (place, output) = (*from, of.clone()),
            _ => return (place, output),
        }
    }
}

/// What `with` says of a stage that uses a pipeline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PipelineConfig {
    /// The pipeline file, named from the folder of the file that this stands in.
    #[expect(dead_code, reason = "read where the file's stages take the place of this one")]
    file: String,
    /// Values for the params of that file; the others have their defaults.
    #[serde(default)]
    #[expect(dead_code, reason = "read where the file's stages take the place of this one")]
    params: Map<String, Value>,
}

/// The kind `pipeline`. No stage of a plan has it: the stages of the file stand in its place.
struct PipelineStage;

/// The kind `pipeline`, so that it is documented like any other.
pub fn pipeline_kind() -> Box<dyn Kind> {
    Typed::boxed(PipelineStage)
}

impl TypedKind for PipelineStage {
    type Config = PipelineConfig;

    const NAME: &'static str = PIPELINE_KIND;
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "The stages of another pipeline file, as one stage.",
            description: DESCRIPTION,
            examples: &[
                Example {
                    title: "Features made as another file says",
                    yaml: "\
uses: pipeline
inputs: {raw: load}
with: {file: features.yaml, params: {size: 3}}",
                },
                Example {
                    title: "That file: what it takes, and what it gives",
                    yaml: "\
pipeline: features
inputs: {raw: dataset}
outputs: {features: encode.data}
params: {size: 2}
stages:
  encode:
    uses: command
    inputs: {raw: inputs.raw}
    with:
      run: encode --size ${params.size} ${inputs.raw} ${outputs.data}
      outputs: {data: dataset}",
                },
            ],
        }
    }

    fn ports(&self, _: &PipelineConfig, _: &mut Issues) -> Ports {
        Ports::new()
    }

    fn check(&self, _: &PipelineConfig, _: &Known<'_>) -> Checked {
        Checked::default()
    }

    fn run(&self, _: PipelineConfig, _: &mut Context<'_>) -> StageResult {
        Err(StageError::internal("a stage that uses a pipeline was not replaced by its stages"))
    }
}

const DESCRIPTION: &str = "\
The stages of the file take the place of this stage: stage `encode` of the file that stage \
`features` uses is called `features/encode`, in the plan and in all that is recorded.

The file says at its top which inputs it takes, `inputs: {raw: dataset}`, and its stages read them \
as `inputs.raw`. It says what it gives, `outputs: {features: encode.data}`, and other stages read \
that as `features.features`, or by the stage's name alone if there is one output. `after: [NAME]` \
waits for all of its stages.

What stands here in `after` and `needs` holds for the first stages of the file, those that need no \
other of them; `when` holds for each of its stages, together with their own; with a `matrix` there \
are all of its stages for each combination, `features[size=3]/encode`. `retry`, `timeout`, \
`resources` and `cache` belong into the file.

The file's `${params.x}` are its own params, with the values that `with` gives. Its paths are meant \
from its own folder. It may use further files; none may use itself. A file with `inputs` cannot run \
by itself; `wick check` takes it all the same.";
