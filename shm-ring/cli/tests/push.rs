//! Push: what is on stdin is in the ring, and nothing else.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Done, Rig, numbers, signal, wait_until};
use nix::sys::signal::Signal;
use shm_ring::{LEVEL_NONE, Stream};
use std::io::Write;

// Goal: a line is its bytes, whatever they are. Method: empty lines, CRLF, NUL, a character of four bytes.
#[test]
fn lines_are_pushed_as_they_are() {
    let rig = Rig::with_ring("64K");
    rig.push("one\n\ntwo\r\na\0b\n\u{1f980}\n".as_bytes());
    let records = rig.records();
    let messages: Vec<&[u8]> = records.iter().map(|record| record.message.as_slice()).collect();
    assert_eq!(messages, [&b"one"[..], b"", b"two\r", b"a\0b", "\u{1f980}".as_bytes()]);
    for record in records {
        assert_eq!((record.kind, record.partial, record.level), (1, false, LEVEL_NONE));
        assert_eq!(record.stream, Some(Stream::Stdin));
    }
}

// Goal: a record says who pushed it. Method: push with tag and level, look at the JSON.
#[test]
fn records_carry_pid_tag_and_level() {
    let rig = Rig::with_ring("64K");
    let mut push = rig.start_with_stdin(["push", "app.ring", "--tag", "db", "--level", "err"]);
    push.stdin.take().unwrap().write_all(b"x\n").unwrap();
    let pid = push.id();
    assert_eq!(Done::of(push).code, 0);
    let object = &rig.objects()[0];
    assert_eq!((&object["pid"], &object["tid"]), (&pid.into(), &pid.into()));
    assert_eq!((&object["tag"], &object["level"]), (&"db".into(), &3.into()));
    rig.ok(["exec", "app.ring", "--level", "err", "--", "printf", "y\\nz\\n"]);
    let levels: Vec<u8> = rig.records().into_iter().map(|record| record.level).collect();
    assert_eq!(levels, [3, 3, 3], "in the ring's own metadata, too");
}

// Goal: the last line counts although it has no end, and says so; an end that is there makes no empty record. Method: both.
#[test]
fn a_last_line_without_its_end_is_partial() {
    let rig = Rig::with_ring("64K");
    rig.push(b"whole\ncut");
    rig.push(b"whole\n");
    rig.push(b"");
    let found: Vec<_> = rig.records().into_iter().map(|r| (r.message, r.partial)).collect();
    assert_eq!(found, [(b"whole".to_vec(), false), (b"cut".to_vec(), true), (b"whole".to_vec(), false)]);
}

// Goal: a line that is longer than the ring's longest record arrives in pieces, complete and in order. Method: 5,000 bytes of a ring
// whose records have 1,024 bytes at most, between short lines.
#[test]
fn long_lines_are_cut_into_partial_records() {
    let rig = Rig::with_ring("8K");
    let long: String = (0..5_000).map(|i| char::from(b'a' + u8::try_from(i % 26).unwrap())).collect();
    rig.push(format!("before\n{long}\nafter\n").as_bytes());
    let records = rig.records();
    let (first, last) = (records.first().unwrap(), records.last().unwrap());
    assert_eq!((&first.message[..], &last.message[..]), (&b"before"[..], &b"after"[..]));
    let pieces = &records[1..records.len() - 1];
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces.iter().map(|piece| piece.partial).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(pieces.iter().flat_map(|piece| piece.message.clone()).collect::<Vec<u8>>(), long.as_bytes());
}

// Goal: length-prefixed records keep every byte. Method: empty, with newlines, not UTF-8.
#[test]
fn framed_records_keep_their_bytes() {
    let rig = Rig::with_ring("64K");
    let records: [&[u8]; 4] = [b"", b"two\nlines\n", b"\xff\0", &[7; 9_000]];
    let done = rig.run_with(["push", "app.ring", "--framed"], &framed(&records));
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let found: Vec<_> = rig.records().into_iter().map(|record| record.message).collect();
    assert_eq!(found, records);
}

