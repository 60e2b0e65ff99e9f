//! Peers over TLS that ask for much and read late.

use std::net::Shutdown;

use super::*;
use crate::pipelines::{
    Echo, blocks, expect_block, impatient, peak_of, send_behind_the_end, serve,
    wait_for_high_marks, write_until_reset,
};

const MIB: usize = 1 << 20;

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

#[test]
#[cfg(target_os = "linux")]
fn clients_that_never_read_over_tls_end_at_the_write_timeout_in_bounded_memory() {
    let test = "tls::late_readers::clients_that_never_read_over_tls_end_at_the_write_timeout_in_bounded_memory";
    alone(test, || {
        let site = Site::new();
        let server = site.server().with_host("127.0.0.1");
        let (addr, ended) = blocks(&site.node, server.with_limits(impatient()));
        let config = Arc::new(site.rustls(&TLS13));
        let peak = peak_of(|| {
            let mut streams: Vec<_> = (0..40).map(|_| raw(addr, &config)).collect();
            for stream in &mut streams {
                stream.write_all(&[7; 256]).unwrap();
            }
            for _ in &streams {
                let end = ended.recv_timeout(LIMIT);
                assert_eq!(end, Ok(DisconnectReason::SlowReader));
            }
        });
        println!("40 clients: {} KiB", peak >> 10);
        assert!(peak < 40 * (4 + 1) * MIB, "{} KiB", peak >> 10);
        stop_clean(&site.node);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn peer_that_writes_everything_over_tls_before_it_reads_is_bounded_by_the_write_timeout() {
    let test = "tls::late_readers::peer_that_writes_everything_over_tls_before_it_reads_is_bounded_by_the_write_timeout";
    alone(test, || {
        let site = Site::new();
        let server = site.server().with_host("127.0.0.1");
        let (addr, ended) = serve(&site.node, server.with_limits(impatient()), Echo);
        let config = Arc::new(site.rustls(&TLS13));
        let peak = peak_of(|| write_until_reset(&mut raw(addr, &config)));
        let end = ended.recv_timeout(LIMIT);
        assert_eq!(end, Ok(DisconnectReason::SlowReader));
        assert!(peak < 16 * MIB, "{} KiB", peak >> 10);
        stop_clean(&site.node);
    });
}

#[test]
fn input_behind_the_end_of_our_side_comes_over_tls_when_the_output_has_left() {
    let site = Site::new();
    let server = site.server().with_host("127.0.0.1");
    let config = Arc::new(site.rustls(&TLS13));
    let finish = |stream: &mut Raw| {
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
    };
    send_behind_the_end(&site.node, server, |addr| raw(addr, &config), finish);
    wait_for_count(&site.node, "processes", 1);
    stop_clean(&site.node);
}
