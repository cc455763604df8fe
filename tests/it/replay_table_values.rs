//! Values of tables: what is refused when it is asked for, which column is the time, where a seek begins, when a file is not mapped.

use crate::harness::directory;
use crate::replay_table::{batch, every_type, play, pool, poor_pool, write};
use crate::replay_table_made::{Batch, Is, Made};
use arrow_array::{ArrayRef, Int32Array, TimestampNanosecondArray, UInt32Array};
use arrow_ipc::writer::IpcWriteOptions;
use shm_ring::replay::{
    CellValue, ColumnError, ColumnType, MapPool, Next, Order, PoolOptions, PoolSource, Source, Table,
    TableWriter, TimeUnit,
};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// A table of these times.
fn times(path: &Path, times: impl IntoIterator<Item = u64>) {
    let times = times.into_iter().map(|time| i64::try_from(time).unwrap());
    let times = Arc::new(TimestampNanosecondArray::from_iter_values(times));
    write(path, &[batch(vec![("t", times)])], IpcWriteOptions::default());
}

fn rest(source: &mut PoolSource) -> Vec<u64> {
    let mut rest = vec![];
    while let Next::Record(stamp) = source.step().unwrap() {
        rest.push(stamp.timestamp_ns);
    }
    rest
}

#[test]
fn a_row_has_values_of_their_type_only() {
    // Goal: no value of a row is taken for one of another type, and no row is had that is not there. Method: each accessor, for columns of
    // other types; nulls of a column that is nothing else; the row behind the last.
    let directory = directory();
    let path = directory.path().join("t");
    write(&path, &[every_type().0], IpcWriteOptions::default());
    let batch = Table::open(&path).unwrap().batch(0).unwrap();
    let row = batch.row(0);
    let refused = |result: Result<(), ColumnError>, text: &str| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, ColumnError::WrongType { .. }) && error.to_string().contains(text),
            "{error}"
        );
    };
    refused(row.get::<f64>("i64").map(drop), "column \"i64\" is i64, expected f64");
    refused(row.get::<i64>("i32").map(drop), "column \"i32\" is i32, expected i64");
    refused(row.get::<u64>("text").map(drop), "column \"text\" is text, expected u64");
    refused(row.get::<f32>("numbers").map(drop), "column \"numbers\" is a dictionary of f64, expected f32");
    refused(row.bool("i8").map(drop), "column \"i8\" is i8, expected bool");
    refused(row.text("binary").map(drop), "column \"binary\" is binary, expected text");
    refused(row.bytes("i64").map(drop), "column \"i64\" is i64, expected text or binary");
    assert_eq!(row.bytes("text"), Ok(b"a \"b\"\n".as_slice()));
    assert_eq!((row.is_null("null"), batch.validity("null").unwrap().n_nulls()), (Ok(true), 2));
    assert!(!batch.validity("null").unwrap().is_valid(0));
    let all = batch.validity("ts").unwrap();
    assert_eq!([0, 1, 2, usize::MAX].map(|row| all.is_valid(row)), [true, true, false, false]);
    let behind = std::panic::catch_unwind(|| batch.row(2).row_in_batch());
    let text = *behind.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(text, "row 2 of a batch with 2 rows");
}

#[test]
fn a_time_of_32_bits_has_the_unit_that_was_chosen() {
    // Goal: integers of 32 bits are times where they are chosen, those without a sign up to their last. Method: each, in units that say
    // more than the integer.
    let directory = directory();
    let path = directory.path().join("t");
    let columns: [(ArrayRef, u64); 2] = [
        (Arc::new(Int32Array::from(vec![i32::MAX])), 0x7fff_ffff),
        (Arc::new(UInt32Array::from(vec![u32::MAX])), 0xffff_ffff),
    ];
    for (array, value) in columns {
        write(&path, &[batch(vec![("n", array)])], IpcWriteOptions::default());
        for (unit, ns) in
            [(TimeUnit::Seconds, 1_000_000_000), (TimeUnit::Millis, 1_000_000), (TimeUnit::Nanos, 1)]
        {
            let mut source = pool().open_table(&path, Some(("n", unit))).unwrap();
            assert_eq!(rest(&mut source), [value * ns]);
        }
        let error = pool().open(&path).unwrap_err().to_string();
        assert!(error.starts_with("column of times: expected"), "{error}");
    }
}

#[test]
fn times_in_a_dictionary_hide_no_other_column() {
    // Goal: which column is the time is guessed among those that can be. Method: one in a dictionary in front of one that is not.
    let directory = directory();
    let path = directory.path().join("t");
    let mut made = Made::of(&[("ts", Is::Nanos), ("when", Is::Nanos)], Vec::<Batch>::new());
    made.columns[0].2 = Some(1);
    std::fs::write(&path, made.bytes()).unwrap();
    assert_eq!(Table::open(&path).unwrap().time_column_at(), Some(1));
    made.columns = vec![("timestamp", Is::Long, Some(1)), ("time", Is::Long, None)];
    std::fs::write(&path, made.bytes()).unwrap();
    assert_eq!(Table::open(&path).unwrap().time_column_at(), Some(1));
}

