//! All kinds that this `wick` knows, by name.

use std::collections::BTreeMap;

use crate::kind::Kind;

/// Kinds by name.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Box<dyn Kind>>,
}

impl Registry {
    /// No kinds yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds kinds. A later kind of the same name takes the place of an earlier one.
    #[must_use]
    pub fn with(mut self, kinds: impl IntoIterator<Item = Box<dyn Kind>>) -> Self {
        self.kinds.extend(kinds.into_iter().map(|kind| (kind.name(), kind)));
        self
    }

    /// The kind called `name`.
    pub fn get(&self, name: &str) -> Option<&dyn Kind> {
        self.kinds.get(name).map(Box::as_ref)
    }

    /// All kinds, by name.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Kind> {
        self.kinds.values().map(Box::as_ref)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.keys().copied()
    }
}
