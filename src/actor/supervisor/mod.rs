//! Supervisors: processes that start, watch, restart and end other processes.

mod machine;
mod mutation;
mod policy;
