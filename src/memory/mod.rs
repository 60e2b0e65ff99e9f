//! Memory: buffers and their pool, per-thread caches of free objects, and arenas with stable indices.

pub(crate) mod arena;
pub(crate) mod buffer;
pub(crate) mod free_list;
pub(crate) mod magazine;
