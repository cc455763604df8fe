//! Tables: Arrow IPC files, of this library's writer and of the format's own, whose rows and columns are read in place.
//!
//! What becomes of damaged tables is in `replay_table_hostile`, and of those of other programs in `replay_table_python`.

use crate::harness::{Script, alone, directory};
use arrow_array::builder::{BinaryViewBuilder, StringDictionaryBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema};
use shm_ring::replay::{
    Body, CellValue, ColumnError, ColumnType, MapPool, Next, Order, PoolOptions, Source, SourceError, Table,
    TableWriter, TimeUnit,
};
use shm_ring::{Error, FileKind, MapBudget};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A record of a table, as it is replayed.
pub(crate) type Played = (u64, u64, String);

/// What a pool's source of that table hands out.
pub(crate) fn play(pool: &MapPool, path: &Path) -> Result<Vec<Played>, Box<dyn std::error::Error>> {
    rest(&mut pool.open(path)?).map_err(Into::into)
}

fn rest(source: &mut shm_ring::replay::PoolSource) -> Result<Vec<Played>, SourceError> {
    let (mut played, mut scratch) = (vec![], vec![]);
    while let Next::Record(stamp) = source.step()? {
        let text = String::from_utf8(source.record().payload(&mut scratch)?.to_vec()).unwrap();
        assert!(matches!(source.record().body, Body::Row(_)));
        played.push((stamp.timestamp_ns, stamp.sequence, text));
    }
    assert_eq!(source.step().unwrap(), Next::End);
    Ok(played)
}

pub(crate) fn pool() -> MapPool {
    PoolOptions::new().build().unwrap()
}

/// One that has leave to map nothing, and, if `descriptors` is none, to open nothing.
pub(crate) fn poor_pool(descriptors: u16) -> MapPool {
    PoolOptions::new().budget(MapBudget::new().maps(0).descriptors(descriptors)).build().unwrap()
}

