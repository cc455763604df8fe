//! Damaged tables: what comes of any bytes is an error, or what they say.

use crate::harness::directory;
use crate::replay_table::{batch, every_type, pool, poor_pool, write};
use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, FixedSizeBinaryArray, StringArray, StringViewArray, TimestampNanosecondArray};
use arrow_ipc::writer::{DictionaryHandling, IpcWriteOptions};
use proptest::prelude::*;
use shm_ring::replay::{MapPool, Next, Source, Table};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Sound tables of all kinds, as small as can be, so that most of their bytes mean something.
static SOUND: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let directory = directory();
    let path = directory.path().join("t");
    let mut sound = vec![];
    let mut keep = |batches: &[_], options| {
        write(&path, batches, options);
        sound.push(std::fs::read(&path).unwrap());
    };
    keep(&[every_type().0], IpcWriteOptions::default());
    let rows = |from: i64| {
        let times = TimestampNanosecondArray::from_iter_values(from..from + 40);
        let text = |n: i64| format!("{n}").repeat(usize::try_from(n % 5).unwrap());
        let texts = StringArray::from_iter_values((0..40).map(text));
        let views = StringViewArray::from_iter_values((0..40).map(|n| text(n * 1_000_000)));
        batch(vec![("t", Arc::new(times) as ArrayRef), ("text", Arc::new(texts)), ("view", Arc::new(views))])
    };
    keep(&[rows(0), rows(40), rows(80)], IpcWriteOptions::default());
    let lz4 = IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME));
    if let (true, Ok(lz4)) = (cfg!(feature = "arrow-lz4"), lz4) {
        keep(&[rows(0), rows(40)], lz4);
    }
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    let batches = ["ab", "bc", "cad"].map(|text| {
        text.chars().for_each(|word| words.append_value(word.to_string()));
        let times = TimestampNanosecondArray::from_iter_values(0..i64::try_from(text.len()).unwrap());
        batch(vec![("t", Arc::new(times) as ArrayRef), ("word", Arc::new(words.finish_preserve_values()))])
    });
    keep(&batches, IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta));
    sound
});

/// Does with a table all that can be done, and says how much of it there was.
fn use_up(path: &Path) -> (usize, usize) {
    let (mut n_rows, mut n_errors) = (0, 0);
    let mut tried = |result: Result<(), String>| match result {
        Ok(()) => n_rows += 1,
        Err(error) => {
            assert!(!error.is_empty());
            n_errors += 1;
        }
    };
    match Table::open(path) {
        Err(error) => tried(Err(error.to_string())),
        Ok(table) => {
            let _ = table.n_rows();
            for at in 0..table.n_batches().min(10) {
                let batch = match table.batch(at) {
                    Ok(batch) => batch,
                    Err(error) => {
                        tried(Err(error.to_string()));
                        continue;
                    }
                };
                for column in 0..table.columns().len() {
                    let _ = batch.column::<f64>(column).map(|values| values.iter().sum::<f64>());
                    let _ = batch.column::<i64>(column).map(|values| values.iter().fold(0i64, |a, b| a ^ b));
                    let _ = batch.nullable_column::<u8>(column).map(|(values, _)| values.len());
                }
                for row in batch.rows().take(200) {
                    tried(row.write_json(&mut vec![]).map_err(|error| error.to_string()));
                }
            }
        }
    }
    for pool in [pool(), poor_pool(1), poor_pool(0)] {
        if let Err(error) = replay(&pool, path) {
            tried(Err(error));
        }
    }
    (n_rows, n_errors)
}

fn replay(pool: &MapPool, path: &Path) -> Result<(), String> {
    let mut source = pool.open(path).map_err(|error| error.to_string())?;
    let mut scratch = vec![];
    for since in [0, 50, 1] {
        source.seek(since).map_err(|error| error.to_string())?;
        for _ in 0..500 {
            match source.step().map_err(|error| error.to_string())? {
                Next::Record(stamp) => assert!(stamp.timestamp_ns >= since),
                _ => break,
            }
            let _ = source.record().payload(&mut scratch);
        }
    }
    Ok(())
}

