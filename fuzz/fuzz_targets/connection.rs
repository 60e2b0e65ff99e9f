//! One plain connection: see `src/proto/tcp/script.rs` for what a script is and what it claims.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| longshore::fuzzing::connection(script));
