//! Two connections and the wires between them, plain or TLS: see `src/proto/tcp/pair.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: longshore::fuzzing::ignore_rustls_debug_asserts(), |script: &[u8]| longshore::fuzzing::connection_pair(script));
