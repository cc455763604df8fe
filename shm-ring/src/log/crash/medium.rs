//! Medium: files in this process's memory that remember what a crash could have left of them.
//!
//! ```text
//!   the log --> Simulated: call or step --> looks at every mapped page --> remains (what may be on the medium) --> the witness
//!                             \--> fails, when a fault is due
//! ```
//!
//! The witness sees the remains before the effect of each call and at each step, and keeps those at which it lets the machine crash.
//!
//! (I1) one thread at a time; (I2) a file that is mapped does not grow beyond its memory; (I3) a lie is told to the log only: what a
//! sync that is a lie was about stays open.
//! Does not model: two machines, directories in directories, a medium that forgets what it had.

use super::random::Random;
use super::remains::{Change, N_SECTORS, Number, PAGE_BYTES, Page, Remainder, Remains, SECTOR_BYTES};
use crate::map::medium::{Medium, MediumFile, MediumMap};
use crate::sync::AtomicU64;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a medium was about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Create,
    Write,
    Rename,
    Remove,
    Sync,
    SyncMap,
    SyncNames,
    /// Stores into a map.
    Step,
}

/// A bug, planted: a call that says that it was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lie {
    #[default]
    Honest,
    /// No directory is synced any more.
    Names,
    /// No byte of a segment is synced any more, but what it is made of: manifests and watermarks vouch for what is not there.
    Segments,
    /// CURRENT is renamed before its bytes are synced.
    Current,
    /// No record is synced any more that is added to a manifest.
    Manifests,
}

/// When calls fail.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub(super) random: Random,
    /// Each call fails once in so many.
    pub(super) one_in: usize,
    /// How many are left.
    pub(super) n_left: usize,
}

/// Who looks on.
pub(super) type Witness = Arc<dyn Fn(&Remains, Call) + Send + Sync>;

/// Files, names, and what a crash would leave.
#[derive(Clone)]
pub(super) struct Simulated {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    witness: Option<Witness>,
}

struct State {
    remains: Remains,
    /// The memory of those files that are or were mapped.
    memories: Vec<Option<Arc<Memory>>>,
    faults: Option<Faults>,
    lie: Lie,
    /// The latest calls, for a report.
    trace: Vec<String>,
    n_failed: usize,
}

pub(super) struct SimulatedFile {
    medium: Simulated,
    number: Number,
}

pub(super) struct SimulatedMap {
    medium: Simulated,
    number: Number,
    memory: Arc<Memory>,
    length: usize,
}

/// Pages that do not move.
struct Memory(Box<[Words]>);

#[repr(C, align(4096))]
struct Words([AtomicU64; PAGE_BYTES / 8]);

impl Simulated {
    /// What is on the medium, and nothing else.
    pub(super) fn new(remains: Remains, witness: Option<Witness>, lie: Lie) -> Self {
        let memories = remains.files.iter().map(|_| None).collect();
        let state = State { remains, memories, faults: None, lie, trace: vec![], n_failed: 0 };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), witness }) }
    }

    /// Lets calls fail from now on, or not; what was set before.
    pub(super) fn set_faults(&self, faults: Option<Faults>) -> Option<Faults> {
        std::mem::replace(&mut self.state().faults, faults)
    }

    /// Has only what is left from now on. Nobody may have a file of before.
    pub(super) fn restart(&self, mut left: Remains, report: String) {
        let mut state = self.state();
        left.now = state.remains.now + 1;
        state.memories = left.files.iter().map(|_| None).collect();
        state.remains = left;
        let line = format!("{} power cut: {report}", state.remains.now);
        state.trace.push(line);
    }

    /// Plants a bug from now on.
    pub(super) fn set_lie(&self, lie: Lie) {
        self.state().lie = lie;
    }

    /// How many calls have failed on purpose.
    pub(super) fn n_failed(&self) -> usize {
        self.state().n_failed
    }

    /// What a crash now would leave.
    pub(super) fn remains(&self) -> Remains {
        let mut state = self.state();
        state.look();
        state.remains.clone()
    }

    /// The calls so far; not the steps.
    pub(super) fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic is a finding, which must not be hidden behind a second one.
        self.shared.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Lets the witness look, then says whether the call is to fail.
    fn begin(&self, call: Call, about: impl FnOnce(&State) -> String) -> (MutexGuard<'_, State>, bool) {
        let mut state = self.state();
        state.look();
        if let Some(witness) = &self.shared.witness {
            witness(&state.remains, call);
        }
        state.remains.now += 1;
        let about = about(&state);
        let fails = state.is_to_fail();
        let line = format!("{} {call:?} {about}{}", state.remains.now, if fails { " FAILS" } else { "" });
        state.trace.push(line);
        (state, fails)
    }

    fn is_lie(lie: Lie, name: &str, is_new: bool) -> bool {
        match lie {
            Lie::Honest | Lie::Names => false,
            Lie::Segments => name.contains(".seg") && !is_new,
            Lie::Current => name.starts_with("CURRENT"),
            Lie::Manifests => name.starts_with("MANIFEST") && !is_new,
        }
    }

    fn sync(&self, number: Number, call: Call, pages: Range<usize>) -> io::Result<()> {
        let name = |state: &State| state.remains.name_of(number).unwrap_or("(no name)").to_owned();
        let (mut state, fails) = self.begin(call, |state| format!("{} pages {pages:?}", name(state)));
        let name = name(&state);
        let (lie, file) = (state.lie, &mut state.remains.files[number]);
        let is_new = file.lengths[0].1 == 0;
        if fails {
            file.lose(pages);
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if !Self::is_lie(lie, &name, is_new) {
            file.settle(pages);
        }
        Ok(())
    }
}

