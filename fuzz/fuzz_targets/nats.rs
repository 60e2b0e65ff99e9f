//! What a NATS server sends, in reads of any size: see `src/nats/protocol/reference.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| longshore::fuzzing::nats(script));
