//! The machine that stages have to fit in.

use std::collections::BTreeMap;

use wick_pipeline::units::format_memory;
use wick_pipeline::{Diagnostic, Diagnostics, Stage, suggest};

/// The most that one machine gives to its stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes, if that is known.
    pub memory: Option<u64>,
    /// GPUs.
    pub gpus: u32,
    /// What the project counts by name: `slots: {named: {database: 2}}` in `wick.yaml`. `None` if
    /// that is not known, and every name will do.
    pub named: Option<BTreeMap<String, u32>>,
}

impl Machine {
    /// A machine that every stage fits in: to check a file for another machine.
    pub const UNLIMITED: Machine =
        Machine { cpus: u32::MAX, memory: None, gpus: u32::MAX, named: None };
}

/// Whether the machine could ever run the stage.
pub(crate) fn check(stage: &Stage, machine: &Machine, diagnostics: &mut Diagnostics) {
    let wanted = &stage.resources;
    let at = stage.resources_at.unwrap_or(stage.name.span);
    let mut refuse = |message: String, help: &str| {
        diagnostics.push(Diagnostic::error("too-large", at, message).help(help));
    };
    let name = &stage.name.value;
    if wanted.cpus > machine.cpus {
        refuse(
            format!("stage `{name}` asks for {} cpus, and there are {}", wanted.cpus, machine.cpus),
            "ask for less, or run it on a larger machine",
        );
    }
    if wanted.gpus > machine.gpus {
        refuse(
            format!("stage `{name}` asks for {} gpus, and there are {}", wanted.gpus, machine.gpus),
            "ask for less, or run it on a machine that has them",
        );
    }
    if let (Some(wanted), Some(there)) = (wanted.memory, machine.memory)
        && wanted > there
    {
        refuse(
            format!(
                "stage `{name}` asks for {} of memory, and there are {}",
                format_memory(wanted),
                format_memory(there)
            ),
            "ask for less, or run it on a larger machine",
        );
    }
    let Some(there) = &machine.named else { return };
    for (slot, shares) in &wanted.named {
        let at = stage.slots_at.iter().find(|(name, _)| name == slot).map_or(at, |(_, span)| *span);
        match there.get(slot) {
            Some(there) if there >= shares => {}
            Some(there) => diagnostics.push(
                Diagnostic::error(
                    "too-large",
                    at,
                    format!(
                        "stage `{name}` asks for {shares} of slot `{slot}`, and there are {there}"
                    ),
                )
                .help("ask for less, or raise it in wick.yaml, under `slots: {named: …}`"),
            ),
            None => {
                let near = suggest::nearest(slot, there.keys().map(String::as_str));
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        format!("declare it in wick.yaml: `slots: {{named: {{{slot}: {shares}}}}}`")
                    }
                };
                diagnostics.push(
                    Diagnostic::error("unknown-slot", at, format!("there is no slot `{slot}`"))
                        .help(help),
                );
            }
        }
    }
}
