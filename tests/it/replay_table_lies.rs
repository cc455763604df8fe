//! Tables that lie: each number that a table says of itself, wrong once, is an error that names it, in all ways to read.

use crate::harness::directory;
use crate::replay_table::{play, pool, poor_pool};
use crate::replay_table_made::{Batch, Is, Made};
use arrow_ipc::{Endianness, MetadataVersion};
use shm_ring::Error;
use shm_ring::replay::{Source, Table, TimeUnit};
use std::path::Path;

/// So many rows from a time on: when, a number, two bytes of text, yes or no.
const COLUMNS: [(&str, Is); 4] = [("t", Is::Nanos), ("x", Is::Number), ("text", Is::Text), ("is", Is::Bool)];

fn rows(n: i64) -> Batch {
    let times: Vec<u8> = (0..n).flat_map(i64::to_le_bytes).collect();
    let numbers: Vec<u8> = (0..n).flat_map(|n| (n as f64 / 4.0).to_le_bytes()).collect();
    let ends: Vec<u8> = (0..=n).flat_map(|n| (2 * i32::try_from(n).unwrap()).to_le_bytes()).collect();
    let texts: Vec<u8> = (0..n).flat_map(|n| format!("{:02}", n % 100).into_bytes()).collect();
    let mut bits = vec![0; usize::try_from(n.unsigned_abs().div_ceil(8)).unwrap()];
    (0..n).filter(|n| n % 3 == 0).for_each(|n| bits[usize::try_from(n / 8).unwrap()] |= 1 << (n % 8));
    Batch::of(
        n,
        &[(0, &[&[], &times]), (0, &[&[], &numbers]), (0, &[&[], &ends, &texts]), (0, &[&[], &bits])],
    )
}

/// What is told by who reads all of it: the table itself, and a source that is mapped, copied and parked; "" for nothing.
fn told(path: &Path, made: &Made) -> [String; 4] {
    std::fs::write(path, made.bytes()).unwrap();
    let all = || -> Result<(), Box<dyn std::error::Error>> {
        let table = Table::open(path)?;
        table.n_rows()?;
        for at in 0..table.n_batches() {
            table.batch(at)?.rows().try_for_each(|row| row.write_json(&mut vec![]))?;
        }
        Ok(())
    };
    let text = |result: Result<(), Box<dyn std::error::Error>>| {
        result.map_or_else(|e| e.to_string(), |()| String::new())
    };
    let [mapped, copied, parked] =
        [pool(), poor_pool(1), poor_pool(0)].map(|pool| text(play(&pool, path).map(drop)));
    [text(all()), mapped, copied, parked]
}

