//! Peers over TLS that ask for much and read late.

use super::*;
use crate::pipelines::{blocks, expect_block, peak_of, wait_for_high_marks};

#[test]
#[cfg(target_os = "linux")]
fn pipelined_answers_to_a_late_reader_over_tls_take_less_than_16_mebibytes() {
    let test = "tls::late_readers::pipelined_answers_to_a_late_reader_over_tls_take_less_than_16_mebibytes";
    alone(test, || {
        let site = Site::new();
        let (addr, ended) = blocks(&site.node, site.server().with_host("127.0.0.1"));
        let config = Arc::new(site.rustls(&TLS13));
        let mut chunk = vec![0; 64 << 10];
        for count in [16, 64, 256] {
            let requests: Vec<u8> = (0..count).map(|number| number as u8).collect();
            let peak = peak_of(|| {
                let mut stream = raw(addr, &config);
                stream.write_all(&requests).unwrap();
                wait_for_high_marks(&site.node, 1);
                for byte in &requests {
                    expect_block(&mut stream, *byte, &mut chunk);
                }
            });
            println!("{count} requests: {} KiB", peak >> 10);
            assert!(peak < 16 << 20, "{count} requests: {} KiB", peak >> 10);
            ended.recv_timeout(LIMIT).expect("its end");
        }
        stop_clean(&site.node);
    });
}
