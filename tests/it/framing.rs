//! Framing over real sockets: the claims of the decoder's unit tests, seen from the other end.

use std::io::Write;

use longshore::prelude::*;
use longshore::{BufferPool, ByteOrder, DisconnectReason, FrameError, HeaderFraming};

use crate::support::*;

on_both! {
    framing_changes_on_a_live_connection_from_the_first_undelivered_byte,
    frames_that_arrived_with_the_end_come_before_the_disconnect,
}

/// A way to cut the stream into writes, each of which the peer's kernel may deliver alone.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Bytes,
    Pieces(usize),
}

fn write(stream: &mut std::net::TcpStream, bytes: &[u8], cut: Cut) {
    let size = match cut {
        Cut::Whole => bytes.len().max(1),
        Cut::Bytes => 1,
        Cut::Pieces(size) => size,
    };
    for piece in bytes.chunks(size) {
        stream.write_all(piece).expect("written");
    }
}

/// Sends a stream in several cuts and checks the frames.
#[track_caller]
fn delivers(framing: &Framing, stream: &[u8], frames: &[&[u8]]) {
    let node = node();
    let owner = Probe::spawn(&node);
    let (addr, _) = owner.listen(TcpServerOptions::default().with_framing(framing.clone()));
    for cut in [Cut::Whole, Cut::Bytes, Cut::Pieces(3), Cut::Pieces(7)] {
        let mut peer = client(addr);
        write(&mut peer, stream, cut);
        drop(peer);
        let id = owner.connect().id;
        for frame in frames {
            let packet = owner.tcp();
            assert_eq!(
                (packet.id, &packet.data[..]),
                (id, *frame),
                "{framing:?}, {cut:?}"
            );
        }
        let ended = owner.disconnect();
        assert_eq!(
            (ended.reason, ended.bytes_in),
            (DisconnectReason::ClosedByPeer, stream.len() as u64),
            "{cut:?}"
        );
    }
    stop_clean(&node);
}

/// Sends a stream and checks that the connection ends with this reason after these frames.
#[track_caller]
fn refuses(framing: Framing, stream: &[u8], frames: &[&[u8]], error: FrameError) {
    let node = node();
    let owner = Probe::spawn(&node);
    let (addr, _) = owner.listen(TcpServerOptions::default().with_framing(framing));
    for cut in [Cut::Whole, Cut::Bytes] {
        let mut peer = client(addr);
        for piece in stream.chunks(if matches!(cut, Cut::Whole) {
            stream.len()
        } else {
            1
        }) {
            // The server may close before the last byte.
            if peer.write_all(piece).is_err() {
                break;
            }
        }
        owner.connect();
        for frame in frames {
            assert_eq!(&owner.tcp().data[..], *frame);
        }
        // The peer sees the end without having to end its own side.
        let _ = read_out(&mut peer);
        drop(peer);
        assert_eq!(
            owner.disconnect().reason,
            DisconnectReason::Frame(error.clone())
        );
    }
    stop_clean(&node);
}

fn header() -> HeaderFraming {
    HeaderFraming::default()
}

#[test]
fn every_width_position_and_order_of_a_length_is_understood() {
    for size in [1, 2, 3, 4, 8] {
        for (before, after) in [(0, 0), (2, 0), (0, 3), (1, 1)] {
            for order in [ByteOrder::Big, ByteOrder::Little] {
                for includes in [false, true] {
                    let header_size = before + size + after;
                    let framing = header()
                        .with_header_size(header_size)
                        .with_length_position(before)
                        .with_length_size(size)
                        .with_byte_order(order)
                        .with_length_includes_header(includes);
                    let frame = |payload: &[u8]| {
                        let length =
                            (payload.len() + if includes { header_size } else { 0 }) as u64;
                        let digits = match order {
                            ByteOrder::Big => length.to_be_bytes()[8 - size..].to_vec(),
                            ByteOrder::Little => length.to_le_bytes()[..size].to_vec(),
                        };
                        [
                            &vec![b'<'; before],
                            &digits,
                            &vec![b'>'; after],
                            &payload.to_vec(),
                        ]
                        .map(Vec::as_slice)
                        .concat()
                    };
                    let frames = [frame(b"first"), frame(b""), frame(&[9; 200])];
                    let stream = frames.concat();
                    let expected: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
                    delivers_fast(&Framing::header(framing.clone()), &stream, &expected);
                    let bare: Vec<&[u8]> =
                        frames.iter().map(|frame| &frame[header_size..]).collect();
                    delivers_fast(
                        &Framing::header(framing.with_strip_header(true)),
                        &stream,
                        &bare,
                    );
                }
            }
        }
    }
}

