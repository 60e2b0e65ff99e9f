use super::super::fuzz_tls;

/// A small generator: the same scripts in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// `LONGSHORE_TLS_SCRIPTS` sets how many.
#[test]
fn random_scripts_keep_every_promise() {
    let cases = std::env::var("LONGSHORE_TLS_SCRIPTS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000);
    for case in 0..cases {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (case + 1));
        let length = random.next() % 200;
        let script: Vec<u8> = (0..length).map(|_| (random.next() >> 32) as u8).collect();
        let outcome = std::panic::catch_unwind(|| fuzz_tls(&script));
        assert!(outcome.is_ok(), "script {case} failed: {script:?}");
    }
}

#[test]
fn a_script_of_any_single_step_ends() {
    for setup in [0, 1, 8, 9] {
        for operation in 0..=255 {
            fuzz_tls(&[setup, operation, 0xa5, 0xff]);
        }
    }
}