/// A table by the format's own library.
pub(crate) fn write(path: &Path, batches: &[RecordBatch], options: IpcWriteOptions) {
    let file = File::create(path).unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    let mut writer = FileWriter::try_new_with_options(file, &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

/// Prices of one symbol: `n` rows, a batch of `rows` at a time.
fn prices(path: &Path, n: u64, rows: usize) {
    let columns = [
        ("timestamp", ColumnType::TimestampNanos),
        ("price", ColumnType::F64),
        ("volume", ColumnType::U64),
        ("symbol", ColumnType::Text),
    ];
    let mut writer = TableWriter::create(path, &columns).unwrap().batch_rows(rows);
    for row in 0..n {
        let (price, symbol) = (row as f64 / 8.0, format!("S{}", row % 7));
        writer.push(&[(10 * row).into(), price.into(), row.into(), symbol.as_str().into()]).unwrap();
    }
    writer.finish().unwrap();
}

fn priced(n: std::ops::Range<u64>) -> Vec<Played> {
    let text = |row| format!(r#"{{"price":{:?},"volume":{row},"symbol":"S{}"}}"#, row as f64 / 8.0, row % 7);
    n.map(|row| (10 * row, row, text(row))).collect()
}

/// Where the process has that file mapped.
fn mapping(path: &Path) -> std::ops::Range<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with(path.to_str().unwrap())).expect("the table is mapped");
    let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    usize::from_str_radix(from, 16).unwrap()..usize::from_str_radix(to, 16).unwrap()
}

#[test]
fn rows_are_those_that_were_written() {
    // Goal: each row is handed out once, in order, with its time, its number and its values, however the table is read.
    // Method: batches that end inside a stage and at its end; mapped, by system calls, and without a descriptor of its own; windows smaller
    // than a batch in the latter two.
    let directory = directory();
    for (n, rows) in [(0, 10), (1, 10), (100, 7), (1000, 32), (40_000, 30_000)] {
        let path = directory.path().join(format!("{n}.arrow"));
        prices(&path, n, rows);
        assert!(Table::open(&path).unwrap().is_mapped());
        for (how, pool) in [("mapped", pool()), ("copied", poor_pool(1)), ("parked", poor_pool(0))] {
            assert_eq!(play(&pool, &path).unwrap(), priced(0..n), "{how}, {n} rows");
        }
        assert_eq!(Table::open(&path).unwrap().n_rows().unwrap(), n);
    }
}

#[test]
fn columns_are_slices_of_the_map() {
    // Goal: a column costs no copy. Method: its address lies inside of the file's mapping, at a multiple of 64 bytes, and no byte is counted
    // as copied; a misaligned one is right, and counted.
    let directory = directory();
    let path = directory.path().join("prices.arrow");
    prices(&path, 1000, 400);
    let table = Table::open(&path).unwrap();
    let mapped = mapping(&path);
    let mut seen = 0;
    for at in 0..table.n_batches() {
        let batch = table.batch(at).unwrap();
        let prices: &[f64] = batch.column("price").unwrap();
        let volumes = batch.column::<u64>(2usize).unwrap();
        let (from, to) = (prices.as_ptr_range().start.addr(), prices.as_ptr_range().end.addr());
        assert!(mapped.contains(&from) && to <= mapped.end, "{from:x} in {mapped:x?}");
        assert_eq!(from % 64, 0);
        let text = batch.row(0).text("symbol").unwrap();
        assert!(mapped.contains(&text.as_ptr().addr()));
        assert_eq!(batch.copied_bytes(), 0);
        for row in 0..batch.n_rows() {
            assert_eq!((prices[row], volumes[row]), ((seen + row) as f64 / 8.0, (seen + row) as u64));
        }
        seen += batch.n_rows();
    }
    assert_eq!(seen, 1000);
    // The body begins where the metadata ends, which other writers don't align: here, by bytes in front of all.
    let mut bytes = std::fs::read(&path).unwrap();
    let shifted = shift_batches(&mut bytes, 4);
    let path = directory.path().join("shifted.arrow");
    std::fs::write(&path, shifted).unwrap();
    let batch = Table::open(&path).unwrap().batch(0).unwrap();
    assert_eq!(batch.column::<f64>("price").unwrap()[399], 399.0 / 8.0);
    assert_eq!(batch.copied_bytes(), 3 * 400 * 8);
}

/// The same table with so many bytes between its head and the rest: the footer is rewritten by hand.
fn shift_batches(bytes: &mut [u8], by: usize) -> Vec<u8> {
    let len = bytes.len();
    let footer = len - 10 - u32::from_le_bytes(bytes[len - 10..len - 6].try_into().unwrap()) as usize;
    let found = arrow_ipc::root_as_footer(&bytes[footer..len - 10]).unwrap();
    let blocks: Vec<_> = found.recordBatches().unwrap().iter().map(|block| block.offset()).collect();
    for offset in blocks {
        let at = (footer..len - 8).find(|at| bytes[*at..*at + 8] == offset.to_le_bytes()).unwrap();
        bytes[at..at + 8].copy_from_slice(&(offset + by as i64).to_le_bytes());
    }
    [&bytes[..8], &vec![0; by], &bytes[8..]].concat()
}

/// One row of each type and one of nulls, and the text of these, in order.
pub(crate) fn every_type() -> (RecordBatch, [String; 2]) {
    let dictionary = {
        let mut builder = StringDictionaryBuilder::<Int16Type>::new();
        builder.append_value("word");
        builder.append_null();
        builder.finish()
    };
    let numbers = DictionaryArray::<UInt8Type>::new(
        UInt8Array::from(vec![Some(1), None]),
        Arc::new(Float64Array::from(vec![0.5, -2.5])),
    );
    let views = {
        let mut builder = StringViewBuilder::new();
        builder.append_value("longer than twelve bytes");
        builder.append_null();
        builder.finish()
    };
    let binary_views = {
        let mut builder = BinaryViewBuilder::new();
        builder.append_value([1, 2, 255]);
        builder.append_null();
        builder.finish()
    };
    macro_rules! of {
        ($array:ty, $value:expr) => {
            Arc::new(<$array>::from(vec![Some($value), None])) as ArrayRef
        };
    }
    // By its bits: no other crate for one number.
    let half =
        UInt16Array::from(vec![Some(0x3e00), None]).into_data().into_builder().data_type(DataType::Float16);
    let columns: Vec<(&str, ArrayRef, &str)> = vec![
        ("null", Arc::new(NullArray::new(2)), "null"),
        ("bool", of!(BooleanArray, true), "true"),
        ("i8", of!(Int8Array, -128), "-128"),
        ("i16", of!(Int16Array, i16::MIN), "-32768"),
        ("i32", of!(Int32Array, i32::MIN), "-2147483648"),
        ("i64", of!(Int64Array, i64::MIN), "-9223372036854775808"),
        ("u8", of!(UInt8Array, 255), "255"),
        ("u16", of!(UInt16Array, u16::MAX), "65535"),
        ("u32", of!(UInt32Array, u32::MAX), "4294967295"),
        ("u64", of!(UInt64Array, u64::MAX), "18446744073709551615"),
        ("f16", make_array(half.build().unwrap()), "1.5"),
        ("f32", of!(Float32Array, 0.1), "0.1"),
        ("f64", of!(Float64Array, 1e300), "1e300"),
        ("nan", of!(Float64Array, f64::NAN), "null"),
        ("infinite", of!(Float32Array, f32::NEG_INFINITY), "null"),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(vec![Some(-12345), None]).with_precision_and_scale(20, 2).unwrap(),
            ),
            r#""-123.45""#,
        ),
        ("date32", of!(Date32Array, -1), "-1"),
        ("date64", of!(Date64Array, 86_400_000), "86400000"),
        ("time32", of!(Time32SecondArray, 5), "5"),
        ("time64", of!(Time64NanosecondArray, 6), "6"),
        ("duration", of!(DurationMicrosecondArray, -7), "-7"),
        ("seconds", of!(TimestampSecondArray, 8), "8"),
        (
            "zoned",
            Arc::new(TimestampMillisecondArray::from(vec![Some(9), None]).with_timezone("Europe/Berlin")),
            "9",
        ),
        ("text", of!(StringArray, "a \"b\"\n"), r#""a \"b\"\n""#),
        ("large text", of!(LargeStringArray, "ä"), r#""ä""#),
        ("view", Arc::new(views), r#""longer than twelve bytes""#),
        ("binary", of!(BinaryArray, b"\x00\xff".as_slice()), r#""00ff""#),
        ("large binary", of!(LargeBinaryArray, b"\x10".as_slice()), r#""10""#),
        ("binary view", Arc::new(binary_views), r#""0102ff""#),
        (
            "fixed binary",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([1u8, 2, 3]), None].into_iter(),
                    3,
                )
                .unwrap(),
            ),
            r#""010203""#,
        ),
        ("dictionary", Arc::new(dictionary), r#""word""#),
        ("numbers", Arc::new(numbers), "-2.5"),
    ];
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1, 2]));
    let text = |of: fn(&str) -> &str| {
        let cells: Vec<_> =
            columns.iter().map(|(name, _, text)| format!("\"{name}\":{}", of(text))).collect();
        format!("{{{}}}", cells.join(","))
    };
    let texts = [text(|text| text), text(|_| "null")];
    let arrays = columns.into_iter().map(|(name, array, _)| (name, array));
    (batch(std::iter::once(("ts", times)).chain(arrays).collect()), texts)
}