// Goal: framed input that is broken is an error, and what came before it is in the ring. Method: an end inside a record; a length that
// no record can have.
#[test]
fn broken_framed_input_is_an_error_after_what_was_good() {
    let rig = Rig::with_ring("64K");
    let mut bytes = framed(&[b"good"]);
    bytes.extend_from_slice(&[9, 0, 0, 0, b'x']);
    let done = rig.run_with(["push", "app.ring", "--framed"], &bytes);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("inside a record"), "{done:?}");
    let mut bytes = framed(&[b"good too"]);
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    let done = rig.run_with(["push", "app.ring", "--framed"], &bytes);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("4294967295"), "{done:?}");
    assert_eq!(rig.messages(), "good\ngood too\n");
}

fn framed(records: &[&[u8]]) -> Vec<u8> {
    let frame = |record: &&[u8]| [&u32::try_from(record.len()).unwrap().to_le_bytes()[..], record].concat();
    records.iter().flat_map(frame).collect()
}

// Goal: `--raw` writes the bytes alone. Method: the record's kind and payload length.
#[test]
fn raw_records_have_no_head() {
    let rig = Rig::with_ring("64K");
    assert_eq!(rig.run_with(["push", "app.ring", "--raw"], b"bytes\n").code, 0);
    let records = rig.records();
    assert_eq!((records[0].kind, &records[0].message[..], records.len()), (0, &b"bytes"[..], 1));
    assert_eq!(rig.stat()["producers"][0]["bytes"], 5);
}

// Goal: a ring without metadata can't tell log records from others, so they are pushed raw, and the user is told. Method: push a tag.
#[test]
fn rings_without_metadata_get_raw_records_and_a_note() {
    let rig = Rig::new();
    rig.ok(["create", "app.ring", "--no-metadata"]);
    let done = rig.run_with(["push", "app.ring", "--tag", "t"], b"line\n");
    assert_eq!(done.code, 0);
    assert!(done.err.contains("no metadata"), "{done:?}");
    assert_eq!(rig.messages(), "line\n");
    let object = &rig.objects()[0];
    for key in ["timestamp_ns", "sequence", "kind", "level", "pid", "tid", "stream", "tag"] {
        assert!(object[key].is_null(), "{object}");
    }
}

// Goal: a record is there as soon as its line is, however long the input stays open. Method: write a line, read it back, write another.
#[test]
fn a_line_is_pushed_before_the_next_is_read() {
    let rig = Rig::with_ring("64K");
    let mut push = rig.start_with_stdin(["push", "app.ring"]);
    let mut stdin = push.stdin.take().unwrap();
    let mut expected = String::new();
    for line in ["first\n", "second\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        expected += line;
        wait_until("the line is in the ring", || rig.messages() == expected);
    }
    drop(stdin);
    assert_eq!(Done::of(push).code, 0);
}

// Goal: a missing ring is made, in the size that was asked for, and the user is told unless they don't want to be. Method: twice each.
#[test]
fn a_missing_ring_is_made_and_told() {
    let rig = Rig::new();
    let done = rig.run_with(["push", "app.ring", "--capacity", "1MiB"], b"x\n");
    assert_eq!((done.code, done.out.as_str()), (0, ""));
    assert!(done.err.contains("created") && done.err.contains("1 MiB"), "{done:?}");
    assert_eq!(rig.run_with(["push", "app.ring"], b"y\n").err, "");
    assert_eq!(rig.messages(), "x\ny\n");
    let done = rig.run_with(["push", "other.ring", "-q"], b"x\n");
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let stat: serde_json::Value = serde_json::from_str(&rig.ok(["stat", "other.ring", "--json"])).unwrap();
    assert_eq!(stat["capacity_bytes"], 16 << 20);
}

// Goal: `--when-full fail`, or `--no-wait`, on a full ring is exit code 5, and everything up to there is in the ring. Method: a name that holds a small ring.
#[test]
fn a_full_ring_is_code_5_with_no_wait() {
    let rig = Rig::with_ring("64K");
    rig.hold();
    let done = rig.run_with(["push", "app.ring", "--when-full", "fail"], numbers(1..=10_000).as_bytes());
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.err.contains("full"), "{done:?}");
    let pushed = u32::try_from(rig.records().len()).unwrap();
    assert!(pushed > 500, "{pushed}");
    assert_eq!(rig.messages(), numbers(1..=pushed));
    assert!(done.err.contains(&format!("{pushed} were pushed before")), "{done:?}");
    assert_eq!(rig.stat()["producers"][0]["refused"], 1);
    assert_eq!(rig.run_with(["push", "app.ring", "--no-wait"], &b"x".repeat(9_000)).code, 5, "the same");
}

