//! Job: four writers and a reader at once, all of them processes.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Done, Rig, numbers, objects};
use std::collections::HashMap;

const LINES: u32 = 5_000;

// Goal: with a reliable reader nothing is lost, doubled or out of its writer's order, although the ring is much smaller than what goes
// through it; the counters agree. Method: a tail that is there first, four pushes, 20,000 lines through 256 KiB.
#[test]
fn four_writers_and_a_reader_lose_nothing() {
    let rig = Rig::with_ring("256KiB");
    let count = (4 * LINES).to_string();
    let args = ["tail", "app.ring", "-f", "--oldest", "--consumer", "all", "--count", &count, "-o", "json"];
    // Its pipe has to be emptied, or it stands still, and so does everybody.
    let child = rig.start(args);
    let tail = std::thread::spawn(move || Done::of(child));
    common::wait_until("the reader holds space", || rig.stat()["consumers"][0]["holds_space"] == true);
    let pushed: Vec<Done> = std::thread::scope(|scope| {
        let push =
            |tag: String| rig.run_with(["push", "app.ring", "--tag", &tag], numbers(1..=LINES).as_bytes());
        let writers: Vec<_> = (1..=4).map(|i| scope.spawn(move || push(format!("w{i}")))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for done in pushed {
        assert_eq!((done.code, done.err.as_str()), (0, ""));
    }
    let tail = tail.join().unwrap();
    assert_eq!((tail.code, tail.err.as_str()), (0, ""));

    let mut by_tag: HashMap<String, Vec<u32>> = HashMap::new();
    let mut last_position = None;
    for object in objects(&tail.out) {
        let position = object["position"].as_u64();
        assert!(position > last_position, "{object}");
        last_position = position;
        assert_eq!((&object["stream"], &object["kind"]), (&"stdin".into(), &1.into()));
        let number = object["message"].as_str().unwrap().parse().unwrap();
        by_tag.entry(object["tag"].as_str().unwrap().to_owned()).or_default().push(number);
    }
    let expected: Vec<u32> = (1..=LINES).collect();
    assert_eq!(by_tag.len(), 4);
    for (tag, numbers) in by_tag {
        assert!(numbers == expected, "{tag}: {} lines", numbers.len());
    }

    let stat = rig.stat();
    let producers = stat["producers"].as_array().unwrap();
    let records: u64 = producers.iter().map(|producer| producer["records"].as_u64().unwrap()).sum();
    let refused: u64 = producers.iter().map(|producer| producer["refused"].as_u64().unwrap()).sum();
    assert_eq!((records, refused), (u64::from(4 * LINES), 0));
    assert_eq!(stat["lost_records"], 0);
    let consumer = &stat["consumers"][0];
    assert_eq!(consumer["name"], "all");
    assert_eq!((&consumer["lag_bytes"], &consumer["missed_bytes"]), (&0.into(), &0.into()));
}