#[test]
fn every_type_is_read() {
    // Goal: a value of each type, and a null of each, is what it was, in all ways to read a table and with all that a table is written with.
    // Method: the extremes of each type, written by the format's own library, beside texts that were written down here.
    let directory = directory();
    let (batch, texts) = every_type();
    let expected: Vec<Played> =
        texts.iter().enumerate().map(|(at, text)| (at as u64 + 1, at as u64, text.clone())).collect();
    let options = [
        IpcWriteOptions::default(),
        IpcWriteOptions::try_new(8, false, arrow_ipc::MetadataVersion::V5).unwrap(),
    ];
    for (n, options) in options.into_iter().enumerate() {
        let path = directory.path().join(format!("{n}.arrow"));
        write(&path, std::slice::from_ref(&batch), options);
        for (how, pool) in [("mapped", pool()), ("copied", poor_pool(1)), ("parked", poor_pool(0))] {
            assert_eq!(play(&pool, &path).unwrap(), expected, "{how}");
        }
    }
}

#[test]
fn values_are_asked_for_by_their_type() {
    // Goal: a value is had by name or number and type; what can't be had says what there is. Method: each accessor, and each refusal's text.
    let directory = directory();
    let path = directory.path().join("every.arrow");
    write(&path, &[every_type().0], IpcWriteOptions::default());
    let batch = Table::open(&path).unwrap().batch(0).unwrap();
    let (row, nulls) = (batch.row(0), batch.row(1));
    assert_eq!(row.get::<i64>("i64"), Ok(i64::MIN));
    assert_eq!(row.get::<f64>("numbers"), Ok(-2.5));
    assert_eq!(row.get::<i64>("zoned"), Ok(9));
    assert_eq!(row.get::<i32>("date32"), Ok(-1));
    assert_eq!(row.get::<i64>(0usize), Ok(1));
    assert_eq!(row.bool("bool"), Ok(true));
    assert_eq!(row.text("view"), Ok("longer than twelve bytes"));
    assert_eq!(row.text("dictionary"), Ok("word"));
    assert_eq!(row.bytes("binary"), Ok(b"\x00\xff".as_slice()));
    assert_eq!(
        (row.is_null("u8"), nulls.is_null("u8"), nulls.is_null("dictionary")),
        (Ok(false), Ok(true), Ok(true))
    );
    assert_eq!(batch.column::<i64>("ts"), Ok([1, 2].as_slice()));
    let (values, validity) = batch.nullable_column::<u8>("u8").unwrap();
    assert_eq!((values[0], validity.n_nulls()), (255, 1));
    assert_eq!([0, 1, 2].map(|row| validity.is_valid(row)), [true, false, false]);
    let refused: [(ColumnError, &str); 6] = [
        (
            batch.column::<f64>("price").unwrap_err(),
            "there is no column \"price\": expected one of \"ts\", \"null\", \"bool\"",
        ),
        (batch.column::<f64>(99usize).unwrap_err(), "there is no column 99: expected one of \"ts\""),
        (
            batch.column::<f64>("f32").unwrap_err(),
            "column \"f32\" is f32, expected f64: ask for the type that it has",
        ),
        (
            batch.column::<f64>("numbers").unwrap_err(),
            "column \"numbers\" is a dictionary of f64, expected f64",
        ),
        (
            batch.column::<u8>("u8").unwrap_err(),
            "column \"u8\" has 1 nulls, expected none: take `nullable_column`",
        ),
        (nulls.text("text").unwrap_err(), "column \"text\" is null in row 1 of its batch, expected a value"),
    ];
    for (error, text) in refused {
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[test]
fn times_are_exact_in_every_unit() {
    // Goal: a time is the integer that it is, in ns. Method: a time that no float of 64 bits has, in each unit that can say it.
    let directory = directory();
    let path = directory.path().join("t.arrow");
    let ns = 1_700_000_000_123_456_789i64;
    let columns: [(ArrayRef, i64); 8] = [
        (Arc::new(TimestampNanosecondArray::from(vec![ns])), ns),
        (Arc::new(TimestampMicrosecondArray::from(vec![ns / 1000])), ns / 1000 * 1000),
        (Arc::new(TimestampMillisecondArray::from(vec![ns / 1_000_000])), ns / 1_000_000 * 1_000_000),
        (Arc::new(TimestampSecondArray::from(vec![ns / 1_000_000_000])), ns / 1_000_000_000 * 1_000_000_000),
        (Arc::new(Int64Array::from(vec![ns])), ns),
        (Arc::new(UInt64Array::from(vec![ns.cast_unsigned()])), ns),
        (Arc::new(Date32Array::from(vec![19_000])), 19_000 * 86_400_000_000_000),
        (Arc::new(Date64Array::from(vec![19_000 * 86_400_000])), 19_000 * 86_400_000_000_000),
    ];
    for (array, expected) in columns {
        write(&path, &[batch(vec![("Time", array)])], IpcWriteOptions::default());
        assert_eq!(play(&pool(), &path).unwrap(), [(expected.cast_unsigned(), 0, "{}".into())]);
    }
}

#[test]
fn the_column_of_times_is_found_or_chosen() {
    // Goal: the documented order of candidates, and a choice, are held; without one it says what there is.
    // Method: columns of which each would do, then only such as would not.
    let directory = directory();
    let path = directory.path().join("t.arrow");
    let integers = |n: i64| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
    let columns = [
        ("date", Arc::new(Date32Array::from(vec![1])) as ArrayRef),
        ("time", integers(2)),
        ("ts", integers(3)),
        ("a", Arc::new(TimestampSecondArray::from(vec![4]))),
        ("b", Arc::new(TimestampNanosecondArray::from(vec![5]))),
        ("seq", integers(6)),
    ];
    let found = |columns: &[(&str, ArrayRef)]| {
        write(&path, &[batch(columns.to_vec())], IpcWriteOptions::default());
        let table = Table::open(&path).unwrap();
        table.time_column_at().map(|at| table.columns()[at].name().to_owned())
    };
    assert_eq!(found(&columns[..]).as_deref(), Some("a"));
    assert_eq!(found(&columns[..3]).as_deref(), Some("ts"));
    assert_eq!(found(&columns[..2]).as_deref(), Some("time"));
    assert_eq!(found(&columns[..1]).as_deref(), Some("date"));
    assert_eq!(found(&columns[5..]), None);
    let error = pool().open(&path).unwrap_err().to_string();
    assert!(
        error.starts_with("column of times: expected a column of timestamps or dates")
            && error.ends_with("found seq i64"),
        "{error}"
    );
    let mut source = pool().open_table(&path, Some(("seq", TimeUnit::Millis))).unwrap();
    assert_eq!(rest(&mut source).unwrap(), [(6_000_000, 0, "{}".into())]);
    let error = pool().open_table(&path, Some(("nothing", TimeUnit::Nanos))).unwrap_err().to_string();
    assert!(error.contains("a column \"nothing\""), "{error}");
}

#[test]
fn a_row_without_a_time_is_named() {
    // Goal: what is no time ends the source, behind the rows in front of it, and says where and what it is.
    // Method: a null, one before the epoch, and one that overflows, in the middle of a stage.
    let directory = directory();
    let path = directory.path().join("t.arrow");
    let cases: [(ArrayRef, &str); 3] = [
        (Arc::new(TimestampSecondArray::from(vec![Some(1), Some(2), None])), "null"),
        (Arc::new(TimestampSecondArray::from(vec![1, 2, -1])), "-1"),
        (Arc::new(TimestampSecondArray::from(vec![1, 2, i64::MAX / 2])), "4611686018427387903"),
    ];
    for (times, found) in cases {
        write(&path, &[batch(vec![("t", times)])], IpcWriteOptions::default());
        let mut source = pool().open(&path).unwrap();
        for row in 0..2 {
            assert!(matches!(source.step().unwrap(), Next::Record(stamp) if stamp.sequence == row));
        }
        let error = source.step().unwrap_err();
        assert!(matches!(error, SourceError::NoTime { row: 2, .. }));
        let text = format!("row 2 has the time {found} in t, expected one from 1970 to 2554: ");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}

#[test]
fn seeking_finds_the_first_row_of_a_time() {
    // Goal: the first record after a seek is the first row of that time or later, and all later rows follow. Method: every time that there
    // is, between them and beyond both ends, over several batches with an empty one, in all ways to read; and ties.
    let directory = directory();
    let path = directory.path().join("t.arrow");
    let times = |range: std::ops::Range<i64>| {
        Arc::new(TimestampNanosecondArray::from_iter_values(range.map(|n| n / 2 * 10))) as ArrayRef
    };
    let batches = [0..70, 70..70, 70..71, 71..200].map(|range| batch(vec![("t", times(range))]));
    write(&path, &batches, IpcWriteOptions::default());
    let ordered = |order, maps, descriptors| {
        let budget = MapBudget::new().maps(maps).descriptors(descriptors);
        PoolOptions::new().order(order).budget(budget).build().unwrap()
    };
    let reorder = Order::Reorder { n_records: 5 };
    for pool in [
        ordered(Order::Error, 1, 0),
        ordered(Order::Error, 0, 1),
        ordered(Order::Pass, 0, 0),
        ordered(reorder, 1, 0),
    ] {
        let mut source = pool.open(&path).unwrap();
        for since in (0..203).rev() {
            let since = 5 * since;
            source.seek(since).unwrap();
            let found: Vec<_> = rest(&mut source).unwrap().into_iter().map(|(_, row, _)| row).collect();
            let first = (2 * since.div_ceil(10)).min(200);
            assert!(found.into_iter().eq(first..200), "since {since}");
        }
    }
}

#[test]
fn dictionaries_grow_and_are_shared() {
    // Goal: dictionaries of several batches, added to from one to the next, name the right values. Method: the format's own writer in both of
    // its ways that a file allows.
    let directory = directory();
    let path = directory.path().join("d.arrow");
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    let mut batches = vec![];
    for words in [["a", "b", "a"], ["b", "c", "d"], ["d", "a", "e"]] {
        words.iter().for_each(|word| builder.append_value(word));
        let array: ArrayRef = Arc::new(builder.finish_preserve_values());
        batches.push(batch(vec![
            ("t", Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]))),
            ("word", array),
        ]));
    }
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    write(&path, &batches, options);
    let table = Table::open(&path).unwrap();
    let mut words = String::new();
    for at in 0..table.n_batches() {
        let batch = table.batch(at).unwrap();
        batch.rows().for_each(|row| words.push_str(row.text("word").unwrap()));
    }
    assert_eq!(words, "ababcddae");
    assert!(table.columns()[1].is_dictionary() && table.columns()[1].column_type() == ColumnType::Text);
}