impl State {
    /// Takes what is in the maps for seen.
    fn look(&mut self) {
        for number in 0..self.memories.len() {
            self.look_at(number);
        }
    }

    fn look_at(&mut self, number: Number) {
        let Some(memory) = &self.memories[number] else { return };
        let now = self.remains.now;
        for (page, words) in self.remains.files[number].pages.iter_mut().zip(&memory.0) {
            page.see(now, words.bytes());
        }
        // Nobody has it mapped any more: what was seen is all there is.
        if Arc::strong_count(memory) == 1 {
            self.memories[number] = None;
        }
    }

    fn is_to_fail(&mut self) -> bool {
        let Some(faults) = &mut self.faults else { return false };
        if faults.n_left == 0 || !faults.random.one_in(faults.one_in) {
            return false;
        }
        faults.n_left -= 1;
        self.n_failed += 1;
        true
    }

    fn write(&mut self, number: Number, mut bytes: &[u8], offset: u64) {
        let now = self.remains.now;
        let end = offset + bytes.len() as u64;
        self.remains.files[number].lengthen(now, end);
        let mut at = usize::try_from(offset).expect("small files");
        while !bytes.is_empty() {
            let (page, inside) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let (part, rest) = bytes.split_at(bytes.len().min(PAGE_BYTES - inside));
            if let Some(memory) = &self.memories[number] {
                assert!(page < memory.0.len(), "a mapped file does not grow here");
                memory.write(at, part);
            }
            let history = &mut self.remains.files[number].pages[page];
            let mut new = **history.latest();
            new[inside..inside + part.len()].copy_from_slice(part);
            // A page that is written is dirty, whether it has changed or not.
            history.is_lost = false;
            history.see(now, &new);
            (at, bytes) = (at + part.len(), rest);
        }
    }

