//! Decoder: the same times in files of the `dbn` crate, through its merge decoder.
//!
//! Its records have 56 bytes, ours 64: it has no simple one of that size. No checksum, no order that is checked; each file has a buffered
//! reader of its own.

use std::fs;
use std::path::{Path, PathBuf};

use dbn::decode::{DbnDecoder, DecodeRecord, MergeDecoder};
use dbn::encode::{DbnEncoder, EncodeRecord};
use dbn::{Dataset, MboMsg, Metadata, SType, Schema};

use super::files::time;
use super::{Plan, failed};
use crate::turns::{Sample, timed};

/// All records in the order of times, one word of each looked at.
pub(super) fn replay(plan: &Plan) -> Result<Sample, String> {
    let paths = paths(plan)?;
    let n = plan.n_files * plan.n_file_records;
    let (sample, done) = timed(n, || {
        let open = |path: &PathBuf| DbnDecoder::from_file(path).map_err(failed("open"));
        let decoders = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut decoder = MergeDecoder::new(decoders).map_err(failed("merge"))?;
        let (mut n_records, mut sum, mut last) = (0, 0_u64, 0);
        while let Some(record) = decoder.decode_record::<MboMsg>().map_err(failed("replay"))? {
            sum = sum.wrapping_add(record.order_id);
            if record.ts_recv < last {
                return Err("out of order".to_owned());
            }
            last = record.ts_recv;
            n_records += 1;
        }
        std::hint::black_box(sum);
        Ok(n_records)
    });
    let n_records: usize = done?;
    if n_records == n { Ok(sample) } else { Err(format!("{n_records} of {n} records")) }
}

fn paths(plan: &Plan) -> Result<Vec<PathBuf>, String> {
    let directory = plan.directory.join("dbn");
    let paths = (0..plan.n_files).map(|file| directory.join(format!("{file:06}"))).collect::<Vec<_>>();
    if !directory.exists() {
        fs::create_dir_all(&directory).map_err(failed("make a directory"))?;
        for (file, path) in paths.iter().enumerate() {
            make(plan, file, path)?;
        }
    }
    Ok(paths)
}

fn make(plan: &Plan, file: usize, path: &Path) -> Result<(), String> {
    let metadata = Metadata::builder()
        .dataset(Dataset::XnasItch)
        .schema(Some(Schema::Mbo))
        .start(0)
        .stype_in(Some(SType::InstrumentId))
        .stype_out(SType::InstrumentId)
        .build();
    let created = fs::File::create(path).map_err(failed("create"))?;
    let mut encoder =
        DbnEncoder::new(std::io::BufWriter::new(created), &metadata).map_err(failed("encode"))?;
    for at in 0..plan.n_file_records {
        let record = MboMsg { ts_recv: time(plan, file, at), order_id: at as u64, ..MboMsg::default() };
        encoder.encode_record(&record).map_err(failed("encode"))?;
    }
    Ok(())
}