#[test]
fn other_files_are_refused_by_name() {
    // Goal: who gives us the wrong file hears what it is and what to do. Method: what each of them begins with, or is.
    let directory = directory();
    let path = directory.path().join("f");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Table::open(&path).unwrap_err().to_string()
    };
    let stream = {
        let batch = batch(vec![("t", Arc::new(TimestampNanosecondArray::from(vec![1])))]);
        let mut writer = StreamWriter::try_new(vec![], &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    for (bytes, found) in [
        (b"PAR1....".as_slice(), "found a Parquet file, which can't be read in place: convert it"),
        (b"FEA1....", "found Feather of version 1: write it again"),
        (&stream, "found an Arrow IPC stream, which does not say where its batches are: convert it"),
        (b"", "found an empty file"),
        (b"hello, world", "found \"hello, w\""),
    ] {
        let error = refused(bytes);
        assert!(error.contains("is no table (Arrow IPC file)") && error.contains(found), "{error}");
    }
    assert!(refused(b"ARROW1\0\0").contains("is truncated: expected 18 bytes, found 8"));
    assert!(
        refused(&[b"ARROW1\0\0".as_slice(), &[0; 30]].concat())
            .contains("end of the table: expected \"ARROW1\"")
    );
    assert!(matches!(
        Table::open(directory.path().join("none")),
        Err(Error::NotFound { kind: FileKind::Table, .. })
    ));
    shm_ring::RingOptions::new().create(directory.path().join("ring")).unwrap();
    let error = Table::open(directory.path().join("ring")).unwrap_err().to_string();
    assert!(error.contains("is no table (Arrow IPC file): found a ring"), "{error}");
    prices(&directory.path().join("p"), 1, 1);
    assert_eq!(FileKind::of(directory.path().join("p")).unwrap(), FileKind::Table);
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    // Goal: a table with more than we read is not read wrong. Method: a column of lists; numbers of a big-endian machine.
    let directory = directory();
    let path = directory.path().join("f");
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    write(&path, &[batch(vec![("bids", Arc::new(lists))])], IpcWriteOptions::default());
    let error = Table::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("column \"bids\": values of the type List are not read; write the table without it"),
        "{error}"
    );
}

