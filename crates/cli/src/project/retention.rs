//! `retention:` of `wick.yaml`: which runs `wick gc` removes without being told each time.

use std::time::Duration;

use wick_pipeline::node::{Data, Node};
use wick_pipeline::{Diagnostic, Diagnostics, units};

use super::config::{expected, text, unknown_key};

const KEYS: [&str; 3] = ["older_than", "keep_last", "experiments"];
const RULE_KEYS: [&str; 2] = ["older_than", "keep_last"];

/// Which runs may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rule {
    /// Those that began longer ago.
    pub older_than: Option<Duration>,
    /// All but so many of the last of each experiment.
    pub keep_last: Option<u32>,
}

impl Rule {
    /// Whether no run may go.
    pub const fn is_empty(&self) -> bool {
        self.older_than.is_none() && self.keep_last.is_none()
    }

    /// Whether a run may go that began so long ago, after which so many of its experiment came.
    pub fn lets_go(&self, age: Duration, newer: u32) -> bool {
        !self.is_empty()
            && self.older_than.is_none_or(|older_than| age > older_than)
            && self.keep_last.is_none_or(|keep_last| newer >= keep_last)
    }
}

/// The rules of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// For all experiments.
    pub rule: Rule,
    /// For experiments, each in the place of the one for all.
    pub experiments: Vec<(String, Rule)>,
}

impl Retention {
    /// The rule for an experiment.
    pub fn of(&self, experiment: &str) -> Rule {
        let own = self.experiments.iter().find(|(name, _)| name == experiment);
        own.map_or(self.rule, |(_, rule)| *rule)
    }

    /// Whether no run may go.
    pub fn is_empty(&self) -> bool {
        self.rule.is_empty() && self.experiments.iter().all(|(_, rule)| rule.is_empty())
    }

    /// What stands at `retention:`.
    pub(super) fn take(node: &Node, diagnostics: &mut Diagnostics) -> Self {
        let mut retention = Self::default();
        let Some(entries) = node.as_map() else {
            diagnostics
                .push(expected("a mapping such as `{older_than: 90d, keep_last: 100}`", node));
            return retention;
        };
        for entry in entries {
            match entry.key.as_str() {
                "experiments" => match entry.value.as_map() {
                    Some(experiments) => {
                        for entry in experiments {
                            let rule = rule(&entry.value, diagnostics);
                            retention.experiments.push((entry.key.clone(), rule));
                        }
                    }
                    None => diagnostics.push(expected("rules by experiment", &entry.value)),
                },
                key if RULE_KEYS.contains(&key) => {
                    set(&mut retention.rule, key, &entry.value, diagnostics);
                }
                _ => unknown_key(entry, &KEYS, diagnostics),
            }
        }
        retention
    }
}

fn rule(node: &Node, diagnostics: &mut Diagnostics) -> Rule {
    let mut rule = Rule::default();
    let Some(entries) = node.as_map() else {
        diagnostics.push(expected("a mapping such as `{keep_last: 10}`", node));
        return rule;
    };
    for entry in entries {
        match entry.key.as_str() {
            key if RULE_KEYS.contains(&key) => set(&mut rule, key, &entry.value, diagnostics),
            _ => unknown_key(entry, &RULE_KEYS, diagnostics),
        }
    }
    rule
}

fn set(rule: &mut Rule, key: &str, node: &Node, diagnostics: &mut Diagnostics) {
    if key == "keep_last" {
        let number = match &node.data {
            Data::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        match number {
            Some(number) => rule.keep_last = Some(number),
            None => diagnostics.push(expected("a whole number from 0 on", node)),
        }
        return;
    }
    let Some(text) = text(node, diagnostics) else { return };
    match units::parse_duration(&text) {
        Ok(duration) => rule.older_than = Some(duration),
        Err(reason) => diagnostics.push(
            Diagnostic::error(
                "wrong-value",
                node.span,
                format!("`{text}` is no length of time: {reason}"),
            )
            .help("write a number and a unit: `90d`, `12h`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_run_goes_when_all_of_its_rule_says_so() {
        let rule = Rule { older_than: Some(DAY * 90), keep_last: Some(2) };
        assert!(rule.lets_go(DAY * 91, 2));
        assert!(!rule.lets_go(DAY * 91, 1), "it is one of the last");
        assert!(!rule.lets_go(DAY * 89, 9), "it is young");
        let by_count = Rule { keep_last: Some(0), ..Rule::default() };
        assert!(by_count.lets_go(Duration::ZERO, 0));
        assert!(!Rule::default().lets_go(DAY * 9999, 9999), "no rule lets nothing go");
    }
}
