//! Which stages a run is asked for: `--from`, `--only`, `--until`, `--force`, `--all`.
//!
//! A [`Selection`] holds what a person wrote. Resolved against a plan it becomes a [`Treatment`]
//! for each stage: pure, and the same for a run, a rerun and a preview.

use wick_core::StageName;
use wick_core::id::check_stage_name;
use wick_pipeline::did_you_mean;

use crate::plan::{Plan, PlannedStage, StageIndex};

/// What a person asked for. Each name may be that of a stage, of an instance (`train[lr=0.1]`), of
/// a stage with instances (all of them), or of a sub-pipeline (all its stages).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These and all that depends on them are computed anew, and nothing else runs but what they
    /// need and is not there.
    pub from: Vec<String>,
    /// These alone are computed anew; what they need must be there.
    pub only: Vec<String>,
    /// These and what they need, and nothing else. Together with `from`: what lies between.
    pub until: Vec<String>,
    /// These are computed anew; everything else as usual.
    pub force: Vec<String>,
    /// Everything is computed anew.
    pub all: bool,
}

/// What is to be done with a stage. Of two wishes for one stage the greater counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Treatment {
    /// Nothing: it was not asked for.
    Leave,
    /// Its outputs must be there: it is not run to make them.
    Present,
    /// As usual: what is there is reused, and what is not is made.
    Reuse,
    /// It is computed anew, whatever is there.
    Force,
}

/// Why a selection does not fit a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// Names that no stage has.
    #[error("{}", join(.0))]
    Unknown(Vec<UnknownStage>),
    /// Nothing that depends on the stages of `--from` is needed by those of `--until`.
    #[error(
        "nothing lies between `--from {from}` and `--until {until}`: the second does not depend on the first"
    )]
    NothingBetween {
        /// The stages of `--from`, with commas.
        from: String,
        /// The stages of `--until`, with commas.
        until: String,
    },
}

/// A name that no stage has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownStage {
    /// Where it was given: `--from`, `--only`, …
    pub flag: &'static str,
    /// The name.
    pub name: String,
    /// What may have been meant.
    pub help: Option<String>,
}