#[test]
#[cfg(feature = "arrow-lz4")]
fn packed_bodies_are_unpacked() {
    // Goal: LZ4, which is Feather's default, is read, whatever of it was too short to be packed, and ZSTD refused by name.
    // Method: every type, and rows that pack well, in batches.
    let directory = directory();
    let path = directory.path().join("f");
    let lz4 =
        IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME)).unwrap();
    let (every, texts) = every_type();
    write(&path, &[every], lz4.clone());
    for pool in [pool(), poor_pool(1), poor_pool(0)] {
        assert!(play(&pool, &path).unwrap().into_iter().map(|(_, _, text)| text).eq(texts.clone()));
    }
    let rows = |from: i64| {
        let times = TimestampNanosecondArray::from_iter_values(from..from + 500);
        let same = StringArray::from_iter_values((0..500).map(|_| "the same text in each row"));
        batch(vec![("t", Arc::new(times)), ("text", Arc::new(same))])
    };
    write(&path, &[rows(0), rows(500)], lz4);
    let batch = Table::open(&path).unwrap().batch(1).unwrap();
    assert!(batch.copied_bytes() > 500 * 8);
    assert_eq!(batch.column::<i64>("t").unwrap()[499], 999);
    assert!(
        play(&pool(), &path)
            .unwrap()
            .iter()
            .all(|(_, _, text)| text == r#"{"text":"the same text in each row"}"#)
    );
}

