//! Prose: how to use longshore, and how it works inside. Every example on these pages is compiled and run.
//!
//! | Page | Answers |
//! |---|---|
//! | [`is_it_for_me`] | what it is good at, and what to use instead |
//! | [`getting_started`] | what a program looks like, from node to connection |
//! | [`messages_and_owners`] | who gets what, in which order, and how bytes are sent |
//! | [`guarantees`] | order, delivery, what a write means, where back-pressure ends, bounds of memory |
//! | [`framing`] | how a stream becomes messages |
//! | [`writing`] | the verbs of writing, and what each guarantees |
//! | [`sessions`] | a process for each connection |
//! | [`relays_and_proxies`] | two connections that feed each other |
//! | [`connecting`] | how a connection comes about, on either side |
//! | [`flow_control`] | what happens when a side is slow, and every limit |
//! | [`hostile_peers`] | what a peer that means harm can cost, and what it cannot |
//! | [`closing`] | how connections end, and what the owner gets |
//! | [`errors`] | what each error means, whose it is, and what to do |
//! | [`processes`] | exit signals, links, monitors, names, panics |
//! | [`supervision`] | who starts a process again that has failed, and ends those that have not |
//! | [`pools`] | one name, many workers |
//! | [`requests`] | questions with answers |
//! | [`timers_and_blocking_work`] | later, at a fixed rate, and what may block |
//! | [`typed_actors`] | one enum for all that a process handles; and which kind of process to write |
//! | [`events`] | one process publishes, any number of others get it |
//! | [`meta_processes`] | an event source of your own on the loop |
//! | [`testing_your_service`] | a node whose time, sockets and faults a seed decides |
//! | [`stopping`] | how a node ends |
//! | [`logging`] | records: what is reported, where it goes, what bounds it |
//! | [`observing`] | what a node does, and why it is slow |
//! | [`tuning`] | what to set when the defaults do not fit |
//! | [`deployment`] | how a program runs as a service |
//! | [`more_than_one_machine`] | nodes that talk through NATS, and what that guarantees |
//! | [`coming_from_tokio`] | what takes the place of tasks, channels and `select!` |
//! | [`coming_from_erlang`] | what is as in OTP, and what differs |
//! | [`coming_from_ergo`] | what is there, what differs, what is not |
//! | [`one_packet`] | the way of one packet through the source, for those who read it |
//! | [`the_loop`] | what happens between a byte on the wire and your handler |

#[doc = include_str!("is_it_for_me.md")]
pub mod is_it_for_me {}
#[doc = include_str!("getting_started.md")]
pub mod getting_started {}
#[doc = include_str!("messages_and_owners.md")]
pub mod messages_and_owners {}
#[doc = include_str!("guarantees.md")]
pub mod guarantees {}
#[doc = include_str!("framing.md")]
pub mod framing {}
#[doc = include_str!("writing.md")]
pub mod writing {}
#[doc = include_str!("sessions.md")]
pub mod sessions {}
#[doc = include_str!("relays_and_proxies.md")]
pub mod relays_and_proxies {}
#[doc = include_str!("connecting.md")]
pub mod connecting {}
#[doc = include_str!("flow_control.md")]
pub mod flow_control {}
#[doc = include_str!("hostile_peers.md")]
pub mod hostile_peers {}
#[doc = include_str!("closing.md")]
pub mod closing {}
#[doc = include_str!("errors.md")]
pub mod errors {}
#[doc = include_str!("processes.md")]
pub mod processes {}
#[doc = include_str!("supervision.md")]
pub mod supervision {}
#[doc = include_str!("pools.md")]
pub mod pools {}
#[doc = include_str!("requests.md")]
pub mod requests {}
#[doc = include_str!("timers_and_blocking_work.md")]
pub mod timers_and_blocking_work {}
#[doc = include_str!("typed_actors.md")]
pub mod typed_actors {}
#[doc = include_str!("events.md")]
pub mod events {}
#[doc = include_str!("meta_processes.md")]
pub mod meta_processes {}
#[cfg(feature = "testing")]
#[doc = include_str!("testing_your_service.md")]
pub mod testing_your_service {}
#[doc = include_str!("stopping.md")]
pub mod stopping {}
#[doc = include_str!("logging.md")]
pub mod logging {}
#[doc = include_str!("observing.md")]
pub mod observing {}
#[doc = include_str!("tuning.md")]
pub mod tuning {}
#[doc = include_str!("deployment.md")]
pub mod deployment {}
#[cfg(feature = "nats")]
#[doc = include_str!("more_than_one_machine.md")]
pub mod more_than_one_machine {}
#[doc = include_str!("coming_from_tokio.md")]
pub mod coming_from_tokio {}
#[doc = include_str!("coming_from_erlang.md")]
pub mod coming_from_erlang {}
#[doc = include_str!("coming_from_ergo.md")]
pub mod coming_from_ergo {}
#[doc = include_str!("one_packet.md")]
pub mod one_packet {}
#[doc = include_str!("the_loop.md")]
pub mod the_loop {}
