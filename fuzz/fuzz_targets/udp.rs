//! Datagrams in and out: see `src/proto/datagram/script.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| longshore::fuzzing::udp(script));
