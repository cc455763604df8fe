//! Reads: parts of a snapshot that is in memory, as `Bytes` that keep it alive. What is in them is not looked at.
//!
//! | contestant | returns |
//! |------------|---------|
//! | `ours` | `Snapshot::read_at`: a part of the mapping |
//! | `hexz_store` | the mmap backend of that crate, with the feature `hexz`: a part of the mapping |
//! | `owner_slice` | the same written by hand, without bounds of its own: the floor |
//! | `copying_seed` | a copy, as the seed did it |

use std::cell::OnceCell;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use memmap2::Mmap;
use shm_ring::{ReadAt, Snapshot};

use super::{Fact, Plan, Planned, Results, Section, failed};
use crate::report::spread::size;
use crate::report::verdict::{Limit, Target};
use crate::turns::{Cell, Sample, timed};

const READ_BYTES: [usize; 2] = [4 << 10, 64 << 10];
/// What an operation costs less of which is done more often.
const COPIED_AT_ONCE: usize = 256;
const N_OFFSETS: usize = 1024;

#[cfg(feature = "hexz")]
const RIVAL: &str = "hexz_store";
/// What the rival's backend is, without the rival.
#[cfg(not(feature = "hexz"))]
const RIVAL: &str = "owner_slice";

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let readers = Rc::new(OnceCell::new());
    let mut cells = vec![];
    for len in READ_BYTES {
        let n = plan.n_reads;
        let offsets = offsets(plan.file_bytes - len);
        let mut add = |contestant: &str, n: usize, read: Reader| {
            let (readers, offsets) = (Rc::clone(&readers), offsets.clone());
            cells.push(Cell::new(name(len, contestant), move || {
                let path = plan.directory.join("snapshot");
                let readers = readers.get_or_init(|| Readers::new(&path, plan.file_bytes));
                read.repetition(readers.as_ref()?, &offsets, len, n)
            }));
        };
        add("ours", n, Reader::Ours);
        #[cfg(feature = "hexz")]
        add("hexz_store", n, Reader::Hexz);
        add("owner_slice", n, Reader::OwnerSlice);
        add("copying_seed", (n / COPIED_AT_ONCE).max(1), Reader::Copying);
    }
    let section = Section {
        title: "Reads of a snapshot",
        caption: "Anywhere in it. `owner_slice`: a slice of `Bytes` that own a mapping, by hand.",
        unit: ("ns per read", 1.0),
        floor: "owner_slice",
        cells: vec![],
    };
    vec![(section, cells)]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let rival = |len| {
        let what = format!("snapshot: read {}", size(len));
        results.slower(&what, &name(len, "ours"), &name(len, RIVAL), 1.1)
    };
    let mut targets: Vec<Target> = READ_BYTES.map(rival).into();
    let [_, large] = READ_BYTES;
    let what = format!("snapshot: read {}: times as fast", size(large));
    targets.push(results.faster(&what, &name(large, "ours"), &name(large, "copying_seed"), 20.0));
    targets.push(results.count("allocations/read/ours", "-", Limit::AtMost(0.0)));
    targets
}

fn name(len: usize, contestant: &str) -> String {
    format!("read/{len}/{contestant}")
}

/// Pseudo-random places, always the same.
fn offsets(end: usize) -> Vec<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end as u64
    };
    (0..N_OFFSETS).map(|_| next()).collect()
}

/// Everybody's opening of one file.
#[derive(Debug)]
struct Readers {
    ours: Snapshot,
    #[cfg(feature = "hexz")]
    hexz: hexz_store::local::MmapBackend,
    owner: Bytes,
    mapped: Mmap,
}

#[derive(Clone, Copy, Debug)]
enum Reader {
    Ours,
    #[cfg(feature = "hexz")]
    Hexz,
    OwnerSlice,
    Copying,
}