    fn number_of(&self, name: &str) -> io::Result<Number> {
        self.remains.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Medium for Simulated {
    type File = SimulatedFile;

    fn create(&self, name: &str, bytes: u64) -> io::Result<SimulatedFile> {
        let (mut state, fails) = self.begin(Call::Create, |_| format!("{name} {bytes}"));
        if state.remains.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if fails {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let (now, number) = (state.remains.now, state.remains.files.len());
        state.remains.files.push(Remainder::new(now, bytes));
        state.memories.push(None);
        state.remains.change(Change::Create(name.to_owned(), number));
        Ok(SimulatedFile { medium: self.clone(), number })
    }

    fn open(&self, name: &str, _: bool) -> io::Result<SimulatedFile> {
        let number = self.state().number_of(name)?;
        Ok(SimulatedFile { medium: self.clone(), number })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (mut state, fails) = self.begin(Call::Rename, |_| format!("{from} {to}"));
        let number = state.number_of(from)?;
        if fails {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        state.remains.change(Change::Rename(from.to_owned(), to.to_owned(), number));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (mut state, fails) = self.begin(Call::Remove, |_| name.to_owned());
        let number = state.number_of(name)?;
        if fails {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        state.remains.change(Change::Remove(name.to_owned(), number));
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().remains.names.keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        let (mut state, fails) = self.begin(Call::SyncNames, |_| String::new());
        if fails {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if state.lie != Lie::Names {
            state.remains.settle_names();
        }
        Ok(())
    }
}

impl MediumFile for SimulatedFile {
    type Map = SimulatedMap;

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.medium.state().remains.files[self.number].length())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.medium.state();
        state.look_at(self.number);
        let file = &state.remains.files[self.number];
        let n_bytes = file.length().saturating_sub(offset).min(bytes.len() as u64);
        let n_bytes = usize::try_from(n_bytes).expect("at most the slice's");
        let mut at = usize::try_from(offset).expect("small files");
        let mut to = &mut bytes[..n_bytes];
        while !to.is_empty() {
            let inside = at % PAGE_BYTES;
            let (part, rest) = to.split_at_mut(to.len().min(PAGE_BYTES - inside));
            part.copy_from_slice(&file.pages[at / PAGE_BYTES].latest()[inside..inside + part.len()]);
            at += part.len();
            to = rest;
        }
        Ok(n_bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let about =
            |state: &State| format!("{:?} {offset} + {}", state.remains.name_of(self.number), bytes.len());
        let (mut state, fails) = self.medium.begin(Call::Write, about);
        if !fails {
            state.write(self.number, bytes, offset);
            return Ok(());
        }
        // Part of it has found room.
        let n_bytes = state.faults.as_mut().map_or(0, |faults| faults.random.below(bytes.len() + 1));
        state.write(self.number, &bytes[..n_bytes], offset);
        Err(io::Error::from_raw_os_error(libc::ENOSPC))
    }

    fn sync(&self) -> io::Result<()> {
        self.medium.sync(self.number, Call::Sync, 0..usize::MAX)
    }

    fn map(&self, bytes: u64, _: bool) -> io::Result<SimulatedMap> {
        let mut state = self.medium.state();
        state.look_at(self.number);
        let file = &state.remains.files[self.number];
        if file.length() < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let pages: Vec<Page> = file.pages.iter().map(|page| page.latest().clone()).collect();
        let memory = state.memories[self.number].get_or_insert_with(|| Arc::new(Memory::new(&pages))).clone();
        drop(state);
        let length = usize::try_from(bytes).expect("small files");
        Ok(SimulatedMap { medium: self.medium.clone(), number: self.number, memory, length })
    }
}

impl MediumMap for SimulatedMap {
    fn words(&self, offset: u64, n: usize) -> &[AtomicU64] {
        let first = self.at(offset, n * 8).cast::<AtomicU64>();
        assert!(first.is_aligned());
        // SAFETY:
        // - in bounds: asserted by `at`; aligned: asserted, and pages are;
        // - alive: borrows `self`, which keeps the memory.
        unsafe { std::slice::from_raw_parts(first, n) }
    }

    unsafe fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        let start = self.at(offset, length);
        // SAFETY:
        // - in bounds: asserted by `at`; alive: borrows `self`, which keeps the memory;
        // - not written: the caller's obligation.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    unsafe fn bytes_mut(&self, offset: u64, length: usize) -> &mut [u8] {
        let start = self.at(offset, length);
        // SAFETY:
        // - in bounds: asserted by `at`; alive: borrows `self`, which keeps the memory; inside cells: words are atomics;
        // - exclusive: the caller's obligation.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    fn populate(&self, _: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        let page_of = |offset: u64| usize::try_from(offset / PAGE_BYTES as u64).expect("small files");
        let pages = page_of(range.start)..page_of(range.end.next_multiple_of(PAGE_BYTES as u64));
        self.medium.sync(self.number, Call::SyncMap, pages)
    }

    fn step(&self) {
        let mut state = self.medium.state();
        state.look_at(self.number);
        state.remains.now += 1;
        if let Some(witness) = &self.medium.shared.witness {
            witness(&state.remains, Call::Step);
        }
    }
}

impl SimulatedMap {
    fn at(&self, offset: u64, length: usize) -> *mut u8 {
        let at = usize::try_from(offset).expect("small files");
        assert!(at.checked_add(length).is_some_and(|end| end <= self.length), "beyond the map");
        self.memory.place(at, length)
    }
}

impl Drop for SimulatedMap {
    fn drop(&mut self) {
        self.medium.state().look_at(self.number);
    }
}

impl Memory {
    fn new(pages: &[Page]) -> Self {
        let memory = Self(pages.iter().map(|_| Words(std::array::from_fn(|_| AtomicU64::new(0)))).collect());
        pages.iter().enumerate().for_each(|(n, page)| memory.write(n * PAGE_BYTES, &page[..]));
        memory
    }

    fn place(&self, at: usize, length: usize) -> *mut u8 {
        assert!(
            at.checked_add(length).is_some_and(|end| end <= self.0.len() * PAGE_BYTES),
            "beyond the memory"
        );
        let start = self.0.as_ptr().cast_mut().cast::<u8>();
        // SAFETY: inside the pages, as just asserted.
        unsafe { start.add(at) }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let to = self.place(at, bytes.len());
        // SAFETY:
        // - in bounds: asserted by `place`; no overlap: `bytes` is no part of a memory, by the trait's rules for slices;
        // - one thread (I1); words are atomics, so cells.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }
}

impl Words {
    fn bytes(&self) -> &[u8] {
        // SAFETY:
        // - in bounds: the struct's own bytes, of which none is padding;
        // - not written while the slice lives: one thread (I1), and it is compared and copied at once.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), N_SECTORS * SECTOR_BYTES) }
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulated")
    }
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedFile({})", self.number)
    }
}

impl fmt::Debug for SimulatedMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedMap({})", self.number)
    }
}
