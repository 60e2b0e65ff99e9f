//! Headers of the PROXY protocol, as they come, and built and damaged: see `src/proto/proxy/claims.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| longshore::fuzzing::proxy(script));