/// What is done to a table.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    /// So many bytes from its end, where the footer is.
    Byte(prop::sample::Index, u8),
    /// A word becomes one that lengths, offsets and counts should not be.
    Word(prop::sample::Index, i64),
    Twice(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let word =
        prop_oneof![any::<i64>(), -2i64..2000, Just(i64::MAX), Just(i64::MIN), Just(i64::from(i32::MAX))];
    prop_oneof![
        1 => at().prop_map(Damage::Cut),
        6 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        6 => (at(), word).prop_map(|(at, word)| Damage::Word(at, word)),
        1 => (at(), at()).prop_map(|(from, to)| Damage::Twice(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.len() < 8 {
        return;
    }
    match damage {
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Byte(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Damage::Word(at, word) => {
            let at = at.index(bytes.len() / 4 - 1) * 4;
            // A word of 8 bytes where the next ones are not what it would take along.
            let n = if i32::try_from(*word).is_ok() { 4 } else { 8 };
            bytes[at..at + n].copy_from_slice(&word.to_le_bytes()[..n]);
        }
        Damage::Twice(from, to) => {
            let (from, to) = (from.index(bytes.len() - 7), to.index(bytes.len() - 7));
            bytes.copy_within(from..from + 8, to);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(600), failure_persistence: None, ..ProptestConfig::default() })]

    // Goal: no bytes make reading a table panic, or read beyond what is there, or go on for ever. Method: sound tables of all kinds, a few
    // bytes of which are replaced, moved or cut away, in front or at the end, where the metadata is; then everything is read, in all ways.
    #[test]
    fn damaged_tables_are_errors_or_what_they_say(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let directory = directory();
        let path = directory.path().join("t");
        let mut bytes = SOUND[which.index(SOUND.len())].clone();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        std::fs::write(&path, bytes).unwrap();
        use_up(&path);
    }
}

#[test]
fn every_cut_is_an_error() {
    // Goal: no part of a table is taken for one. Method: each length of each kind of table but its own, which has no error at all.
    let directory = directory();
    let path = directory.path().join("t");
    for sound in &*SOUND {
        for len in 0..sound.len() {
            std::fs::write(&path, &sound[..len]).unwrap();
            assert!(Table::open(&path).is_err(), "{len} of {} bytes", sound.len());
        }
        std::fs::write(&path, sound).unwrap();
        let (n_rows, n_errors) = use_up(&path);
        assert!(n_rows > 0 && n_errors == 0);
    }
}

#[test]
fn every_byte_of_the_metadata_is_hostile() {
    // Goal: as above, for each single byte, since chance meets few of them. Method: each byte of the smallest table, to two values each.
    let directory = directory();
    let path = directory.path().join("t");
    let sound = SOUND.last().unwrap();
    for at in 0..sound.len() {
        for byte in [0xff, sound[at] ^ 1] {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            std::fs::write(&path, bytes).unwrap();
            use_up(&path);
        }
    }
}

#[test]
fn dictionaries_are_read_once() {
    // Goal: a footer that names the same bytes as several parts of a dictionary is refused, whatever reads it: it could ask for any amount of
    // memory. Method: the second of three parts in place of the third one; a third one that begins inside of the second.
    let directory = directory();
    let path = directory.path().join("t");
    let sound = SOUND.last().unwrap();
    let len = sound.len();
    let footer_bytes = i32::from_le_bytes(sound[len - 10..len - 6].try_into().unwrap());
    let footer = len - 10 - usize::try_from(footer_bytes).unwrap();
    let word = |at: usize| u64::from_le_bytes(sound[at..at + 8].try_into().unwrap());
    // Where a message begins that has a body behind it: offset, length of the metadata, length of the body.
    let message =
        |at: usize| usize::try_from(word(at)).is_ok_and(|at| at < len && sound[at..].starts_with(&[0xff; 4]));
    let is_block = |at: &usize| {
        message(*at) && word(*at) > 0 && (1..4096).contains(&word(*at + 8)) && word(*at + 16) < 4096
    };
    let blocks: Vec<_> = (footer..=len - 34).step_by(4).filter(is_block).collect();
    // Three of rows and three of the dictionary; these, one behind the other.
    let dictionaries =
        blocks.chunks(3).find(|three| word(three[0]) < blocks.iter().map(|at| word(*at)).min().unwrap() + 1);
    let [_, second, third] = *dictionaries.unwrap() else { panic!("three parts: {blocks:?}") };
    for shift in [0, 8] {
        let mut bytes = sound.clone();
        bytes.copy_within(second..second + 24, third);
        bytes[third..third + 8].copy_from_slice(&(word(second) + shift).to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let table = Table::open(&path).unwrap();
        let error = table.batch(0).unwrap_err().to_string();
        assert!(error.contains("one behind the other"), "{error}");
        for pool in [pool(), poor_pool(1), poor_pool(0)] {
            assert!(replay(&pool, &path).unwrap_err().contains("one behind the other"));
        }
    }
}

#[test]
fn a_row_that_is_too_large_to_be_copied_is_refused_by_name() {
    // Goal: the sizes that a table of others says make no replay take any amount of memory. Method: a table whose rows are 100 MiB each, all
    // of them a hole, and which is not mapped.
    let directory = directory();
    let path = directory.path().join("t");
    let times = Arc::new(TimestampNanosecondArray::from_iter_values(0..2)) as ArrayRef;
    let large =
        FixedSizeBinaryArray::try_from_iter([vec![0u8; 100 << 20], vec![0; 100 << 20]].iter()).unwrap();
    write(&path, &[batch(vec![("t", times), ("large", Arc::new(large))])], IpcWriteOptions::default());
    let error = replay(&poor_pool(1), &path).unwrap_err();
    assert!(error.contains("row of more than 64 MiB") && error.contains("map"), "{error}");
    // In place, it costs nothing.
    assert!(Table::open(&path).unwrap().batch(0).is_ok());
}

#[test]
#[cfg(feature = "arrow-lz4")]
fn no_memory_to_unpack_is_an_error() {
    // Goal: a packed batch that there is no memory for ends in an error, and not the process. Method: one of 64 MiB where 32 MiB are left.
    let directory = directory();
    let path = directory.path().join("t");
    let lz4 = IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME));
    let mixed = |n: i64| if n % 8 == 0 { n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) } else { 0 };
    let times = TimestampNanosecondArray::from_iter_values((0..8 << 20).map(mixed));
    write(&path, &[batch(vec![("t", Arc::new(times))])], lz4.unwrap());
    crate::harness::alone("replay_table_hostile::unpacks", &[("path", &path.display())]);
}

#[cfg(feature = "arrow-lz4")]
pub(crate) fn unpacks() {
    use nix::sys::resource::{Resource, setrlimit};
    let table = Table::open(crate::harness::Script::path()).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let most = (kib << 10) + (32 << 20);
    setrlimit(Resource::RLIMIT_AS, most, most).unwrap();
    let error = table.batch(0).unwrap_err();
    assert!(
        matches!(&error, shm_ring::Error::Io { source, .. } if source.raw_os_error() == Some(12)),
        "{error}"
    );
}