/// The same as [`delivers`], with one node for the whole table and one cut for each row.
#[track_caller]
fn delivers_fast(framing: &Framing, stream: &[u8], frames: &[&[u8]]) {
    use std::cell::RefCell;
    thread_local! {
        static TABLE: RefCell<Option<(Node, Probe, usize)>> = const { RefCell::new(None) };
    }
    TABLE.with_borrow_mut(|table| {
        let (_, owner, row) = table.get_or_insert_with(|| {
            let node = node();
            let owner = Probe::spawn(&node);
            (node, owner, 0)
        });
        let (addr, listener) =
            owner.listen(TcpServerOptions::default().with_framing(framing.clone()));
        *row += 1;
        let cut = [Cut::Whole, Cut::Bytes, Cut::Pieces(5)][*row % 3];
        let mut peer = client(addr);
        write(&mut peer, stream, cut);
        drop(peer);
        owner.connect();
        for frame in frames {
            assert_eq!(&owner.tcp().data[..], *frame, "{framing:?}, {cut:?}");
        }
        assert_eq!(owner.disconnect().reason, DisconnectReason::ClosedByPeer);
        owner.run(move |cx| cx.close(listener)).expect("it lives");
    });
}

#[test]
fn lines_delimiters_and_fixed_lengths_are_cut_whatever_the_reads() {
    delivers(
        &Framing::lines(),
        b"one\r\ntwo\n\nthree\r\r\n",
        &[b"one", b"two", b"", b"three\r"],
    );
    delivers(
        &Framing::delimiter(b"--"),
        b"a-b--c--- --",
        &[b"a-b", b"c", b"- "],
    );
    delivers(
        &Framing::fixed(4),
        b"onlyfourdrop",
        &[b"only", b"four", b"drop"],
    );
}

#[test]
fn a_frame_that_the_end_cuts_off_is_not_delivered() {
    delivers(&Framing::lines(), b"whole\nhal", &[b"whole"]);
    delivers(&Framing::fixed(4), b"fourthr", &[b"four"]);
    delivers(
        &Framing::header(header()),
        b"\0\0\0\x02hi\0\0\0\x05hal",
        &[b"\0\0\0\x02hi"],
    );
    delivers(&Framing::header(header()), b"\0\0", &[]);
}

#[test]
fn a_length_of_zero_or_below_the_header_is_refused_if_it_counts_the_header() {
    let includes = Framing::header(header().with_length_includes_header(true));
    for length in 0..4_u8 {
        let stream = [0, 0, 0, 5, b'x', 0, 0, 0, length, b'!', b'!'];
        let error = FrameError::BelowHeader {
            length: length.into(),
            header_size: 4,
        };
        refuses(includes.clone(), &stream, &[b"\0\0\0\x05x"], error);
    }
    // With the header included, this is a frame without payload.
    delivers(
        &Framing::header(header()),
        &[0; 12],
        &[&[0; 4], &[0; 4], &[0; 4]],
    );
}

#[test]
fn a_frame_above_the_maximum_is_refused_at_its_header_without_memory_for_it() {
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let pool = BufferPool::new();
    let owner = Probe::spawn(&node);
    let options = TcpServerOptions::default()
        .with_framing(Framing::header(header()))
        .with_buffer_pool(pool.clone());
    let (addr, _) = owner.listen(options);
    let mut peer = client(addr);
    // 4 GiB are announced; by default 1 MiB is the limit.
    peer.write_all(&[0xff; 4]).expect("written");
    owner.connect();
    let _ = read_out(&mut peer);
    drop(peer);
    let ended = owner.disconnect();
    let error = FrameError::TooLarge {
        length: u32::MAX as usize + 4,
        max: 1 << 20,
    };
    assert_eq!(ended.reason, DisconnectReason::Frame(error));
    // Below the limit, memory grows only with the bytes that arrive.
    let mut peer = client(addr);
    peer.write_all(&[0, 0x0f, 0, 0, 1, 2, 3]).expect("written");
    let id = owner.connect().id;
    wait_for(&node, id, "bytes_in", 7);
    drop(peer);
    owner.disconnect();
    assert_eq!(pool.outstanding(), 0);

    refuses(
        Framing::lines().with_max_length(5),
        b"12345\n123456\n",
        &[b"12345"],
        FrameError::TooLarge { length: 6, max: 5 },
    );
    stop_clean(&node);
}

