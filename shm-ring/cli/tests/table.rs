//! Table: Arrow tables among rings, logs and rows: merged, replayed, compacted.

#![cfg(feature = "arrow")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::history::{START_NS, log, rows, times};
use common::{Rig, objects};
use serde_json::{Value, json};
use shm_ring::RingOptions;
use shm_ring::replay::{CellValue, ColumnType, Merge, PoolOptions, RingWriter, TableWriter};

/// What a source has, in its order: a time and what `-o json` shows of the record.
type History = Vec<(u64, Value)>;

/// µs apart, with ties, so that rows of µs have them, too.
fn of_us(seed: u64, n: usize) -> Vec<u64> {
    times(seed, n, 3).iter().map(|ns| START_NS + (ns - START_NS) * 1_000).collect()
}

/// A table of prices, in batches of seven rows; each fifth one has no price, and each third no note.
fn table(rig: &Rig, name: &str, times_ns: &[u64]) -> History {
    let columns = [
        ("symbol", ColumnType::Text),
        ("timestamp", ColumnType::TimestampNanos),
        ("price", ColumnType::F64),
        ("volume", ColumnType::I64),
        ("note", ColumnType::Text),
    ];
    let mut table = TableWriter::create(rig.path(name), &columns).unwrap().batch_rows(7);
    let mut all = vec![];
    for (n, at) in (0i64..).zip(times_ns) {
        let price = (n % 5 > 0).then_some(f64::from(u32::try_from(n).unwrap()) / 4.0);
        let note = (n % 3 > 0).then(|| format!("\"{n}\"\n\u{1b}"));
        let cells = [
            "A&B".into(),
            CellValue::Unsigned(*at),
            price.map_or(CellValue::Null, Into::into),
            CellValue::Signed(-n),
            note.as_deref().map_or(CellValue::Null, Into::into),
        ];
        table.push(&cells).unwrap();
        all.push((*at, json!({ "symbol": "A&B", "price": price, "volume": -n, "note": note })));
    }
    table.finish().unwrap();
    all
}

/// What a merge of these is to hand out.
fn sorted(sources: &[(&str, History)]) -> Vec<(String, u64, Value)> {
    let with_name =
        sources.iter().flat_map(|(name, all)| all.iter().map(|(at, was)| ((*name).into(), *at, was.clone())));
    let mut all: Vec<_> = with_name.collect();
    all.sort_by_key(|(_, at, _)| *at);
    all
}

/// Source, time, and row or message of each record of `-o json`.
fn shown(out: &str) -> Vec<(String, u64, Value)> {
    let was = |object: Value| {
        let what = object.get("row").or(object.get("message")).unwrap_or(&Value::Null);
        let source = object["source"].as_str().unwrap().to_owned();
        (source, object["timestamp_ns"].as_u64().unwrap(), what.clone())
    };
    objects(out).into_iter().map(was).collect()
}

/// A ring with those records, and their times.
fn ring(rig: &Rig, name: &str, times_ns: &[u64]) -> History {
    let from = log(rig, "of-ring", times_ns);
    let ring = RingOptions::new().capacity(1 << 20).create(rig.path(name)).unwrap();
    let mut merge = Merge::new();
    merge.add(PoolOptions::new().build().unwrap().open(rig.path("of-ring")).unwrap());
    let mut into = RingWriter::new(&ring);
    while let Some(event) = merge.next().unwrap() {
        into.push(&event).unwrap();
    }
    from.into_iter().map(|was| (was.timestamp_ns, was.message.into())).collect()
}

// Goal: a log, a ring, rows and a table are one stream, in one order, and each record is shown as what it is: a row of a table with its columns
// but the time. Method: one of each, with ties within and between them, in two orders, against a stable sort.
#[test]
fn all_kinds_of_sources_are_merged_in_one_order() {
    let rig = Rig::new();
    let a = log(&rig, "a", &of_us(1, 200)).into_iter().map(|was| (was.timestamp_ns, was.message.into()));
    let a: History = a.collect();
    let x = ring(&rig, "x.ring", &of_us(2, 150));
    let of_rows = of_us(3, 100);
    rows(&rig, "data", &of_rows);
    let data: History = of_rows.iter().map(|at| (*at, Value::Null)).collect();
    let t = table(&rig, "t.arrow", &of_us(4, 120));
    let all = [("a", a), ("x.ring", x), ("data", data), ("t.arrow", t)];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
        let sources = order.map(|at: usize| all[at].clone());
        let names = sources.each_ref().map(|(name, _)| *name);
        let out = rig.ok(["merge", "--rows", "32@8:us", "-o", "json"].iter().chain(&names));
        assert!(shown(&out) == sorted(&sources), "{names:?}");
    }
    let out = rig.ok(["merge", "t.arrow", "-o", "json", "--count", "8"]);
    let last = &objects(&out)[7];
    let keys: Vec<_> = last.as_object().unwrap().keys().collect();
    let expected = [
        "source",
        "position",
        "timestamp_ns",
        "producer",
        "kind",
        "level",
        "pid",
        "tid",
        "stream",
        "tag",
        "row",
    ];
    assert!(expected.iter().all(|key| keys.iter().any(|found| found == key)), "{keys:?}");
    // The row, across a batch's end; nothing is there that a table doesn't know.
    assert_eq!((keys.len(), &last["position"]), (expected.len(), &7.into()));
    // Columns stand in the order that they have in the table.
    assert!(
        out.ends_with(
            "\"row\":{\"symbol\":\"A&B\",\"price\":1.75,\"volume\":-7,\"note\":\"\\\"7\\\"\\n\\u001b\"}}\n"
        ),
        "{out}"
    );
}