#[test]
fn a_sound_one_is_none() {
    // Goal: what the tests below change is all that is wrong there. Method: nothing is changed, and everything is read.
    let directory = directory();
    let path = directory.path().join("t");
    let made = Made::of(&COLUMNS, vec![rows(100), rows(7)]);
    assert_eq!(told(&path, &made), [""; 4]);
    let batch = Table::open(&path).unwrap().batch(1).unwrap();
    assert_eq!(format!("{:?}", batch.row(6)), r#"{"x":1.5,"text":"06","is":true}"#);
}

#[test]
fn what_a_batch_says_is_checked() {
    // Goal: no number of a batch is believed that does not fit the others: each is an error that says which. Method: one number each.
    type Lie = (&'static str, fn(&mut Batch));
    let lies: [Lie; 13] = [
        ("metadata of a batch: expected inside of", |b| b.more_bytes = 1 << 20),
        ("rows of a column: expected 1000, found 999 rows, 0 of them null", |b| b.nodes[1].0 = 999),
        ("rows of a column: expected 1000, found 1000 rows, 1001 of them null", |b| b.nodes[1].1 = 1001),
        ("rows of a column: expected 1000, found 1000 rows, -1 of them null", |b| b.nodes[1].1 = -1),
        ("columns of a batch: expected more than 3, found 3", |b| b.nodes.truncate(3)),
        ("buffers of a batch: expected 2 from 7 on, found 8 for all columns", |b| b.buffers.truncate(8)),
        ("place of a buffer: expected inside of", |b| {
            b.buffers[3].0 = i64::try_from(b.body.len()).unwrap() - 8
        }),
        ("place of a buffer: expected inside of", |b| b.buffers[3].0 = -8),
        ("place of a buffer: expected inside of", |b| b.buffers[3].0 = i64::MAX),
        ("length of a buffer: expected at least", |b| b.buffers[3].1 = 7),
        // More rows than bytes: what a row has is 0 on average.
        ("length of a buffer: expected at least", |b| (b.n_rows, b.nodes) = (1 << 40, vec![(1 << 40, 0); 4])),
        ("a number of rows, found -1", |b| b.n_rows = -1),
        ("LZ4 or ZSTD, found method 3", |b| b.packed = Some((0, 3))),
    ];
    let directory = directory();
    let path = directory.path().join("t");
    for (text, lie) in lies {
        let mut batch = rows(1000);
        lie(&mut batch);
        for (how, error) in told(&path, &Made::of(&COLUMNS, vec![batch])).into_iter().enumerate() {
            assert!(error.contains(text), "{how}: {error:?} instead of {text:?}");
        }
    }
}

#[test]
fn a_batch_of_a_dictionary_is_none_of_rows() {
    // Goal: what a dictionary has is not handed out as rows, nor rows as a dictionary. Method: each in the other's place.
    let directory = directory();
    let path = directory.path().join("t");
    let as_rows = Made::of(&COLUMNS, vec![rows(9).of_dictionary(0, false)]);
    let mut as_words = words(&["a", "b"], &[0, 1]);
    as_words.dictionaries[0].dictionary = None;
    for (made, text) in [
        (as_rows, "metadata of a batch: expected a batch of rows, found one of a dictionary"),
        (as_words, "dictionaries: expected dictionaries only, found a batch of rows"),
    ] {
        for error in told(&path, &made) {
            assert!(error.contains(text), "{error}");
        }
    }
}

/// The values of dictionary 7, and rows with these numbers of them.
fn words(values: &[&str], numbers: &[i32]) -> Made {
    let n = i64::try_from(numbers.len()).unwrap();
    let times: Vec<u8> = (0..n).flat_map(i64::to_le_bytes).collect();
    let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let rows = Batch::of(n, &[(0, &[&[], &times]), (0, &[&[], &numbers])]);
    let mut made = Made::of(&[("t", Is::Nanos), ("word", Is::Text)], vec![rows]);
    made.columns[1].2 = Some(7);
    made.dictionaries = vec![texts(values, 0, &[]).of_dictionary(7, false)];
    made
}

fn texts(values: &[&str], n_nulls: i64, validity: &[u8]) -> Batch {
    let mut ends = vec![0; 4];
    let mut end = 0;
    for value in values {
        end += i32::try_from(value.len()).unwrap();
        ends.extend_from_slice(&end.to_le_bytes());
    }
    Batch::of(values.len() as i64, &[(n_nulls, &[validity, &ends, values.concat().as_bytes()])])
}

#[test]
fn dictionaries_are_what_they_say() {
    // Goal: a number names the value that it is meant to, a null among the values is one, and what is not there, there twice, or of two
    // types is an error. Method: numbers of 32 bits with a sign, as is meant where nothing is said; each wrong once.
    let directory = directory();
    let path = directory.path().join("t");
    let mut sound = words(&["a", "", "c"], &[2, 0, 1, 2]);
    sound.dictionaries[0] = texts(&["a", "", "c"], 1, &[0b101]).of_dictionary(7, false);
    sound.dictionaries.push(texts(&["d"], 0, &[]).of_dictionary(7, true));
    sound.batches[0].body[64 + 12..64 + 16].copy_from_slice(&3i32.to_le_bytes());
    assert_eq!(told(&path, &sound), [""; 4]);
    let batch = Table::open(&path).unwrap().batch(0).unwrap();
    let found: Vec<_> = batch.rows().map(|row| format!("{row:?}")).collect();
    assert_eq!(found, [r#"{"word":"c"}"#, r#"{"word":"a"}"#, r#"{"word":null}"#, r#"{"word":"d"}"#]);
    assert_eq!((batch.row(2).is_null("word"), batch.row(0).is_null("word")), (Ok(true), Ok(false)));
    for number in [3, -1, i32::MIN] {
        for error in told(&path, &words(&["a", "b", "c"], &[0, number])) {
            assert!(
                error.contains("row 1 of its batch: its dictionary has no value of that number"),
                "{error}"
            );
        }
    }
    let mut twice = words(&["a"], &[0]);
    twice.dictionaries.push(texts(&["b"], 0, &[]).of_dictionary(7, false));
    let mut two_types = words(&["a"], &[0]);
    two_types.columns.push(("number", Is::Number, Some(7)));
    two_types.batches =
        vec![Batch::of(1, &[(0, &[&[], &[0; 8]]), (0, &[&[], &[0; 4]]), (0, &[&[], &[0; 4]])])];
    for (made, text) in [
        (twice, "one dictionary 7, and what is added to it, found another one"),
        (two_types, "dictionaries: expected one type of dictionary 7, found two"),
    ] {
        for error in told(&path, &made) {
            assert!(error.contains(text), "{error}");
        }
    }
}

#[test]
fn what_the_footer_says_is_checked() {
    // Goal: a footer that is not meant for us, or names more than a table has, is refused by name; a part of a file is none.
    // Method: each once; lengths of the footer that can't be; files that are too short for both ends.
    let directory = directory();
    let path = directory.path().join("t");
    let sound = Made::of(&COLUMNS, vec![rows(3)]);
    let with = |change: &dyn Fn(&mut Made)| {
        let mut made = sound.clone();
        change(&mut made);
        made
    };
    let one = |is| Made::of(&[("t", Is::Nanos), ("x", is)], vec![]);
    const NAME: &str = "a name that is longer than what most columns are called";
    for (made, text) in [
        (with(&|m| m.version = MetadataVersion::V3), "version of the format: expected 4 or 5, found 3"),
        (
            with(&|m| m.endianness = Endianness::Big),
            "endianness: expected little-endian numbers, found big-endian",
        ),
        (
            with(&|m| m.columns = vec![("x", Is::Number, None); 32769]),
            "number of columns: expected at most 32768, found 32769",
        ),
        (one(Is::Decimal(128, 128)), "decimals of 128 bits with scale 128 are not read"),
        (one(Is::Decimal(128, -129)), "decimals of 128 bits with scale -129 are not read"),
        (one(Is::Decimal(256, 0)), "decimals of 256 bits with scale 0 are not read"),
    ] {
        for error in told(&path, &made) {
            assert!(error.contains(text), "{error}");
        }
    }
    for is in [Is::Decimal(128, 127), Is::Decimal(64, -128)] {
        assert_eq!(told(&path, &one(is)), [""; 4]);
    }
    let long: &'static str = NAME.repeat(600).leak();
    let error = &told(&path, &with(&|m| m.columns = vec![(long, Is::Number, None); 600]))[0];
    assert!(error.contains("names of the columns: expected at most 16777216 bytes"), "{error}");
    let bytes = sound.bytes();
    let len = bytes.len();
    for said in
        [-1, i32::MIN, i32::MAX, i32::try_from(len - 10 - 7).unwrap(), i32::try_from(len - 10).unwrap()]
    {
        let mut bytes = bytes.clone();
        bytes[len - 10..len - 6].copy_from_slice(&said.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = Table::open(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("length of the footer: expected 0 to {}, found {said}", len - 18)),
            "{error}"
        );
    }
    for len in 12..18 {
        std::fs::write(&path, [b"ARROW1".as_slice(), &vec![0; len - 12], b"ARROW1"].concat()).unwrap();
        let error = Table::open(&path).unwrap_err();
        assert!(matches!(error, Error::Truncated { expected_bytes: 18, .. }), "{len}: {error}");
    }
}

#[test]
fn offsets_are_believed_as_far_as_they_go() {
    // Goal: ends of texts that go back, or beyond the texts, are errors, and so is a text that is none; what stands in a null's place is
    // believed by nobody. Method: one of each, at the ends of what is copied at once, too.
    let directory = directory();
    let path = directory.path().join("t");
    for (row, end) in [(0, 60), (9, 0), (9, 4), (5, -3), (5, i32::MAX), (9, 2000)] {
        let mut batch = rows(9);
        let at = usize::try_from(batch.buffers[5].0).unwrap() + 4 * row;
        batch.body[at..at + 4].copy_from_slice(&i32::to_le_bytes(end));
        for (how, error) in told(&path, &Made::of(&COLUMNS, vec![batch])).into_iter().enumerate() {
            let is_told =
                error.contains("its bytes are outside of its buffer") || error.contains("length of a buffer");
            assert!(is_told, "{how}, {end} in front of row {row}: {error:?}");
        }
    }
    let mut batch = rows(9);
    let at = usize::try_from(batch.buffers[6].0).unwrap();
    batch.body[at + 10] = 0xff;
    let made = Made::of(&COLUMNS, vec![batch]);
    for error in told(&path, &made) {
        assert!(error.contains("column \"text\", row 5 of its batch: its text is no UTF-8"), "{error}");
    }
    let batch = Table::open(&path).unwrap().batch(0).unwrap();
    let mut to = b"before".to_vec();
    assert!(batch.row(5).write_json(&mut to).is_err() && to == b"before");
    assert_eq!(batch.row(5).bytes("text"), Ok([0xff, b'5'].as_slice()));
}

#[test]
fn views_are_in_place_up_to_twelve_bytes() {
    // Goal: a text is where its view says, and nulls point nowhere. Method: lengths around the one from which on it is elsewhere; a null
    // with a view beyond all; a view that is too long by one byte.
    let directory = directory();
    let path = directory.path().join("t");
    const ALL: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
    let view = |len: i32, at: i32| -> Vec<u8> {
        let mut view = len.to_le_bytes().to_vec();
        match usize::try_from(len) {
            Ok(n) if n <= 12 => view.extend_from_slice(&ALL[..n]),
            _ => [i32::from_le_bytes(*b"abcd"), 0, at]
                .iter()
                .for_each(|n| view.extend_from_slice(&n.to_le_bytes())),
        }
        view.resize(16, 0);
        view
    };
    let made = |views: [Vec<u8>; 5]| {
        let times: Vec<u8> = (0..5i64).flat_map(i64::to_le_bytes).collect();
        let columns: [(i64, &[&[u8]]); 2] = [(0, &[&[], &times]), (1, &[&[0b11101], &views.concat(), ALL])];
        let mut batch = Batch::of(5, &columns);
        batch.n_views = vec![1];
        Made::of(&[("t", Is::Nanos), ("v", Is::View)], vec![batch])
    };
    let last = i32::try_from(ALL.len()).unwrap() - 13;
    let sound = made([view(12, 0), view(13, i32::MAX), view(13, 0), view(0, 0), view(13, last)]);
    assert_eq!(told(&path, &sound), [""; 4]);
    for pool in [pool(), poor_pool(1), poor_pool(0)] {
        let texts: Vec<_> = play(&pool, &path).unwrap().into_iter().map(|(_, _, text)| text).collect();
        let expected = ["\"abcdefghijkl\"", "null", "\"abcdefghijklm\"", "\"\"", "\"nopqrstuvwxyz\""];
        assert_eq!(texts, expected.map(|text| format!("{{\"v\":{text}}}")));
    }
    // What is in place is no place, whatever it looks like.
    let zeros: Vec<u8> = [&12i32.to_le_bytes()[..], b"abcd\0\0\0\0~~~~"].concat();
    assert_eq!(told(&path, &made([zeros, view(0, 0), view(13, 0), view(0, 0), view(0, 0)])), [""; 4]);
    for wrong in [view(13, last + 1), view(13, -1), view(-1, 0), view(i32::MAX, 13)] {
        for error in told(&path, &made([view(12, 0), view(0, 0), view(13, 0), view(0, 0), wrong])) {
            let is_told =
                error.contains("its bytes are outside of its buffer") || error.contains("length of a buffer");
            assert!(is_told, "{error:?}");
        }
    }
}

#[test]
fn windows_begin_inside_of_a_byte() {
    // Goal: a bit is that of its row, wherever a window of copied rows begins. Method: bits and validities over windows whose rows are no
    // multiple of eight.
    let directory = directory();
    let path = directory.path().join("t");
    let mut batch = rows(30_000);
    let (at, len) = batch.buffers[8];
    (batch.nodes[1].1, batch.buffers[2]) = (20_000, (i64::try_from(batch.body.len()).unwrap(), len));
    batch.body.extend_from_within(usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap());
    std::fs::write(&path, Made::of(&COLUMNS, vec![batch]).bytes()).unwrap();
    for (how, pool) in [("mapped", pool()), ("copied", poor_pool(1)), ("parked", poor_pool(0))] {
        for (time, row, text) in play(&pool, &path).unwrap() {
            let (is, x) = (row % 3 == 0, format!("{:?}", row as f64 / 4.0));
            let x = if is { &x } else { "null" };
            assert_eq!(
                (time, text),
                (row, format!(r#"{{"x":{x},"text":"{:02}","is":{is}}}"#, row % 100)),
                "{how}"
            );
        }
    }
}

#[test]
fn bytes_that_many_columns_name_are_not_copied_many_times() {
    // Goal: a table in which all columns are the same bytes costs nothing in place, and is refused where it would be copied, however small
    // the windows are. Method: a body of one column's bytes, named by two.
    let directory = directory();
    let path = directory.path().join("t");
    let times: Vec<u8> = (0..100_000i64).flat_map(i64::to_le_bytes).collect();
    let mut batch = Batch::of(100_000, &[(0, &[&[], &times])]);
    (batch.nodes, batch.buffers) = (vec![batch.nodes[0]; 2], [&batch.buffers[..]; 2].concat());
    let [all, mapped, copied, parked] = told(&path, &Made::of(&COLUMNS[..2], vec![batch]));
    assert_eq!((all, mapped), (String::new(), String::new()));
    for error in [copied, parked] {
        assert!(
            error.contains("bytes of all buffers: expected at most the 800000 of the body, found 1600000"),
            "{error}"
        );
    }
}

#[test]
fn a_table_has_less_than_2_63_rows() {
    // Goal: numbers of rows don't overflow. Method: two batches of 2^62 rows each, as they say, and a seek, which counts them.
    let directory = directory();
    let path = directory.path().join("t");
    let mut batch = rows(9);
    (batch.n_rows, batch.nodes) = (1 << 62, vec![(1 << 62, 0); 4]);
    std::fs::write(&path, Made::of(&COLUMNS, vec![batch; 2]).bytes()).unwrap();
    let mut source = pool().open(&path).unwrap();
    let error = source.seek(5).unwrap_err().to_string();
    assert!(error.contains("number of rows: expected less than 2^63"), "{error}");
    assert_eq!(Table::open(&path).unwrap().n_rows().unwrap(), 1 << 63);
}

#[test]
#[cfg(feature = "arrow-lz4")]
fn what_is_packed_is_what_it_says() {
    // Goal: a packed buffer has exactly as many bytes as it says; ZSTD is refused by name. Method: frames of LZ4 with blocks that are not
    // packed, by hand, and each length wrong once.
    /// So many bytes, as it says; these, in a frame.
    fn packed(said: i64, bytes: &[u8]) -> Vec<u8> {
        // Version 1, independent blocks of at most 64 KiB, and the check of that.
        let head = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
        let block = (u32::try_from(bytes.len()).unwrap() | 1 << 31).to_le_bytes();
        [&said.to_le_bytes()[..], &head, &block, bytes, &[0; 4]].concat()
    }
    let directory = directory();
    let path = directory.path().join("t");
    let times: Vec<u8> = (0..9i64).flat_map(i64::to_le_bytes).collect();
    let ends: Vec<u8> = (0..=9i32).flat_map(i32::to_le_bytes).collect();
    let made = |times: &[u8], ends: &[u8], text: &[u8]| {
        let mut batch = Batch::of(9, &[(0, &[&[], times]), (0, &[&[], ends, text])]);
        batch.packed = Some((0, 0));
        Made::of(&[("t", Is::Nanos), ("text", Is::Text)], vec![batch])
    };
    let (t, e, s) = (packed(72, &times), packed(40, &ends), packed(9, b"123456789"));
    assert_eq!(told(&path, &made(&t, &e, &s)), [""; 4]);
    // Nothing is packed of nothing.
    assert_eq!(told(&path, &made(&t, &packed(40, &[0; 40]), &[])), [""; 4]);
    let more = [&times[..], &[0; 8]].concat();
    let back: Vec<u8> = (0..=9i32).rev().flat_map(i32::to_le_bytes).collect();
    let at_most = 255 * (i64::try_from(t.len()).unwrap() - 8);
    for (made, text) in [
        (
            made(&packed(73, &times), &e, &s),
            "compressed buffer: expected a frame of LZ4, found 72 of 73 bytes",
        ),
        (
            made(&packed(72, &more), &e, &s),
            "compressed buffer: expected a frame of LZ4, found more than 72 bytes",
        ),
        (made(&packed(64, &times[..64]), &e, &s), "length of a buffer: expected at least 72, found 64"),
        (made(&packed(at_most + 1, &times), &e, &s), "compressed buffer: expected at most "),
        (made(&packed(at_most, &times), &e, &s), "compressed buffer: expected a frame of LZ4, found 72 of "),
        (made(&packed(-2, &times), &e, &s), "compressed buffer: expected at most "),
        (made(&t[..7], &e, &s), "compressed buffer: expected at least 8 bytes, found 7"),
        (made(&t, &packed(40, &back), &s), "length of a buffer: expected at least 0, found 9"),
    ] {
        for error in told(&path, &made) {
            assert!(error.contains(text), "{error:?} instead of {text:?}");
        }
    }
    let mut zstd = made(&t, &e, &s);
    zstd.batches[0].packed = Some((1, 0));
    for error in told(&path, &zstd) {
        assert!(
            error.contains("a body that is compressed with ZSTD") && error.contains("uncompressed"),
            "{error}"
        );
    }
}

#[test]
fn a_dictionary_has_no_times() {
    // Goal: a column whose values are in a dictionary says no time. Method: one of timestamps, not said and chosen.
    let directory = directory();
    let path = directory.path().join("t");
    let mut made = words(&[], &[0]);
    (made.columns, made.batches) = (vec![("t", Is::Nanos, Some(7)), ("u", Is::Number, None)], vec![]);
    std::fs::write(&path, made.bytes()).unwrap();
    let table = Table::open(&path).unwrap();
    assert_eq!(table.time_column_at(), None);
    let error = table.time_column("t", TimeUnit::Nanos).unwrap_err().to_string();
    assert!(error.contains("a column \"t\" of timestamps"), "{error}");
}
