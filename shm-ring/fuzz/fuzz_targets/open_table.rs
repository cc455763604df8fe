//! Table: arbitrary bytes as a column file. What can be opened is read, as a whole, by columns, rows, and as a source.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shm_ring::MapBudget;
use shm_ring::replay::{ColumnType, MapPool, Next, PoolOptions, Source, Table, TableWriter};
use std::path::Path;
use std::sync::OnceLock;

const COLUMNS: [(&str, ColumnType); 5] = [
    ("t", ColumnType::TimestampMicros),
    ("x", ColumnType::F64),
    ("n", ColumnType::U8),
    ("yes", ColumnType::Bool),
    ("text", ColumnType::Text),
];

/// Tables of some rows, in batches of three.
fn sound(n_rows: u8) -> &'static [u8] {
    static SOUND: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let all = SOUND.get_or_init(|| [0, 1, 3, 8].map(|n| written(n).expect("a table can be written")).into());
    &all[usize::from(n_rows) % all.len()]
}

fn written(n_rows: u8) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let path = scratch("sound");
    let mut writer = TableWriter::create(&path, &COLUMNS)?.batch_rows(3);
    for row in 0..n_rows {
        let text = "text".repeat(row.into());
        writer.push(&[row.into(), 0.5.into(), row.into(), true.into(), text.as_str().into()])?;
    }
    writer.finish()?;
    let bytes = std::fs::read(&path)?;
    std::fs::remove_file(&path)?;
    Ok(bytes)
}

fn scratch(name: &str) -> std::path::PathBuf {
    let folder =
        if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm").into() } else { std::env::temp_dir() };
    folder.join(format!("shm-ring-fuzz-{name}-{}", std::process::id()))
}

fuzz_target!(|bytes: &[u8]| {
    let file = match bytes {
        [0xff, raw @ ..] => raw.to_vec(),
        [which, forged @ ..] => {
            let mut file = sound(*which).to_vec();
            for forgery in forged.chunks_exact(3) {
                // Counted from the end, where the footer is.
                let at = usize::from(u16::from_le_bytes([forgery[0], forgery[1]])) % file.len();
                let at = file.len() - 1 - at;
                file[at] = forgery[2];
            }
            file
        }
        [] => vec![],
    };
    let path = scratch("table");
    // Under another inode each time: what is mapped is not written.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, file).expect("there is room for a table");
    if let Ok(table) = Table::open(&path) {
        let _ = table.n_rows();
        for batch in (0..table.n_batches().min(8)).filter_map(|at| table.batch(at).ok()) {
            for column in 0..table.columns().len() {
                let _ = batch.column::<f64>(column).map(|values| values.iter().sum::<f64>());
                let _ = batch.nullable_column::<u8>(column).map(|(values, _)| values.len());
            }
            for row in batch.rows().take(64) {
                let _ = row.write_json(&mut vec![]);
            }
        }
    }
    for maps in [1, 0] {
        let budget = MapBudget::new().maps(maps).descriptors(0);
        replay(&PoolOptions::new().budget(budget).build().expect("a pool of one source"), &path);
    }
});

fn replay(pool: &MapPool, path: &Path) {
    let Ok(mut source) = pool.open(path) else { return };
    let mut scratch = vec![];
    for since in [0, 3] {
        if source.seek(since).is_err() {
            return;
        }
        for _ in 0..64 {
            let Ok(Next::Record(stamp)) = source.step() else { break };
            assert!(stamp.timestamp_ns >= since);
            let _ = source.record().payload(&mut scratch);
        }
    }
}