#[test]
fn nobody_sees_half_a_table() {
    // Goal: a table has its name when it is complete, and nothing that exists is overwritten. Method: a writer that is dropped, one that
    // finishes, and two that want the same name.
    let directory = directory();
    let path: PathBuf = directory.path().join("t");
    let create = || TableWriter::create(&path, &[("t", ColumnType::I64)]);
    let mut dropped = create().unwrap();
    dropped.push(&[1i64.into()]).unwrap();
    drop(dropped);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let (first, second) = (create().unwrap(), create().unwrap());
    first.finish().unwrap();
    assert!(matches!(second.finish(), Err(Error::AlreadyExists { .. })));
    assert!(matches!(create(), Err(Error::AlreadyExists { .. })));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(Table::open(&path).unwrap().n_rows().unwrap(), 0);
}

#[test]
fn a_table_that_could_not_be_written_gets_no_name() {
    // Goal: after a batch could not be written, a writer that is used nevertheless fails each time and leaves nothing behind. Method: a limit
    // of the file's size that is there for a while only; a process of its own, which it is for.
    let directory = directory();
    alone("replay_table::short_of_room", &[("path", &directory.path().display())]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

pub(crate) fn short_of_room() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: ignoring a signal runs no code.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let path = Script::path().join("t");
    let columns = [("timestamp", ColumnType::TimestampNanos), ("n", ColumnType::I64)];
    let mut writer = TableWriter::create(&path, &columns).unwrap().batch_rows(50_000);
    let mut push = |n: i64| writer.push(&[n.into(), n.into()]);
    (0..100_000).for_each(|n| push(n).unwrap());
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 1_900_000, hard).unwrap();
    (100_000..149_999).for_each(|n| push(n).unwrap());
    let why = push(149_999).unwrap_err().to_string();
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
    assert!(why.contains("File too large"), "{why}");
    (150_000..150_003).for_each(|n| assert_eq!(push(n).unwrap_err().to_string(), why));
    assert_eq!(writer.finish().unwrap_err().to_string(), why);
}