#[test]
fn one_byte_of_a_large_frame_at_a_time_arrives_as_one_frame() {
    let node = node();
    let owner = Probe::spawn(&node);
    let (addr, _) =
        owner.listen(TcpServerOptions::default().with_framing(Framing::header(header())));
    let mut peer = client(addr);
    let payload: Vec<u8> = (0..20_000_u32).map(|number| (number % 253) as u8).collect();
    let mut frame = (payload.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&payload);
    write(&mut peer, &frame, Cut::Bytes);
    owner.connect();
    assert!(owner.tcp().data[..] == frame[..]);
    // Then a frame that takes many reads.
    let large = [
        (1_000_000_u32).to_be_bytes().as_slice(),
        &vec![3; 1_000_000],
    ]
    .concat();
    peer.write_all(&large).expect("written");
    assert!(owner.tcp().data[..] == large[..]);
    drop(peer);
    owner.disconnect();
    stop_clean(&node);
}

#[test]
fn framing_changes_on_a_live_connection_from_the_first_undelivered_byte() {
    let node = node();
    // A greeting line, then frames: the owner changes the framing while it handles the greeting.
    let outside = Probe::spawn(&node);
    let to = outside.pid;
    node.spawn_register("greeter", || {
        Script(move |cx: &mut Context<'_>, _: Pid, message: Message| {
            if let Message::Tcp(packet) = &message
                && &packet.data[..] == b"binary"
            {
                cx.set_framing(
                    packet.id,
                    Framing::header(HeaderFraming::default().with_strip_header(true)),
                )?;
                cx.resume_reading(packet.id)?;
            }
            if let Message::Tcp(packet) = &message
                && &packet.data[..] == b"lines"
            {
                cx.set_framing(packet.id, Framing::lines())?;
            }
            cx.send(to, message)?;
            Ok(())
        })
    })
    .expect("spawned");
    let options = TcpServerOptions::default()
        .with_framing(Framing::lines())
        .with_process_pool(["greeter"]);
    let (addr, _) = outside.listen(options);
    let mut peer = client(addr);
    peer.write_all(b"hello\nbinary\n").expect("written");
    outside.connect();
    assert_eq!(outside.tcp().data, "hello");
    let id = outside.tcp().id;
    // The change of framing is queued after the greeting, and the answer to an inspection after the change.
    inspect(&node, id);
    peer.write_all(b"\0\0\0\x03a\nb\0\0\0\x05lines")
        .expect("written");
    assert_eq!(outside.tcp().data, "a\nb");
    assert_eq!(outside.tcp().data, "lines");
    inspect(&node, id);
    peer.write_all(b"last\n").expect("written");
    assert_eq!(outside.tcp().data, "last");
    // The bytes of an incomplete frame are decoded again.
    peer.write_all(b"abcd").expect("written");
    wait_for(&node, id, "bytes_in", 13 + 7 + 9 + 5 + 4);
    outside
        .run(move |cx| cx.set_framing(id, Framing::fixed(2)))
        .expect("it lives");
    assert_eq!(
        (&outside.tcp().data[..], &outside.tcp().data[..]),
        (&b"ab"[..], &b"cd"[..])
    );
    let wrong = outside.run(move |cx| cx.set_framing(id, Framing::fixed(0)));
    assert!(wrong.expect_err("wrong").to_string().contains("length"));
    drop(peer);
    outside.disconnect();
    stop_clean(&node);
}

#[test]
fn frames_that_arrived_with_the_end_come_before_the_disconnect() {
    let node = node();
    let owner = Probe::spawn_with(&node, SpawnOptions::default().with_data_bound(3));
    let (addr, _) = owner.listen(TcpServerOptions::default().with_framing(Framing::fixed(1)));
    for _ in 0..20 {
        let gate = owner.block();
        let mut peer = client(addr);
        peer.write_all(&(0..200).collect::<Vec<u8>>())
            .expect("written");
        drop(peer);
        drop(gate);
        owner.connect();
        for number in 0..200_u8 {
            assert_eq!(owner.tcp().data[..], [number]);
        }
        assert_eq!(owner.disconnect().reason, DisconnectReason::ClosedByPeer);
    }
    stop_clean(&node);
}
