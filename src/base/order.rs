//! A fixed order for what a set or a map holds. A hash set takes a quarter of the compiler's time for a B-tree, and less
//! memory while it is small; where the order of a walk can be observed, the walk goes through here.

/// What a set or a map holds, in a fixed order, so that what follows from it has the same order in every run.
pub(crate) fn in_order<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort_unstable();
    items
}