// Goal: `--when-full drop` never waits, and what is dropped is what is not there. Method: a full ring, its space given back, more lines.
#[test]
fn a_push_that_drops_never_waits() {
    let rig = Rig::with_ring("64K");
    rig.hold();
    let done =
        rig.run_with(["push", "app.ring", "--when-full", "drop", "-q"], numbers(1..=10_000).as_bytes());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let there = rig.records().len();
    let producer = rig.stat()["producers"][0].clone();
    assert_eq!((&producer["records"], &producer["dropped"]), (&there.into(), &(10_000 - there).into()));
    assert_eq!(producer["waited"], 0);
    rig.unhold();
    let done = rig.run_with(["push", "app.ring", "--when-full", "drop"], b"room again\n");
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert!(rig.messages().ends_with("room again\n"));
}

// Goal: without it, a full ring is waited for, and nothing is lost. Method: the same ring, its reader comes later.
#[test]
fn a_full_ring_is_waited_for() {
    let rig = Rig::with_ring("64K");
    rig.hold();
    let push = std::thread::scope(|scope| {
        let push = scope.spawn(|| rig.run_with(["push", "app.ring"], numbers(1..=10_000).as_bytes()));
        wait_until("the push waits", || rig.stat()["producers"][0]["waited"].as_u64() > Some(0));
        let out = rig.ok(["tail", "app.ring", "--consumer", "holder", "-o", "raw", "-f", "--count", "10000"]);
        assert_eq!(out, numbers(1..=10_000));
        push.join().unwrap()
    });
    assert_eq!((push.code, push.err.as_str()), (0, ""));
    assert_eq!(rig.stat()["producers"][0]["refused"], 0);
}

// Goal: Ctrl-C ends a push that waits for input, with what was read in the ring. Method: a line without its end, then the signal.
#[test]
fn an_interrupted_push_has_pushed_what_it_read() {
    let rig = Rig::with_ring("64K");
    let mut push = rig.start_with_stdin(["push", "app.ring"]);
    let mut stdin = push.stdin.take().unwrap();
    stdin.write_all(b"whole\nhalf").unwrap();
    wait_until("the line is in the ring", || rig.messages() == "whole\n");
    signal(&push, Signal::SIGINT);
    let done = Done::of(push);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(rig.messages(), "whole\nhalf\n");
    drop(stdin);
}

// Goal: Ctrl-C ends a push that waits for room, too, and says that something is missing. Method: a full ring.
#[test]
fn an_interrupted_push_into_a_full_ring_is_code_5() {
    let rig = Rig::with_ring("64K");
    rig.hold();
    let mut push = rig.start_with_stdin(["push", "app.ring"]);
    let mut stdin = push.stdin.take().unwrap();
    let writing = std::thread::spawn(move || drop(stdin.write_all(numbers(1..=100_000).as_bytes())));
    wait_until("the push waits", || rig.stat()["producers"][0]["waited"].as_u64() > Some(0));
    signal(&push, Signal::SIGTERM);
    let done = Done::of(push);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.err.contains("not pushed"), "{done:?}");
    writing.join().unwrap();
    rig.unhold();
    let lost = rig.stat()["lost_records"].clone();
    assert_eq!(lost, 0, "a claim that waits is not open");
    rig.push(b"and on\n");
}

// Goal: a ring that others can write is not trusted, and the message names the mode. Method: mode 0666.
#[test]
fn rings_that_others_can_write_are_refused() {
    let rig = Rig::new();
    let made = rig.run(["create", "app.ring", "--mode", "0666"]);
    assert_eq!(made.code, 0);
    assert!(made.err.contains("others can write"), "{made:?}");
    for args in [
        &["push", "app.ring"][..],
        &["repair", "app.ring"],
        &["tail", "app.ring", "--group", "g"],
        &["exec", "app.ring", "--", "true"],
        &["tail", "app.ring", "--consumer", "c"],
    ] {
        let done = rig.run(args);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.err.contains("0666"), "{done:?}");
    }
    assert_eq!(rig.messages(), "");
}
