//! Tables of pyarrow and polars, as their users write them.

use crate::harness::directory;
use crate::replay_table::{play, pool, poor_pool};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that has pyarrow, and polars if that can be had: made once, beside what is built.
fn python() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("pyarrow-venv");
    let python = venv.join("bin/python");
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{command:?}: {error}")),
    };
    if run(Command::new(&python).args(["-c", "import pyarrow"])).is_ok() {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let install = |package| {
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
            "--retries",
            "1",
            "--timeout",
            "20",
            package,
        ];
        run(Command::new(&python).args(pip))
    };
    install("pyarrow>=17")?;
    if let Err(error) = install("polars>=1") {
        eprintln!("polars is left out: {error}");
    }
    Ok(python)
}

#[test]
fn tables_of_pyarrow_and_polars_replay_as_they_are() {
    // Goal: what other programs write is replayed row by row as they read it themselves, in all ways to read it.
    // Method: the real ones write tables of all types, units, encodings, batches and versions that they have; we replay them to text; they
    // compare that with their own rows. Where there is none and none can be had, this says so on stderr; `SHM_RING_PYARROW=require` makes
    // that a failure.
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            assert!(std::env::var("SHM_RING_PYARROW").as_deref() != Ok("require"), "no pyarrow: {why}");
            return eprintln!("SKIPPED: no pyarrow, so no table of it was read: {why}");
        }
    };
    let directory = directory();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python_tables.py");
    let run = |verb: &str| {
        let output = Command::new(&python).arg(&script).arg(verb).arg(directory.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "{verb}: {} {}", text(&output.stdout), text(&output.stderr));
        eprintln!("{verb}: {} {}", text(&output.stdout), text(&output.stderr));
    };
    run("write");
    let is_table = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "arrow");
    let tables: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(is_table)
        .collect();
    assert!(tables.len() >= 20, "{tables:?}");
    for (how, pool) in [("mapped", pool()), ("copied", poor_pool(1)), ("parked", poor_pool(0))] {
        for path in &tables {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let played = play(&pool, path);
            let is_packed = ["lz4", "default"].iter().any(|part| name.contains(part));
            if name.contains("zstd") || is_packed && !cfg!(feature = "arrow-lz4") {
                let error = played.unwrap_err().to_string();
                assert!(error.contains("a body that is compressed with"), "{error}");
                continue;
            }
            let played = played.unwrap_or_else(|error| panic!("{how}, {name}: {error}"));
            let lines: String = played.iter().map(|(ns, _, text)| format!("{ns}\t{text}\n")).collect();
            std::fs::write(path.with_extension("rows"), lines).unwrap();
        }
        run("compare");
    }
}