#[test]
fn the_writer_takes_what_its_columns_have() {
    // Goal: a value goes into its column exactly, or is refused, and a refused row leaves nothing; the format's own reader agrees.
    // Method: ends of ranges, wrong types, a row whose last value is wrong; then all rows by the format's library.
    let directory = directory();
    let path = directory.path().join("t");
    let columns = [
        ("ts", ColumnType::TimestampMicros),
        ("n", ColumnType::I8),
        ("x", ColumnType::F32),
        ("s", ColumnType::Text),
    ];
    let mut writer = TableWriter::create(&path, &columns).unwrap().batch_rows(2);
    for n in [-128i64, 127] {
        writer.push(&[7u64.into(), n.into(), 0.5f32.into(), "text".into()]).unwrap();
    }
    for (row, text) in [
        (
            [CellValue::Signed(1), CellValue::Signed(128), CellValue::F32(1.0), CellValue::Null],
            "column \"n\" of i8 takes, found Signed(128)",
        ),
        (
            [CellValue::Signed(1), CellValue::Null, CellValue::F64(1.0), CellValue::Null],
            "column \"x\" of f32",
        ),
        (
            [CellValue::Signed(1), CellValue::Null, CellValue::Null, CellValue::Bool(true)],
            "column \"s\" of text",
        ),
        ([CellValue::Unsigned(u64::MAX), CellValue::Null, CellValue::Null, CellValue::Null], "column \"ts\""),
    ] {
        let error = writer.push(&row).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(writer.push(&[CellValue::Null]).unwrap_err().to_string().contains("expected 4 values, found 1"));
    let (ts, null) = ([CellValue::Signed(8), CellValue::Signed(9)], [CellValue::Null; 2]);
    writer.push_columns(&[&ts, &null, &null, &null]).unwrap();
    writer.finish().unwrap();
    let reader = arrow_ipc::reader::FileReader::try_new(File::open(&path).unwrap(), None).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[0].column(1).as_primitive::<Int8Type>().values(), &[-128, 127]);
    assert_eq!(batches[1].column(0).as_primitive::<TimestampMicrosecondType>().values(), &[8, 9]);
    assert_eq!(
        (batches[1].column(3).null_count(), batches[0].column(3).as_string::<i32>().value(1)),
        (2, "text")
    );
    assert!(play(&pool(), &path).unwrap()[2].2 == r#"{"n":null,"x":null,"s":null}"#);
    let error = TableWriter::create(directory.path().join("u"), &[("d", ColumnType::Decimal { scale: 1 })])
        .unwrap_err();
    assert!(error.to_string().contains("decimal with scale 1 for column \"d\""), "{error}");
}

#[test]
fn a_parked_table_that_was_replaced_is_an_error() {
    // Goal: rows of another file are never taken for those of the one that was opened. Method: replace the file between two refills.
    let directory = directory();
    let path = directory.path().join("t");
    prices(&path, 100_000, 100_000);
    let mut source = poor_pool(0).open(&path).unwrap();
    assert!(matches!(source.step().unwrap(), Next::Record(_)));
    std::fs::remove_file(&path).unwrap();
    prices(&path, 100_000, 100_000);
    let error = rest(&mut source).unwrap_err().to_string();
    assert!(error.contains("closed meanwhile") && error.contains("found another one"), "{error}");
}

#[test]
fn a_parked_table_is_found_from_another_directory() {
    // Goal: a process may change its directory while it replays. Method: a relative path to a table that is opened anew for each window.
    let directory = directory();
    prices(&directory.path().join("t"), 100_000, 100_000);
    alone("replay_table::moves", &[("path", &directory.path().display())]);
}

pub(crate) fn moves() {
    std::env::set_current_dir(Script::path()).unwrap();
    let mut source = poor_pool(0).open("t").unwrap();
    std::env::set_current_dir("/").unwrap();
    assert_eq!(rest(&mut source).unwrap(), priced(0..100_000));
}

#[test]
fn windows_of_copied_tables_are_bounded_by_bytes() {
    // Goal: how large rows are does not multiply with how many are read at once, be they all alike or one of them larger than the rest.
    // Method: rows of 4 MiB, as columns of both kinds, in a process that says how much memory it has taken, and in one that has little more
    // room for addresses than one of them takes.
    let directory = directory();
    let path = directory.path().join("t");
    let sizes: Vec<_> = std::iter::repeat_n(4 << 20, 30).chain([0; 3000]).collect();
    let times = || Arc::new(TimestampNanosecondArray::from_iter_values(0..3030)) as ArrayRef;
    let large = BinaryArray::from_iter_values(sizes.iter().map(|len| vec![1; *len]));
    let views = BinaryViewArray::from_iter_values(sizes.iter().map(|len| vec![1; *len]));
    for column in [Arc::new(large) as ArrayRef, Arc::new(views)] {
        write(&path, &[batch(vec![("t", times()), ("large", column)])], IpcWriteOptions::default());
        for is_limited in [false, true] {
            alone("replay_table::cramped", &[("path", &path.display()), ("is_limited", &is_limited)]);
        }
    }
}

pub(crate) fn cramped() {
    use nix::sys::resource::{Resource, setrlimit};
    const ROOM_KIB: u64 = 24 << 10;
    let kib = |name: &str| -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let options = PoolOptions::new().order(Order::Pass).budget(MapBudget::new().maps(0));
    let mut source = options.build().unwrap().open(Script::path()).unwrap();
    let is_limited = Script::text("is_limited") == "true";
    if is_limited {
        let most = (kib("VmSize") + ROOM_KIB) << 10;
        setrlimit(Resource::RLIMIT_AS, most, most).unwrap();
    }
    let before_kib = kib("VmRSS");
    let mut n = 0;
    while let Next::Record(stamp) = source.step().unwrap() {
        assert_eq!(stamp.timestamp_ns, n);
        n += 1;
    }
    assert_eq!(n, 3030);
    // Where there is no room, less is read at once; but nobody has to be short of it for that.
    let more_kib = kib("VmHWM") - before_kib;
    assert!(more_kib <= ROOM_KIB, "{more_kib} KiB");
}

#[test]
#[cfg(feature = "guard")]
fn zeros_of_a_cut_are_no_rows() {
    // Goal: rows that a cut has taken are told as such, and never handed out as zeros. Method: cut a mapped table right behind the
    // rows that are staged, which are in its first page; in each order.
    let directory = directory();
    let path = directory.path().join("t");
    for order in [Order::Pass, Order::Reorder { n_records: 4 }, Order::Error] {
        let times = TimestampNanosecondArray::from_iter_values(1..100_000);
        write(&path, &[batch(vec![("t", Arc::new(times))])], IpcWriteOptions::default());
        let mut source = PoolOptions::new().order(order).build().unwrap().open(&path).unwrap();
        let mut last = 0;
        while last < 450 {
            let Next::Record(stamp) = source.step().unwrap() else { panic!() };
            last = stamp.timestamp_ns;
        }
        File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
        let error = loop {
            match source.step() {
                Ok(Next::Record(stamp)) => {
                    assert_eq!(stamp.timestamp_ns, last + 1, "{order:?}");
                    last += 1;
                }
                Ok(_) => panic!("{order:?}: ends behind row {last}"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("truncated"), "{order:?}, behind row {last}: {error}");
    }
}

#[test]
fn schemas_without_columns_or_rows_are_tables() {
    // Goal: nothing is a table, too. Method: no column; no row.
    let directory = directory();
    let path = directory.path().join("t");
    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
    write(&path, &[nothing], IpcWriteOptions::default());
    let table = Table::open(&path).unwrap();
    assert_eq!((table.columns().len(), table.batch(0).unwrap().n_rows()), (0, 0));
    let schema = Schema::new(vec![Field::new("t", DataType::Int64, false)]);
    write(&path, &[RecordBatch::new_empty(Arc::new(schema))], IpcWriteOptions::default());
    assert_eq!(
        play(&pool(), &path).map_err(|e| e.to_string()).unwrap_err().split(':').next(),
        Some("column of times")
    );
    assert_eq!(Table::open(&path).unwrap().batch(0).unwrap().column::<i64>("t"), Ok([].as_slice()));
}