impl Readers {
    fn new(path: &Path, bytes: usize) -> Result<Self, String> {
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251).to_le_bytes()[0]).collect();
        std::fs::write(path, &content).map_err(failed("write a file"))?;
        let map = || {
            let file = std::fs::File::open(path).map_err(failed("open"))?;
            // SAFETY: a file of this process alone, in a directory that it made, which nobody writes or cuts any more.
            unsafe { Mmap::map(&file) }.map_err(failed("map"))
        };
        let this = Self {
            ours: Snapshot::open_plain(path).map_err(failed("open a snapshot"))?,
            #[cfg(feature = "hexz")]
            hexz: hexz_store::local::MmapBackend::new(path).map_err(failed("open its backend"))?,
            owner: Bytes::from_owner(map()?),
            mapped: map()?,
        };
        // All pages of all mappings are there from now on, and all have the same bytes.
        let all = [this.ours.as_slice(), &this.owner, &this.mapped];
        let mut is_right = all.into_iter().all(|bytes| bytes == content);
        for reader in Reader::ALL {
            is_right &= reader.read(&this, 0, bytes).is_some_and(|bytes| bytes == content);
        }
        if is_right { Ok(this) } else { Err("the readers differ".to_owned()) }
    }
}

impl Reader {
    const ALL: &[Self] = &[
        Self::Ours,
        #[cfg(feature = "hexz")]
        Self::Hexz,
        Self::OwnerSlice,
        Self::Copying,
    ];

    /// One read; for checks.
    fn read(self, readers: &Readers, offset: u64, len: usize) -> Option<Bytes> {
        let mut found = None;
        self.each(readers, &[offset], len, 1, |bytes| found = bytes);
        found
    }

    fn repetition(self, readers: &Readers, offsets: &[u64], len: usize, n: usize) -> Result<Sample, String> {
        let mut n_failed = 0;
        let (sample, ()) = timed(n, || {
            self.each(readers, offsets, len, n, |bytes| n_failed += usize::from(black_box(bytes).is_none()));
        });
        if n_failed == 0 { Ok(sample) } else { Err(format!("{n_failed} reads failed")) }
    }

    /// A loop of its own for each contestant, with nothing to be decided in it.
    fn each(self, readers: &Readers, offsets: &[u64], len: usize, n: usize, seen: impl FnMut(Option<Bytes>)) {
        let offsets = offsets.iter().cycle().take(n).map(|offset| black_box(*offset));
        match self {
            Self::Ours => offsets.map(|offset| readers.ours.read_at(offset, len).ok()).for_each(seen),
            #[cfg(feature = "hexz")]
            Self::Hexz => {
                use hexz_store::StorageBackend;
                offsets.map(|offset| readers.hexz.read_exact(offset, len).ok()).for_each(seen);
            }
            Self::OwnerSlice => {
                offsets.map(|offset| Some(readers.owner.slice(range(offset, len)))).for_each(seen);
            }
            Self::Copying => {
                let copy = |offset| Bytes::copy_from_slice(&readers.mapped[range(offset, len)]);
                offsets.map(|offset| Some(copy(offset))).for_each(seen);
            }
        }
    }
}

fn range(offset: u64, len: usize) -> std::ops::Range<usize> {
    let offset = usize::try_from(offset).expect("64-bit only");
    offset..offset + len
}

pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    let bytes = plan.file_bytes.min(1 << 20);
    let readers = Readers::new(&plan.directory.join("allocations"), bytes)?;
    let offsets = offsets(bytes - READ_BYTES[1]);
    let count = |reader: Reader| {
        let mut all = || {
            for len in READ_BYTES {
                reader.each(&readers, &offsets, len, N_OFFSETS, |bytes| drop(black_box(bytes)));
            }
        };
        (plan.allocations)(&mut all) as f64 / (READ_BYTES.len() * N_OFFSETS) as f64
    };
    let fact = |name, what, reader| Fact::exact(name, what, Ok(count(reader)));
    Ok(vec![
        fact("allocations/read/ours", "allocations of a read of a snapshot", Reader::Ours),
        #[cfg(feature = "hexz")]
        fact("allocations/read/hexz_store", "the same of hexz's", Reader::Hexz),
        fact("allocations/read/copying_seed", "the same of the seed", Reader::Copying),
    ])
}