// Goal: what is shown of a row in the other formats is one line of JSON, in which a pattern can be looked for; times bound rows. Method: a table with line breaks and escapes in
// its text.
#[test]
fn a_row_is_one_line_in_every_format() {
    let rig = Rig::new();
    let all = table(&rig, "t.feather", &of_us(5, 60));
    let raw = rig.ok(["merge", "t.feather", "-o", "raw"]);
    let of_raw: Vec<Value> = objects(&raw);
    assert!(of_raw.iter().eq(all.iter().map(|(_, row)| row)));
    let short = rig.ok(["merge", "t.feather"]);
    assert!(short.lines().zip(raw.lines()).all(|(short, raw)| short.ends_with(&format!("t.feather: {raw}"))));
    assert_eq!(short.lines().count(), 60);
    assert_eq!(rig.ok(["merge", "t.feather", "-o", "raw", "-g", "\"volume\":-4[1-3],"]).lines().count(), 3);
    let at = all[30].0;
    let time = format!("{}.{:09}", at / 1_000_000_000, at % 1_000_000_000);
    let from = rig.ok(["replay", "t.feather", "--from", &time, "--speed", "max", "-o", "json"]);
    let expected: Vec<_> = all.iter().filter(|(ns, _)| *ns >= at).cloned().collect();
    assert!(shown(&from) == sorted(&[("t.feather", expected)]));
}

// Goal: a row that is replayed into a ring, or compacted into a log, is a JSON object there, at its time. Method: a table beside a log, and
// what readers of the ring and the log see.
#[test]
fn rows_become_json_in_rings_and_logs() {
    let rig = Rig::new();
    let t = table(&rig, "t.arrow", &of_us(6, 80));
    let a: History =
        log(&rig, "a", &of_us(7, 80)).into_iter().map(|was| (was.timestamp_ns, was.message.into())).collect();
    let all = sorted(&[("t.arrow", t), ("a", a)]);
    rig.ok(["create", "app.ring", "--capacity", "256KiB"]);
    assert_eq!(rig.ok(["replay", "t.arrow", "a", "--speed", "max", "--into", "app.ring"]), "");
    rig.ok(["compact", "t.arrow", "a", "one"]);
    for found in [rig.objects(), objects(&rig.ok(["cat", "one", "-o", "json"]))] {
        assert_eq!(found.len(), all.len());
        for (object, (source, at, was)) in found.iter().zip(&all) {
            assert_eq!(object["timestamp_ns"], *at);
            let message = object["message"].as_str().unwrap();
            let is_row = source == "t.arrow";
            let message = if is_row { serde_json::from_str(message).unwrap() } else { Value::from(message) };
            assert_eq!(&message, was);
        }
    }
}

// Goal: what is no table, or half of one, is named, and the others are shown. Method: a table without its end, and one without a column of times.
#[test]
fn a_bad_table_does_not_stop_the_others() {
    let rig = Rig::new();
    table(&rig, "whole.arrow", &of_us(8, 30));
    let bytes = common::content(&rig.path("whole.arrow"));
    std::fs::write(rig.path("half.arrow"), &bytes[..bytes.len() / 2]).unwrap();
    let mut timeless =
        TableWriter::create(rig.path("timeless.arrow"), &[("name", ColumnType::Text)]).unwrap();
    timeless.push(&["x".into()]).unwrap();
    timeless.finish().unwrap();
    for name in ["half.arrow", "timeless.arrow"] {
        let done = rig.run(["merge", name, "whole.arrow", "-o", "raw"]);
        assert!(done.code != 0 && done.err.contains(name), "{done:?}");
        assert_eq!(done.out.lines().count(), 30);
    }
}
