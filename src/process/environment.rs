//! Values that a process gives to those that it spawns: its environment.
//!
//! ```text
//!  node options ─▶ every process          spawn options ─▶ the process ─▶ its children ─▶ their children
//! ```
//!
//! A process inherits what its parent has at the spawn, by one pointer. What its spawn options or the process itself
//! add is a copy of the names beside it, so that neither the parent nor those that were spawned before see it. A
//! process without values has no pointer, and looks at those of the node.
//!
//! What it does not do: a value does not change; a process that needs new ones is sent a message.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::lifecycle::ProcessContext;
use crate::id::Name;

type Value = Arc<dyn Any + Send + Sync>;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Environment(Option<Arc<Vec<(Name, Value)>>>);

impl Environment {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Sets a value, in the place of one that has the name.
    pub(crate) fn set<T: Any + Send + Sync>(&mut self, name: Name, value: T) {
        self.set_value(name, Arc::new(value));
    }

    fn set_value(&mut self, name: Name, value: Value) {
        // A copy if it is shared: those that have inherited it keep what they had.
        let values = Arc::make_mut(self.0.get_or_insert_default());
        match values.iter_mut().find(|(other, _)| *other == name) {
            Some(entry) => entry.1 = value,
            None => values.push((name, value)),
        }
    }

    /// These values, and those of `parent` whose names are not among them.
    pub(super) fn above(&self, parent: &Self) -> Self {
        let Some(own) = &self.0 else {
            return parent.clone();
        };
        let mut all = parent.clone();
        for (name, value) in &**own {
            all.set_value(name.clone(), Arc::clone(value));
        }
        all
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let mut values = self.0.iter().flat_map(|values| values.iter());
        values
            .find(|(other, _)| other.as_str() == name)
            .map(|(_, value)| value)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().flat_map(|values| values.iter());
        f.debug_list()
            .entries(names.map(|(name, _)| name.as_str()))
            .finish()
    }
}

impl ProcessContext<'_> {
    /// The value of that name and type.
    pub(crate) fn environment<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        let own = self.control.environment().and_then(|own| own.get(name));
        let value = own.or_else(|| self.processes.environment.get(name))?;
        Arc::downcast(Arc::clone(value)).ok()
    }

    /// Sets a value of this process and of those that it spawns from now on.
    pub(crate) fn set_environment<T: Any + Send + Sync>(&mut self, name: Name, value: T) {
        self.control.environment_mut().set(name, value);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn own_values_stand_above_those_of_the_parent_and_change_nothing_of_it() {
        let mut parent = Environment::default();
        parent.set("region".into(), 1_u8);
        parent.set("zone".into(), 2_u8);
        let mut own = Environment::default();
        own.set("zone".into(), 3_u8);
        let child = own.above(&parent);
        let value = |of: &Environment, name| {
            let value = of.get(name)?;
            value.downcast_ref::<u8>().copied()
        };
        assert_eq!(value(&child, "region"), Some(1));
        assert_eq!(value(&child, "zone"), Some(3));
        assert_eq!(value(&parent, "zone"), Some(2));
        assert_eq!(value(&own, "region"), None);
        assert_eq!(format!("{child:?}"), r#"["region", "zone"]"#);
    }

    #[test]
    fn values_that_are_set_again_take_no_further_place() {
        let mut environment = Environment::default();
        for value in 0..1_000_u32 {
            environment.set("counter".into(), value);
        }
        assert_eq!(environment.0.map(|values| values.len()), Some(1));
    }
}