impl std::fmt::Display for UnknownStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{} {}`: there is no such stage", self.flag, self.name)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

fn join(unknown: &[UnknownStage]) -> String {
    unknown.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The treatment of every stage of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatments {
    stages: Vec<Treatment>,
    /// Wishes for single instances of stages whose instances are not known yet.
    instances: Vec<(StageIndex, StageName, Treatment)>,
    /// The treatment of their other instances.
    others: Vec<(StageIndex, Treatment)>,
}

/// What a name means in a plan.
enum Meant {
    Stages(Vec<StageIndex>),
    /// An instance, by its name, of a stage whose list only the run will know.
    Instance(StageIndex, StageName),
}

impl Selection {
    /// Whether nothing was asked for: everything as usual.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is to be done with each stage of `plan`.
    ///
    /// # Errors
    /// If a name means no stage, or if nothing is left to do.
    pub fn resolve(&self, plan: &Plan) -> Result<Treatments, SelectionError> {
        let mut unknown = Vec::new();
        let mut find = |flag: &'static str, names: &[String]| {
            let mut found = Wish::new(plan);
            for name in names {
                match meant(plan, name) {
                    Some(meant) => found.add(meant),
                    None => unknown.push(UnknownStage {
                        flag,
                        name: name.clone(),
                        help: did_you_mean(name, known_names(plan).iter().map(String::as_str)),
                    }),
                }
            }
            found
        };
        let from = find("--from", &self.from);
        let only = find("--only", &self.only);
        let until = find("--until", &self.until);
        let force = find("--force", &self.force);
        if !unknown.is_empty() {
            return Err(SelectionError::Unknown(unknown));
        }

        let narrowed = !(self.from.is_empty() && self.only.is_empty() && self.until.is_empty());
        let usual = if narrowed { Treatment::Leave } else { Treatment::Reuse };
        let mut treatments = Treatments {
            stages: vec![usual; plan.stages.len()],
            instances: Vec::new(),
            others: Vec::new(),
        };
        let wanted = until.with_needs(plan);
        if !self.from.is_empty() {
            let mut anew = from.with_dependents(plan);
            let mut single = from.instances.clone();
            if !self.until.is_empty() {
                anew.iter_mut().zip(&wanted).for_each(|(anew, wanted)| *anew &= wanted);
                single.retain(|(stage, _)| wanted[stage.get()]);
                if !anew.contains(&true) && single.is_empty() {
                    let (from, until) = (self.from.join(", "), self.until.join(", "));
                    return Err(SelectionError::NothingBetween { from, until });
                }
            }
            let mut touched = anew.clone();
            single.iter().for_each(|(stage, _)| touched[stage.get()] = true);
            treatments.raise(&needs_of(plan, &touched), Treatment::Reuse);
            treatments.raise(&anew, Treatment::Force);
            treatments.single(&single, Treatment::Force);
        } else if !self.until.is_empty() {
            treatments.raise(&needs_of(plan, &until.touched()), Treatment::Reuse);
            treatments.raise(&until.stages, Treatment::Reuse);
            treatments.single(&until.instances, Treatment::Reuse);
        }
        treatments.raise(&needs_of(plan, &only.touched()), Treatment::Present);
        treatments.raise(&only.stages, Treatment::Force);
        treatments.single(&only.instances, Treatment::Force);
        treatments.raise(&needs_of(plan, &force.touched()), Treatment::Reuse);
        treatments.raise(&force.stages, Treatment::Force);
        treatments.single(&force.instances, Treatment::Force);
        if self.all {
            for treatment in &mut treatments.stages {
                if *treatment == Treatment::Reuse {
                    *treatment = Treatment::Force;
                }
            }
        }
        treatments.settle();
        Ok(treatments)
    }
}

impl Treatments {
    /// Everything as usual.
    pub fn usual(plan: &Plan) -> Self {
        Self {
            stages: vec![Treatment::Reuse; plan.stages.len()],
            instances: Vec::new(),
            others: Vec::new(),
        }
    }

    /// What is to be done with a stage of the plan.
    pub fn of(&self, stage: StageIndex) -> Treatment {
        self.stages.get(stage.get()).copied().unwrap_or(Treatment::Reuse)
    }

    /// What is to be done with the instance `name` of `template`, a stage of the plan that is
    /// written once for each item of a list.
    pub fn of_instance(&self, template: StageIndex, name: &StageName) -> Treatment {
        let wished = self
            .instances
            .iter()
            .filter(|(stage, instance, _)| *stage == template && instance == name)
            .map(|wish| wish.2)
            .max();
        let others = self.others.iter().find(|(stage, _)| *stage == template);
        let usual = others.map_or(self.of(template), |others| others.1);
        wished.map_or(usual, |wished| wished.max(usual))
    }

    /// What is to be done with a stage of `grown`, which is the plan with instances after its own
    /// stages.
    pub fn of_grown(&self, grown: &Plan, stage: StageIndex) -> Treatment {
        if stage.get() < self.stages.len() {
            return self.of(stage);
        }
        let PlannedStage { name, instance, .. } = grown.stage(stage);
        let template = instance.as_ref().and_then(|i| grown.find(i.template.as_str()));
        template.map_or(Treatment::Reuse, |template| self.of_instance(template, name))
    }

    /// Instances of `template` that were asked for by name and are not among `names`.
    pub fn missing_instances<'a>(
        &'a self,
        template: StageIndex,
        names: &'a [StageName],
    ) -> impl Iterator<Item = &'a StageName> {
        self.instances
            .iter()
            .filter(move |(stage, name, _)| *stage == template && !names.contains(name))
            .map(|wish| &wish.1)
    }

    /// Whether any stage is to be treated so.
    pub fn any(&self, treatment: Treatment) -> bool {
        self.stages.contains(&treatment)
            || self.instances.iter().any(|(.., wished)| *wished == treatment)
    }

    fn raise(&mut self, stages: &[bool], treatment: Treatment) {
        for (current, chosen) in self.stages.iter_mut().zip(stages) {
            if *chosen {
                *current = treatment.max(*current);
            }
        }
    }

    fn single(&mut self, instances: &[(StageIndex, StageName)], treatment: Treatment) {
        self.instances
            .extend(instances.iter().map(|(stage, name)| (*stage, name.clone(), treatment)));
    }

    /// A stage of which only single instances were asked for is looked at as usual, so that there
    /// are instances; the others of them stay as that stage would have stayed.
    fn settle(&mut self) {
        for (stage, ..) in &self.instances {
            let treatment = &mut self.stages[stage.get()];
            if !self.others.iter().any(|(other, _)| other == stage) {
                self.others.push((*stage, *treatment));
            }
            *treatment = Treatment::Reuse.max(*treatment);
        }
    }
}

/// The stages that the names of one flag mean.
struct Wish {
    stages: Vec<bool>,
    instances: Vec<(StageIndex, StageName)>,
}

impl Wish {
    fn new(plan: &Plan) -> Self {
        Self { stages: vec![false; plan.stages.len()], instances: Vec::new() }
    }

    fn add(&mut self, meant: Meant) {
        match meant {
            Meant::Stages(stages) => {
                stages.iter().for_each(|stage| self.stages[stage.get()] = true);
            }
            Meant::Instance(stage, name) => self.instances.push((stage, name)),
        }
    }

    /// The stages, and those of which single instances are meant.
    fn touched(&self) -> Vec<bool> {
        let mut touched = self.stages.clone();
        self.instances.iter().for_each(|(stage, _)| touched[stage.get()] = true);
        touched
    }

    /// The stages and all that they need.
    fn with_needs(&self, plan: &Plan) -> Vec<bool> {
        let mut touched = self.touched();
        let needs = needs_of(plan, &touched);
        touched.iter_mut().zip(needs).for_each(|(touched, need)| *touched |= need);
        touched
    }

    /// The stages and all that depends on them or on the single instances.
    fn with_dependents(&self, plan: &Plan) -> Vec<bool> {
        let touched = self.touched();
        let mut chosen = self.stages.clone();
        // What a stage needs comes before it.
        for (index, stage) in plan.indexed() {
            chosen[index.get()] |=
                stage.needs().any(|need| chosen[need.get()] || touched[need.get()]);
        }
        chosen
    }
}

/// All that the chosen stages need, directly or not, without themselves unless one needs another.
fn needs_of(plan: &Plan, chosen: &[bool]) -> Vec<bool> {
    let mut needed = vec![false; chosen.len()];
    for (index, stage) in plan.indexed().collect::<Vec<_>>().into_iter().rev() {
        if chosen[index.get()] || needed[index.get()] {
            stage.needs().for_each(|need| needed[need.get()] = true);
        }
    }
    needed
}

fn meant(plan: &Plan, name: &str) -> Option<Meant> {
    let stages: Vec<StageIndex> = plan
        .indexed()
        .filter(|(_, stage)| stage.name.is_meant_by(name))
        .map(|(index, _)| index)
        .collect();
    if !stages.is_empty() {
        return Some(Meant::Stages(stages));
    }
    check_stage_name(name).ok()?;
    let (index, _) = plan.indexed().find(|(_, stage)| {
        let label = name.strip_prefix(stage.name.as_str()).unwrap_or_default();
        stage.foreach.is_some() && label.starts_with('[') && !label.contains('/')
    })?;
    Some(Meant::Instance(index, StageName::new(name).ok()?))
}

/// All that a stage or a group of stages can be called.
fn known_names(plan: &Plan) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    for stage in &plan.stages {
        let template = stage.name.template();
        for (end, _) in template.match_indices('/') {
            add(&template[..end]);
        }
        add(&template);
        add(stage.name.as_str());
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Treatment::*;
    use super::*;
    use crate::plan::PlannedStage;

    /// A plan of stages, each with the places of those that it comes after.
    fn plan(stages: &[(&str, &[u32])]) -> Plan {
        let stage = |(name, after): &(&str, &[u32])| -> PlannedStage {
            let (name, list) = match name.strip_suffix("[]") {
                Some(name) => (name, json!({"variable": "x", "from": after[0], "output": "list"})),
                None => (*name, json!(null)),
            };
            serde_json::from_value(json!({
                "name": name, "kind": "command", "revision": 1, "config": {}, "inputs": [],
                "outputs": [], "after": after, "retry": {}, "timeout": null, "resources": {},
                "cache": true, "sources": [], "source_fields": [], "ordered_fields": [],
                "environment": [], "metrics": null, "description": null, "foreach": list,
            }))
            .expect("a stage")
        };
        let mut plan: Plan = serde_json::from_value(json!({
            "pipeline": "p", "experiment": "p", "description": null, "file": "/p.yaml",
            "base": "/", "params": [], "overridden": [], "stages": [],
        }))
        .expect("a plan");
        plan.stages = stages.iter().map(stage).collect();
        plan
    }

    /// load -> parts -> train -> evaluate -> deploy; train -> explain; notes stands alone.
    fn line() -> Plan {
        plan(&[
            ("load", &[]),
            ("parts", &[0]),
            ("train", &[1]),
            ("evaluate", &[2]),
            ("explain", &[2]),
            ("deploy", &[3]),
            ("notes", &[]),
        ])
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn check(plan: &Plan, selection: Selection, expect: &[Treatment]) {
        let treatments = selection.resolve(plan).expect("it fits");
        assert_eq!(treatments.stages, expect, "{selection:?}");
    }

    #[test]
    fn without_a_wish_everything_is_as_usual() {
        check(&line(), Selection::default(), &[Reuse; 7]);
        assert!(Selection::default().is_empty());
        check(&line(), Selection { all: true, ..Selection::default() }, &[Force; 7]);
    }

    #[test]
    fn from_takes_what_depends_on_it_and_reuses_what_it_needs() {
        let from = |stages: &[&str]| Selection { from: names(stages), ..Selection::default() };
        check(&line(), from(&["train"]), &[Reuse, Reuse, Force, Force, Force, Force, Leave]);
        check(&line(), from(&["deploy"]), &[Reuse, Reuse, Reuse, Reuse, Leave, Force, Leave]);
        check(
            &line(),
            from(&["explain", "notes"]),
            &[Reuse, Reuse, Reuse, Leave, Force, Leave, Force],
        );
    }

    #[test]
    fn until_takes_what_it_needs() {
        let until = |stages: &[&str]| Selection { until: names(stages), ..Selection::default() };
        check(&line(), until(&["train"]), &[Reuse, Reuse, Reuse, Leave, Leave, Leave, Leave]);
        check(
            &line(),
            until(&["load", "notes"]),
            &[Reuse, Leave, Leave, Leave, Leave, Leave, Reuse],
        );
    }

    #[test]
    fn from_and_until_take_what_lies_between() {
        let between = |from: &str, until: &str| Selection {
            from: names(&[from]),
            until: names(&[until]),
            ..Selection::default()
        };
        check(
            &line(),
            between("parts", "evaluate"),
            &[Reuse, Force, Force, Force, Leave, Leave, Leave],
        );
        let nothing = between("explain", "deploy").resolve(&line()).expect_err("nothing");
        assert_eq!(
            nothing.to_string(),
            "nothing lies between `--from explain` and `--until deploy`: the second does not \
             depend on the first"
        );
    }

    #[test]
    fn only_wants_the_rest_to_be_there() {
        let only = Selection { only: names(&["evaluate"]), ..Selection::default() };
        check(&line(), only, &[Present, Present, Present, Force, Leave, Leave, Leave]);
        let both = Selection { only: names(&["train", "deploy"]), ..Selection::default() };
        check(&line(), both, &[Present, Present, Force, Present, Leave, Force, Leave]);
        let all = Selection { only: names(&["parts"]), all: true, ..Selection::default() };
        check(&line(), all, &[Present, Force, Leave, Leave, Leave, Leave, Leave]);
    }

    #[test]
    fn force_changes_nothing_else() {
        let force = |until: &[&str]| Selection {
            force: names(&["parts"]),
            until: names(until),
            ..Selection::default()
        };
        check(&line(), force(&[]), &[Reuse, Force, Reuse, Reuse, Reuse, Reuse, Reuse]);
        check(&line(), force(&["notes"]), &[Reuse, Force, Leave, Leave, Leave, Leave, Reuse]);
    }

    #[test]
    fn names_mean_stages_instances_and_sub_pipelines() {
        let plan = plan(&[
            ("raw", &[]),
            ("train[lr=0.1]", &[0]),
            ("train[lr=0.2]", &[0]),
            ("features/clean", &[0]),
            ("features/encode", &[3]),
        ]);
        let only = |name: &str| Selection { only: names(&[name]), ..Selection::default() };
        check(&plan, only("train"), &[Present, Force, Force, Leave, Leave]);
        check(&plan, only("train[lr=0.2]"), &[Present, Leave, Force, Leave, Leave]);
        check(&plan, only("features"), &[Present, Leave, Leave, Force, Force]);
        check(&plan, only("features/encode"), &[Present, Leave, Leave, Present, Force]);
    }

    #[test]
    fn every_unknown_name_is_told_with_what_may_be_meant() {
        let selection = Selection {
            from: names(&["trian"]),
            force: names(&["xyzxyz", "load"]),
            ..Selection::default()
        };
        let error = selection.resolve(&line()).expect_err("unknown").to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines[0], "`--from trian`: there is no such stage; did you mean `train`?");
        assert!(lines[1].starts_with("`--force xyzxyz`: there is no such stage; there are"));
        assert_eq!(lines.len(), 2);
        // A label of a stage that has no instances to come is no such stage, either.
        let label = Selection { only: names(&["train[lr=3]"]), ..Selection::default() };
        assert!(label.resolve(&line()).is_err());
    }

    #[test]
    fn instances_that_are_not_known_yet_can_be_named() {
        let plan = plan(&[("folds", &[]), ("fit[]", &[0]), ("best", &[1])]);
        let fit = StageIndex(1);
        let [zero, one] = ["fit[fold=0]", "fit[fold=1]"].map(|n| StageName::new(n).expect("one"));
        let resolve = |selection: Selection| selection.resolve(&plan).expect("it fits");

        let only = Selection { only: names(&["fit[fold=1]"]), ..Selection::default() };
        let only = resolve(only);
        assert_eq!(only.stages, [Present, Reuse, Leave]);
        assert_eq!((only.of_instance(fit, &zero), only.of_instance(fit, &one)), (Leave, Force));
        assert_eq!(
            only.missing_instances(fit, std::slice::from_ref(&zero)).collect::<Vec<_>>(),
            [&one]
        );
        assert_eq!(only.missing_instances(fit, std::slice::from_ref(&one)).count(), 0);

        let from = resolve(Selection { from: names(&["fit[fold=1]"]), ..Selection::default() });
        assert_eq!(from.stages, [Reuse, Reuse, Force]);
        // What comes after needs all instances.
        assert_eq!((from.of_instance(fit, &zero), from.of_instance(fit, &one)), (Reuse, Force));

        let all = resolve(Selection { only: names(&["fit"]), ..Selection::default() });
        assert_eq!(all.of_instance(fit, &zero), Force);
        let force = resolve(Selection { force: names(&["fit[fold=1]"]), ..Selection::default() });
        assert_eq!(force.stages, [Reuse, Reuse, Reuse]);
        assert_eq!((force.of_instance(fit, &zero), force.of_instance(fit, &one)), (Reuse, Force));
    }
}
