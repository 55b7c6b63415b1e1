//! Finds the stages that others name: as they are written, by label, or all instances.

use std::collections::HashMap;

use wick_pipeline::subpipeline::{INPUTS, Role};
use wick_pipeline::{Diagnostic, Diagnostics, InstanceOf, Span, Spanned, Stage, Which, suggest};

use crate::check::Draft;
use crate::subpipeline::called;

/// The stages of a pipeline by name.
pub(crate) struct Names {
    exact: HashMap<String, usize>,
    /// The instances of stages that are written once for several, in their order.
    families: HashMap<String, Vec<usize>>,
}

/// What a name means.
pub(crate) enum Found {
    /// This stage.
    One(usize),
    /// All instances of a stage; a template stands for all of its own.
    All(Vec<usize>),
}

/// What a stage is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To read from it.
    Read,
    /// To run after it.
    After,
    /// To ask for what it measured or made.
    Ask,
}

impl Names {
    pub(crate) fn new(drafts: &[Draft<'_>]) -> Self {
        let mut names = Self { exact: HashMap::new(), families: HashMap::new() };
        for (place, draft) in drafts.iter().enumerate() {
            names.exact.insert(draft.stage.name.value.clone(), place);
            // What a sub-pipeline is given is no instance of it: what it makes is.
            let is_inputs = matches!(draft.stage.role, Role::Inputs(_));
            if let Some(instance) = draft.stage.instance.as_ref().filter(|_| !is_inputs) {
                names.families.entry(instance.template.clone()).or_default().push(place);
            }
        }
        names
    }

    /// The place of the stage called `name`.
    pub(crate) fn exact(&self, name: &str) -> Option<usize> {
        self.exact.get(name).copied()
    }

    /// What `name` means in the stage at `reader`; `None` if it means nothing, which is reported.
    pub(crate) fn find(
        &self,
        reader: usize,
        name: &Spanned<String>,
        which: &Which,
        purpose: Purpose,
        drafts: &[Draft<'_>],
        diagnostics: &mut Diagnostics,
    ) -> Option<Found> {
        let exact = self.exact.get(&name.value).copied();
        let family = self.families.get(&name.value);
        let shown = written(&drafts[reader], &name.value);
        let diagnostic = match (which, exact, family) {
            (Which::Same, Some(place), _) => {
                let reader = &drafts[reader].stage;
                match &drafts[place].stage.foreach {
                    Some(list) if !is_of_list(reader, list) => {
                        not_one(name.span, shown, None, purpose)
                    }
                    _ => return Some(Found::One(place)),
                }
            }
            (Which::Same, None, Some(members)) => {
                match same_values(&drafts[reader].stage, members, drafts) {
                    Same::Member(place) => return Some(Found::One(place)),
                    Same::NoMember(values) => Diagnostic::error(
                        "bad-instance",
                        name.span,
                        format!("stage `{}` has no instance with {values}", shown),
                    )
                    .help("exclude these values here too, or name another instance"),
                    Same::OtherAxes => {
                        let first = &drafts[members[0]].stage;
                        not_one(name.span, shown, Some((first, members.len())), purpose)
                    }
                }
            }
            (Which::Label(label), _, Some(members)) => match labelled(label, members, drafts) {
                Some(place) => return Some(Found::One(place)),
                None => {
                    let labels = members.iter().filter_map(|member| label_of(*member, drafts));
                    let help = diagnostics.suggest(label, labels);
                    Diagnostic::error(
                        "bad-instance",
                        name.span,
                        format!("stage `{}` has no instance `[{label}]`", shown),
                    )
                    .maybe_help(help)
                }
            },
            (Which::All, _, Some(members)) if purpose != Purpose::Ask => {
                return Some(Found::All(members.clone()));
            }
            (Which::All, _, Some(_)) => Diagnostic::error(
                "bad-instance",
                name.span,
                "a condition asks one instance, not all of them",
            )
            .help(format!("name it by its label: `{}[LABEL]`", shown)),
            (Which::All, Some(place), None)
                if drafts[place].stage.foreach.is_some() && purpose != Purpose::Ask =>
            {
                return Some(Found::All(vec![place]));
            }
            (Which::Label(_), Some(place), None) if drafts[place].stage.foreach.is_some() => {
                Diagnostic::error(
                    "bad-instance",
                    name.span,
                    format!("which instances stage `{}` has is known only in the run", shown),
                )
                .help(format!("read from all of them: `{}[*]`", shown))
            }
            (Which::Label(_) | Which::All, Some(_), None) => Diagnostic::error(
                "bad-instance",
                name.span,
                format!("stage `{}` has no instances", shown),
            )
            .help(format!("write `{}`, or give it a `matrix` or a `foreach`", shown)),
            (_, None, None) => self.unknown(&drafts[reader], name, drafts, diagnostics),
        };
        diagnostics.push(diagnostic);
        None
    }

    /// That `reader` names a stage that its file does not have.
    fn unknown(
        &self,
        reader: &Draft<'_>,
        name: &Spanned<String>,
        drafts: &[Draft<'_>],
        diagnostics: &mut Diagnostics,
    ) -> Diagnostic {
        let prefix = prefix_of(&reader.stage);
        let written = name.value.strip_prefix(prefix.as_str()).unwrap_or(&name.value);
        if written == INPUTS {
            let help = "declare what it takes at the top of the file: `inputs: {NAME: TYPE}`";
            return Diagnostic::error("unknown-input", name.span, "the pipeline has no inputs")
                .help(help);
        }
        // Stages know those of their own file alone, by the names that they have there.
        let own = |name: &&str| !name.is_empty() && !name.contains('/');
        let is_first =
            |stage: &Stage| stage.instance.as_ref().is_none_or(|instance| instance.place == 0);
        let known = drafts
            .iter()
            .map(|draft| &draft.stage)
            .filter(|stage| !matches!(stage.role, Role::Inputs(_)) && is_first(stage))
            .filter_map(|stage| template(stage).strip_prefix(prefix.as_str()).filter(own));
        let help = diagnostics.suggest(written, known);
        Diagnostic::error("unknown-stage", name.span, format!("there is no stage `{written}`"))
            .maybe_help(help)
    }

    /// The instances of `name` that have the same values as `members`, in their order.
    pub(crate) fn alike(
        &self,
        members: &[usize],
        name: &Spanned<String>,
        reader: usize,
        drafts: &[Draft<'_>],
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<usize>> {
        let stage = |place: &usize| &drafts[*place].stage;
        // A template and another for the same list.
        if let [only] = members
            && let Some(list) = &stage(only).foreach
            && let Some(other) = self.exact.get(&name.value)
            && is_of_list(stage(other), list)
        {
            return Some(vec![*other]);
        }
        let family = self.families.get(&name.value);
        let found: Option<Vec<usize>> = members
            .iter()
            .map(|member| match same_values(stage(member), family?, drafts) {
                Same::Member(place) if values(stage(&place)) == values(stage(member)) => {
                    Some(place)
                }
                _ => None,
            })
            .collect();
        if found.is_some() {
            return found;
        }
        if !self.exact.contains_key(&name.value) && family.is_none() {
            let unknown = self.unknown(&drafts[reader], name, drafts, diagnostics);
            diagnostics.push(unknown);
            return None;
        }
        let reader = &drafts[reader];
        let of = members.first().map_or("", |member| template(stage(member)));
        let (of, name) =
            (written(reader, of), Spanned::new(written(reader, &name.value), name.span));
        diagnostics.push(
            Diagnostic::error(
                "bad-instance",
                name.span,
                format!("`{}` does not have the same instances as `{of}`", name.value),
            )
            .help(format!("name a stage with the same `matrix` or `foreach` as `{of}`")),
        );
        None
    }
}

/// What the names of the stages in the same file as `stage` start with.
fn prefix_of(stage: &Stage) -> String {
    let name = match stage.role {
        Role::Outputs if stage.name.value.is_empty() => return String::new(),
        Role::Outputs => return format!("{}/", stage.name.value),
        Role::Inputs(_) => called(stage),
        Role::Stage => &stage.name.value,
    };
    name.rfind('/').map_or_else(String::new, |at| name[..=at].to_owned())
}

/// How the file of `reader` writes the name of a stage.
pub(crate) fn written<'n>(reader: &Draft<'_>, name: &'n str) -> &'n str {
    name.strip_prefix(prefix_of(&reader.stage).as_str()).unwrap_or(name)
}

fn template(stage: &Stage) -> &str {
    stage.instance.as_ref().map_or(stage.name.value.as_str(), |instance| &instance.template)
}

fn values(stage: &Stage) -> Option<&[(String, serde_json::Value)]> {
    stage.instance.as_ref().map(|instance| instance.values.as_slice())
}

fn label_of<'d>(place: usize, drafts: &'d [Draft<'_>]) -> Option<&'d str> {
    drafts[place].stage.instance.as_ref().map(|instance| instance.label.as_str())
}

/// Whether the stage is written for the items of `list`, known or not.
fn is_of_list(stage: &Stage, list: &wick_pipeline::ForeachList) -> bool {
    let of_instance = stage.instance.as_ref().and_then(|instance| instance.list.as_ref());
    stage.foreach.as_deref().or(of_instance).is_some_and(|own| own.is_same(list))
}

/// The instance among `members` with this label. The axes may be named in another order.
fn labelled(label: &str, members: &[usize], drafts: &[Draft<'_>]) -> Option<usize> {
    let exact = members.iter().find(|member| label_of(**member, drafts) == Some(label));
    if let Some(place) = exact {
        return Some(*place);
    }
    let sorted = |label: &str| {
        let mut parts: Vec<String> = label.split(',').map(str::to_owned).collect();
        parts.sort_unstable();
        parts
    };
    let wanted = sorted(label);
    members
        .iter()
        .find(|member| label_of(**member, drafts).is_some_and(|label| sorted(label) == wanted))
        .copied()
}

/// What an edge without a label means.
enum Same {
    /// The instance with the same values.
    Member(usize),
    /// There is none with these.
    NoMember(String),
    /// The reader lacks an axis.
    OtherAxes,
}

/// The instance among `members` that has the values of `reader`.
fn same_values(reader: &Stage, members: &[usize], drafts: &[Draft<'_>]) -> Same {
    let instance = |place: usize| drafts[place].stage.instance.as_ref();
    let Some((own, first)) = reader.instance.as_ref().zip(instance(members[0])) else {
        return Same::OtherAxes;
    };
    if let Some(list) = &first.list {
        // Items may be equal: their places tell them apart.
        let same = own.list.as_ref().is_some_and(|own| own.is_same(list));
        let member = members.iter().find(|member| {
            same && instance(**member).is_some_and(|member| member.place == own.place)
        });
        return member.map_or(Same::OtherAxes, |member| Same::Member(*member));
    }
    let axes: Option<Vec<&(String, serde_json::Value)>> = first
        .values
        .iter()
        .map(|(axis, _)| own.values.iter().find(|(own, _)| own == axis))
        .collect();
    let Some(wanted) = axes.filter(|_| own.list.is_none()) else { return Same::OtherAxes };
    let fits = |other: &InstanceOf| other.values.iter().eq(wanted.iter().copied());
    match members.iter().find(|member| instance(**member).is_some_and(|other| fits(other))) {
        Some(member) => Same::Member(*member),
        None => {
            let shown: Vec<String> =
                wanted.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
            Same::NoMember(shown.join(", "))
        }
    }
}

/// A stage with instances is named as if it were one.
fn not_one(span: Span, name: &str, first: Option<(&Stage, usize)>, purpose: Purpose) -> Diagnostic {
    let name_of_one = first.map(|(stage, _)| {
        let label = stage.instance.as_ref().map_or("", |instance| &instance.label);
        format!("{name}[{label}]")
    });
    let all = format!("{name}[*]");
    let help = match (purpose, name_of_one) {
        (Purpose::Read, Some(one)) => format!(
            "read from one, `{one}`, from all, `{all}`, or from the best, \
             `{{from: \"{all}\", select: {{metric: KEY, mode: min}}}}`"
        ),
        (Purpose::Read, None) => format!(
            "read from all, `{all}`, or from the best, \
             `{{from: \"{all}\", select: {{metric: KEY, mode: min}}}}`"
        ),
        (Purpose::After, Some(one)) => {
            format!("come after {}", suggest::alternatives(&[one, all]))
        }
        (Purpose::After, None) => format!("come after all of them: `{all}`"),
        (Purpose::Ask, Some(one)) => format!("ask one of them: `{one}`"),
        (Purpose::Ask, None) => "give this stage the same `foreach`".to_owned(),
    };
    let count = first.map_or_else(
        || "an instance for each item".to_owned(),
        |(_, count)| {
            let noun = if count == 1 { "instance" } else { "instances" };
            format!("{count} {noun}")
        },
    );
    Diagnostic::error("bad-instance", span, format!("stage `{name}` has {count}"))
        .label("it is not said which is meant")
        .help(help)
}
