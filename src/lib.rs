//! TCP and UDP meta-processes for actors.
#![forbid(unsafe_code)]
