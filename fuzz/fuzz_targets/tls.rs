//! TLS sessions, with arbitrary splits and damage: see `src/proto/tls/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: longshore::fuzzing::ignore_rustls_debug_asserts(), |script: &[u8]| longshore::fuzzing::tls(script));