#[test]
fn a_seek_begins_in_front_of_what_is_displaced() {
    // Goal: where as many rows are put in order as are displaced, a seek misses none; and none where all are passed on as they are.
    // Method: two blocks of five rows have changed places, anywhere, and each time there is is sought; rows in reverse.
    let directory = directory();
    let path = directory.path().join("t");
    for at in 0..40 {
        let mut rows: Vec<u64> = (1..=60).collect();
        rows[at..at + 10].rotate_left(5);
        times(&path, rows.iter().copied());
        let options = PoolOptions::new().order(Order::Reorder { n_records: 5 });
        let mut source = options.build().unwrap().open(&path).unwrap();
        for since in 0..=61 {
            source.seek(since).unwrap();
            assert_eq!(rest(&mut source), (since.max(1)..=60).collect::<Vec<_>>(), "{at}: since {since}");
        }
    }
    times(&path, (1..=100).rev());
    let mut source = PoolOptions::new().order(Order::Pass).build().unwrap().open(&path).unwrap();
    for since in 0..=101 {
        source.seek(since).unwrap();
        assert_eq!(rest(&mut source), (since.max(1)..=100).rev().collect::<Vec<_>>());
    }
}

#[test]
fn what_others_can_write_is_not_mapped() {
    // Goal: only what nobody else can change is read in place. Method: a table that all can write, opened alone and in a pool.
    let directory = directory();
    let path = directory.path().join("t");
    times(&path, 0..100);
    for (mode, is_mapped) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(Table::open(&path).unwrap().is_mapped(), is_mapped, "{mode:o}");
        let pool: MapPool = pool();
        let source = pool.open(&path).unwrap();
        assert_eq!(pool.stats().n_mapped, u64::from(is_mapped), "{mode:o}");
        drop(source);
        assert_eq!(play(&pool, &path).unwrap().len(), 100);
    }
}

#[test]
fn a_parked_table_that_was_written_is_an_error() {
    // Goal: a table is not read on from a file that was changed while nobody had it open. Method: write the same file, of the same length.
    let directory = directory();
    let path = directory.path().join("t");
    times(&path, 0..100_000);
    let bytes = std::fs::read(&path).unwrap();
    let mut source = poor_pool(0).open(&path).unwrap();
    assert!(matches!(source.step().unwrap(), Next::Record(_)));
    // A file system's clock has a tick.
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::write(&path, bytes).unwrap();
    let error = loop {
        match source.step() {
            Ok(next) => assert!(matches!(next, Next::Record(_)), "{next:?}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("closed meanwhile") && error.contains("or changed bytes"), "{error}");
}

#[test]
fn columns_of_several_lengths_are_no_rows() {
    // Goal: rows are written whole or not at all. Method: columns of which one is longer, or shorter; then sound ones.
    let directory = directory();
    let path = directory.path().join("t");
    let mut writer = TableWriter::create(&path, &[("t", ColumnType::I64), ("n", ColumnType::I64)]).unwrap();
    let column = [CellValue::Signed(1), CellValue::Signed(2)];
    for (one, other) in [(1, 2), (2, 1), (0, 1)] {
        let error = writer.push_columns(&[&column[..one], &column[..other]]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("columns: expected {one} values of each, found {other}")),
            "{error}"
        );
    }
    writer.push_columns(&[&column, &column]).unwrap();
    writer.push_columns(&[]).unwrap();
    writer.finish().unwrap();
    assert_eq!(Table::open(&path).unwrap().n_rows().unwrap(), 2);
}

#[test]
#[cfg(all(feature = "guard", feature = "arrow-lz4"))]
fn a_batch_that_a_cut_has_taken_is_told_so() {
    // Goal: a table that lost its end while it is read says that, and not that it was never sound. Method: packed batches of times that don't
    // pack well, and a cut inside of the second.
    let directory = directory();
    let path = directory.path().join("t");
    let mut time = 0;
    let mut rows = || {
        let times = TimestampNanosecondArray::from_iter_values((0..4096i64).map(|n| {
            time += (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) >> 20) & 0xffff_ffff;
            time
        }));
        batch(vec![("t", Arc::new(times) as ArrayRef)])
    };
    let lz4 = IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME));
    write(&path, &[rows(), rows(), rows()], lz4.unwrap());
    let mut source = PoolOptions::new().order(Order::Error).build().unwrap().open(&path).unwrap();
    for _ in 0..4096 {
        assert!(matches!(source.step().unwrap(), Next::Record(_)));
    }
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(len / 2).unwrap();
    let error = source.step().unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
}
