//! Tests of everything a user can see, over real loopback sockets, many also on simulated nodes: one binary, one file
//! for each subject.
//!
//! The name of a test is a sentence that can be false. No test sleeps to wait for an event: every wait is for a
//! message, for a byte or for a condition, and ends at [`support::LIMIT`]. Ports come from the operating system.

#![allow(
    unreachable_pub,
    reason = "the modules of a test binary have no outside"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(target_os = "linux")]
mod address_table;
mod addresses;
mod asks;
mod attempts;
mod blocking;
mod calls;
mod clients;
mod close;
mod connections;
mod credit;
mod datagrams;
mod drain;
mod edges;
mod environment;
mod events;
mod faults;
mod flow;
mod framing;
mod group_options;
mod hand_over;
mod host;
mod inside;
mod late_orders;
mod listener;
mod mailboxes;
mod messages;
mod meta;
mod meta_ends;
mod metrics;
#[cfg(target_os = "linux")]
mod multicast;
#[cfg(feature = "nats")]
mod nats;
mod network;
mod nodes;
mod options;
mod own_threads;
mod pauses;
mod peer_records;
mod pipelines;
mod pool;
mod processes;
mod proxied;
mod reconnects;
mod records;
#[cfg(target_os = "linux")]
mod registrations;
mod relations;
mod relay_edges;
mod relay_to;
mod relays;
mod renewed;
mod requests;
#[cfg(unix)]
mod run;
mod scheduling;
mod seen;
mod sessions;
#[cfg(feature = "testing")]
mod simulated;
mod stop;
mod stories;
mod supervisors;
mod support;
mod timers;
#[cfg(feature = "tls")]
mod tls;
mod typed;
mod udp_addresses;
mod udp_batches;
mod udp_faults;
#[cfg(unix)]
mod unix_sockets;
mod writing;
